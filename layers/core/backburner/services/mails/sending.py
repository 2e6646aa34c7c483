"""Send a mail to whoever may have it."""

from collections.abc import Callable, Sequence

from backburner.domain.batch import Batch
from backburner.domain.delivery import Delivery
from backburner.domain.errors import AddressRefused
from backburner.domain.mailing import Cause
from backburner.ports import Environment, Mail
from backburner.services import mailing
from backburner.services.mails.compose import compose


def send(env: Environment, told: Delivery, batches: Sequence[Batch]) -> None:
    """Send one mail about the batches.

    Raises:
        InvalidRequest: the address gets no mail any more, or will never take this one.
    """
    send_made(env, told, lambda: compose(env, told, batches))


def send_made(env: Environment, told: Delivery, make: Callable[[], Mail]) -> None:
    """The same with a mail about something else; made only for those who may have it."""
    mailing.check(env, told.tenant, told.target)
    try:
        env.mailer.send(make())
    except AddressRefused:
        mailing.suppress(env, told.target, Cause.REFUSED)
        raise
