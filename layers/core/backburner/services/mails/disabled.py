"""What a mail says of a webhook endpoint that was disabled."""

from backburner.domain.delivery import Delivery
from backburner.domain.webhook import Endpoint
from backburner.ports import Environment, Mail
from backburner.services import links


def compose(env: Environment, endpoint: Endpoint, delivery: Delivery) -> Mail:
    """The mail: which endpoint, why, and how to have it told again. No URL: that may be secret."""
    unsubscribe_url = links.to_unsubscribe(env, delivery.tenant, delivery.target)
    url = f"{env.public_url}/v1/webhook_endpoints/{endpoint.id}"
    lines = [
        f"The webhook endpoint {endpoint.id} ({endpoint.name}) was disabled.",
        "",
        f"{endpoint.disabled_reason or 'It was enabled again since.'}",
        "",
        "It is told nothing more until it is updated, if only with its own name:",
        "",
        f'  curl {url} -H "Authorization: Bearer $KEY" -H "Content-Type: application/json" '
        "-d '{}'",
        "",
        "What it missed is kept as long as the batches are, and can be sent again:",
        "",
        f"  {env.public_url}/v1/x-deliveries?status=dead",
        "",
        "-- ",
        f"No more mails of {delivery.tenant}: {unsubscribe_url}",
    ]
    return Mail(
        to=delivery.target,
        subject=f"The webhook endpoint {endpoint.id} was disabled",
        text="\n".join(lines) + "\n",
        message_id=delivery.event_id,
        unsubscribe_url=unsubscribe_url,
    )
