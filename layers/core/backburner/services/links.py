"""Signed links for mails: who has one needs no API key, for what it names and nothing else.

They are ours, and lead to the store's own signed URLs when they are opened: such a URL of S3 ends
with the credentials of the role that signed it, after some hours at most.
"""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from contextlib import suppress
from urllib.parse import quote, urlencode

from backburner.domain.errors import Conflict, NotFound
from backburner.domain.request import Instant
from backburner.ports import Absent, Environment, Update
from backburner.services import files, records

#: How long the URL works that a link leads to: as long as a browser needs to follow it, and to come
#: back for the rest of a large file.
_OPENED_SECONDS = 3600

#: What is signed begins with what it is for: none of them can stand for another.
_FILE, _UNSUBSCRIBE = "file", "unsubscribe"

_SECRET = "links"  # noqa: S105 - its name
_LONGEST_INSTANT = 12


def to_file(env: Environment, tenant: str, file_id: str, *, expires_at: Instant) -> str:
    """A link that opens one file until then."""
    expires = str(int(expires_at))
    query = {
        "tenant": tenant,
        "expires": expires,
        "signature": _signature(env, _FILE, tenant, file_id, expires),
    }
    return f"{env.public_url}/v1/links/{file_id}?{urlencode(query)}"


def open_file(env: Environment, file_id: str, *, tenant: str, expires: str, signature: str) -> str:
    """The URL of a file's content, for whoever has the link.

    Raises:
        NotFound: the link is not ours or not valid any more, or the file is gone.
    """
    is_ours = _is_signed(env, signature, _FILE, tenant, file_id, expires)
    if not is_ours or not _is_instant(expires) or env.clock.now() >= int(expires):
        raise NotFound(
            "This link is not valid, or not any more. With an API key the file can still be read "
            "at /v1/files.",
            code="invalid_link",
        )
    file = files.find(env, tenant, file_id)
    key = file.key or files.blob_key(tenant, file_id)
    return env.blobs.presign(key, seconds=_OPENED_SECONDS, filename=file.filename)


def to_unsubscribe(env: Environment, tenant: str, address: str) -> str:
    """A link by which an address ends a tenant's mails; it works as long as there are mails."""
    query = {
        "tenant": tenant,
        "address": address,
        "signature": _signature(env, _UNSUBSCRIBE, tenant, address),
    }
    return f"{env.public_url}/v1/unsubscribe?{urlencode(query)}"


def check_unsubscribing(env: Environment, *, tenant: str, address: str, signature: str) -> None:
    """Raise NotFound for a link that is none of ours."""
    if not _is_signed(env, signature, _UNSUBSCRIBE, tenant, address):
        raise NotFound("This link is not valid.", code="invalid_link")


def _is_signed(env: Environment, signature: str, *pieces: str) -> bool:
    return signature.isascii() and hmac.compare_digest(_signature(env, *pieces), signature)


def _signature(env: Environment, *pieces: str) -> str:
    """Cover all that the link says; quoted, so that no piece can pass for two."""
    signed = "\n".join(quote(piece, safe="", errors="surrogatepass") for piece in pieces)
    digest = hmac.new(_secret(env).encode(), signed.encode(), hashlib.sha256).digest()
    return urlsafe_b64encode(digest).decode().rstrip("=")


def _is_instant(expires: str) -> bool:
    return expires.isascii() and expires.isdigit() and len(expires) <= _LONGEST_INSTANT


def _secret(env: Environment) -> str:
    """The deployment's; read once in a process, and made by whoever needs it first."""
    if _SECRET not in env.secrets:
        env.secrets[_SECRET] = _stored_secret(env)
    return env.secrets[_SECRET]


def _stored_secret(env: Environment) -> str:
    key = records.secret_key(_SECRET)
    (item,) = env.store.get(key)
    while item is None:
        made = env.ids.secret()
        with suppress(Conflict):  # somebody else was first
            env.store.transact(Update(key, set={"secret": made}, when=(Absent(),)))
        (item,) = env.store.get(key)
    return str(item["secret"])
