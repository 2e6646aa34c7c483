"""Dead letters go back to their queue, once what killed them is mended."""

import json
from typing import Any

from backburner.ports import QueueName
from backburner_local.adapters.queue import SqliteQueue
from backburner_local.deployed import Account, Deployed, NotReachable, explained


def dead_letter_arn(account: Account, url: str) -> str:
    """ARN of the queue's dead-letter queue, which its RedrivePolicy names."""
    with explained():
        answer = account.clients.sqs.get_queue_attributes(
            QueueUrl=url, AttributeNames=["RedrivePolicy"]
        )
    policy = answer.get("Attributes", {}).get("RedrivePolicy")
    if not policy:
        raise NotReachable(f"The queue {url} has no RedrivePolicy, hence no dead letters.")
    return str(json.loads(policy)["deadLetterTargetArn"])


def dead_letters(account: Account, url: str) -> int:
    """About how many dead letters the queue has."""
    return _depth(account, url, dead_letter_arn(account, url))


def _depth(account: Account, url: str, arn: str) -> int:
    with explained():
        # The queue's URL, but for the name: both are of the same account and Region.
        answer = account.clients.sqs.get_queue_attributes(
            QueueUrl=f"{url.rsplit('/', 1)[0]}/{arn.rsplit(':', 1)[1]}",
            AttributeNames=["ApproximateNumberOfMessages"],
        )
    return int(answer["Attributes"]["ApproximateNumberOfMessages"])


def redrive_deployed(account: Account, stack: Deployed, queue: QueueName) -> int:
    """Have SQS move the queue's dead letters back, which goes on by itself; returns about how many.

    Raises:
        NotReachable: SQS refused, as it does while an earlier move is still running.
    """
    stack.settings()
    url = stack.queue_url(queue)
    arn = dead_letter_arn(account, url)
    number = _depth(account, url, arn)
    if number:
        with explained():
            account.clients.sqs.start_message_move_task(SourceArn=arn)
    return number


def redrive_local(queue: Any, name: QueueName) -> int:
    """Show the queue's dead letters to whoever receives; a running stack looks twice a second."""
    if not isinstance(queue, SqliteQueue):
        raise TypeError("not a queue of this machine")
    return queue.redrive(name)
