"""What the routes of mails and of their links take and answer."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta

from backburner.web.openapi.operation import (
    Answer,
    Operation,
    Optional,
    Page,
    Params,
    Timestamp,
)

Address = Annotated[str, Meta(max_length=254)]
Digests = Literal["none", "hourly"]


class MailSettings(Answer):
    """What a tenant wants of its mails."""

    object: Literal["mail_settings"]
    enabled: bool
    address: Annotated[
        str | None, Meta(description="Told of batches that name nobody in `notify_email`.")
    ]
    digest: Annotated[
        Digests, Meta(description="`hourly`: one mail for all that end within an hour.")
    ]


class ChangedMailSettings(msgspec.Struct, kw_only=True):
    """What is to change; the rest stays."""

    enabled: bool | Optional = UNSET
    address: Address | Optional | None = UNSET
    digest: Digests | Optional = UNSET


class MailSuppression(Answer):
    """An address that gets no more mails of the tenant."""

    id: str
    object: Literal["mail_suppression"]
    address: str
    cause: Literal["unsubscribed", "bounced", "complained", "refused"]
    created_at: Timestamp


class DeletedMailSuppression(Answer):
    """The address gets mails again."""

    id: str
    object: Literal["mail_suppression"]
    deleted: Literal[True]


class ListSuppressions(Params):
    """Where a page begins, and how long it is."""

    after: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,100}$")] | Optional = UNSET
    limit: Annotated[int, Meta(ge=1, le=1000)] | Optional = UNSET


class FileLink(Params):
    """As it stands in the mail; the signature covers all of it."""

    tenant: str | Optional = UNSET
    expires: str | Optional = UNSET
    signature: str | Optional = UNSET


class UnsubscribeLink(Params):
    """As it stands in the mail; the signature covers all of it."""

    tenant: str | Optional = UNSET
    address: str | Optional = UNSET
    signature: str | Optional = UNSET


class UnsubscribeForm(msgspec.Struct, kw_only=True):
    """A form; whatever it says but `mails=again` ends the mails."""

    mails: Literal["no", "again"] | Optional = UNSET
    one_click: Literal["One-Click"] | Optional = msgspec.field(
        name="List-Unsubscribe", default=UNSET
    )


_PUBLIC = (404, 500, 503)

OPERATIONS: dict[str, Operation] = {
    "GET /v1/mail": Operation(summary="Show the settings of mails", answer=MailSettings),
    "POST /v1/mail": Operation(
        summary="Change the settings of mails", answer=MailSettings, body=ChangedMailSettings
    ),
    "GET /v1/mail/suppressions": Operation(
        summary="List addresses that have unsubscribed",
        answer=Page[MailSuppression],
        query=ListSuppressions,
    ),
    "DELETE /v1/mail/suppressions/<suppression_id>": Operation(
        summary="Let an address have mails again", answer=DeletedMailSuppression, errors=(404,)
    ),
}

#: Of links in mails, which need no key.
SIGNED: dict[str, Operation] = {
    "GET /v1/links/<file_id>": Operation(
        summary="Follow a mail's link to a file",
        answer=None,
        query=FileLink,
        errors=_PUBLIC,
        may_redirect=True,
        is_public=True,
    ),
    "GET /v1/unsubscribe": Operation(
        summary="Show the page to unsubscribe",
        answer=bytes,
        answer_type="text/html",
        query=UnsubscribeLink,
        errors=_PUBLIC,
        is_public=True,
    ),
    "POST /v1/unsubscribe": Operation(
        summary="End a tenant's mails to one address",
        answer=bytes,
        answer_type="text/html",
        query=UnsubscribeLink,
        body=UnsubscribeForm,
        body_type="application/x-www-form-urlencoded",
        needs_body=False,
        errors=_PUBLIC,
        is_public=True,
    ),
}
