"""The page by which the receiver of a mail ends such mails, and gets them again.

To look at it changes nothing: programs that check mails follow every link in them. Mail programs
unsubscribe by a POST of their own (RFC 8058), which the page's button does as well.
"""

from urllib.parse import parse_qs

from backburner.domain.mailing import Cause
from backburner.services import links, mailing
from backburner.web.answer import Answer
from backburner.web.call import Call, open_body

#: Field of the form, and its value where mails are wanted again.
FIELD, AGAIN = "mails", "again"

#: More than any form of ours, or of a mail program, has.
_FORM_BYTES = 10_000

_HEADERS = {
    "content-type": "text/html; charset=utf-8",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
}

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 17px/1.5 system-ui, sans-serif; max-width: 30em; margin: 15vh auto; padding: 16px; }}
button {{ font: inherit; padding: 10px 18px; border-radius: 8px; border: 1px solid #888; }}
p {{ overflow-wrap: anywhere; }}
</style>
</head>
<body>
<p>{said}</p>
<form method="post"><button name="{field}" value="{value}">{label}</button></form>
</body>
</html>
"""


def show(call: Call) -> Answer:
    """`GET /v1/unsubscribe`: a page with a button."""
    tenant, address = _asked(call)
    return _page(
        "Unsubscribe",
        f"Mails about batches of {tenant} go to {address}.",
        value="no",
        label="No more such mails",
    )


def act(call: Call) -> Answer:
    """`POST /v1/unsubscribe`: no more mails of this tenant, or mails again."""
    tenant, address = _asked(call)
    with open_body(call.event, call.env) as body:
        form = parse_qs(body.read(_FORM_BYTES).decode("utf-8", "replace"))
    if form.get(FIELD) == [AGAIN]:
        mailing.resubscribe(call.env, tenant, address)
        return _page(
            "Subscribed",
            f"Mails about batches of {tenant} go to {address} again.",
            value="no",
            label="No more such mails",
        )
    mailing.suppress(call.env, address, Cause.UNSUBSCRIBED, tenant=tenant)
    return _page(
        "Unsubscribed",
        f"No more mails about batches of {tenant} go to {address}.",
        value=AGAIN,
        label="Send them again",
    )


def _asked(call: Call) -> tuple[str, str]:
    """Tenant and address of the link; raises NotFound if it is none of ours."""
    tenant, address = call.query("tenant") or "", call.query("address") or ""
    links.check_unsubscribing(
        call.env, tenant=tenant, address=address, signature=call.query("signature") or ""
    )
    return tenant, address


def _page(title: str, said: str, *, value: str, label: str) -> Answer:
    from html import escape  # nobody else needs it

    page = _PAGE.format(title=title, said=escape(said), field=FIELD, value=value, label=label)
    return Answer(body=page.encode(), headers=_HEADERS)
