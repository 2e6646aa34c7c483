"""The OpenAPI document of the API, and a page that shows it. Imported when it is asked for only."""

from pathlib import Path

from backburner.web.answer import Answer
from backburner.web.openapi.document import document, to_json

__all__ = ["document", "page", "served", "to_json"]

_CACHED = {"cache-control": "public, max-age=300"}

#: The page is whole: it loads nothing but the document beside it.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def served() -> Answer:
    """`GET /openapi.json`."""
    headers = {"content-type": "application/json", "access-control-allow-origin": "*"}
    return Answer(body=to_json(), headers=headers | _CACHED)


def page() -> Answer:
    """`GET /docs`."""
    html = Path(__file__).with_name("page.html").read_bytes()
    headers = {"content-type": "text/html; charset=utf-8", "content-security-policy": _POLICY}
    return Answer(body=html, headers=headers | _CACHED)
