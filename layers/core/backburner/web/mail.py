"""A tenant's mails: whether there are any, to whom, and who wants none."""

from backburner.domain.mailing import MailSettings, Suppression
from backburner.services import mailing
from backburner.web.call import Call
from backburner.wire import objects
from backburner.wire.objects import Object

_PAGE, _MOST = 100, 1000


def retrieve(call: Call) -> Object:
    """`GET /v1/mail`."""
    return _shown(mailing.settings(call.env, call.tenant))


def change(call: Call) -> Object:
    """`POST /v1/mail`; what is not named stays as it is."""
    return _shown(mailing.change(call.env, call.tenant, call.body()))


def suppressions(call: Call) -> Object:
    """`GET /v1/mail/suppressions`: addresses that have unsubscribed."""
    limit = call.number("limit", least=1, most=_MOST) or _PAGE
    found, has_more = mailing.suppressions(call.env, call.tenant, after=call.after(), limit=limit)
    return objects.page_object([_suppressed(one) for one in found], has_more=has_more)


def allow(call: Call, suppression_id: str) -> Object:
    """`DELETE /v1/mail/suppressions/{id}`: the address gets mails again."""
    mailing.allow(call.env, suppression_id, tenant=call.tenant)
    return objects.deleted_object(suppression_id, "mail_suppression")


def _shown(found: MailSettings) -> Object:
    return {
        "object": "mail_settings",
        "enabled": found.enabled,
        "address": found.address,
        "digest": str(found.digest),
    }


def _suppressed(found: Suppression) -> Object:
    return {
        "id": found.id,
        "object": "mail_suppression",
        "address": found.address,
        "cause": str(found.cause),
        "created_at": int(found.created_at),
    }
