"""Links of mails: they need no key, as what they open is signed."""

from backburner.services import links
from backburner.web.answer import Answer
from backburner.web.call import Call


def open_file(call: Call, file_id: str) -> Answer:
    """`GET /v1/links/{file_id}`: where the file's content is now."""
    url = links.open_file(
        call.env,
        file_id,
        tenant=call.query("tenant") or "",
        expires=call.query("expires") or "",
        signature=call.query("signature") or "",
    )
    headers = {"location": url, "cache-control": "no-store", "referrer-policy": "no-referrer"}
    return Answer(status=302, headers=headers)
