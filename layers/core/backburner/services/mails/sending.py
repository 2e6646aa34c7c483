"""Send a mail to whoever may have it."""

from collections.abc import Sequence

from backburner.domain.batch import Batch
from backburner.domain.delivery import Delivery
from backburner.domain.errors import AddressRefused
from backburner.domain.mailing import Cause
from backburner.ports import Environment
from backburner.services import mailing
from backburner.services.mails.compose import compose


def send(env: Environment, told: Delivery, batches: Sequence[Batch]) -> None:
    """Send one mail about the batches.

    Raises:
        InvalidRequest: the address gets no mail any more, or will never take this one.
    """
    mailing.check(env, told.tenant, told.target)
    try:
        env.mailer.send(compose(env, told, batches))
    except AddressRefused:
        mailing.suppress(env, told.target, Cause.REFUSED)
        raise
