"""URLs that open one object for a while: signed when made, verified by the gateway."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, unquote

from backburner.ports import Clock

#: Where the gateway serves objects.
PATH = "/blobs/"
#: What a URL is for; one that reads must not write.
_READ, _WRITE = "presign", "upload"
_EXPIRES = re.compile(r"[0-9]{1,12}", re.ASCII)


class Signer:
    """Makes and verifies the URLs of one bucket."""

    def __init__(self, clock: Clock, key: bytes, bucket: str, public_url: str) -> None:
        self._clock = clock
        self._key = key
        self._bucket = bucket
        self._public_url = public_url

    def presign(
        self,
        key: str,
        *,
        seconds: int,
        filename: str | None = None,
        content_type: str | None = None,
    ) -> str:
        """A URL that reads the object; a browser saves it under the file name."""
        options = {"filename": filename, "type": content_type}
        given = {name: value for name, value in options.items() if value is not None}
        return self._url(_READ, key, seconds, given)

    def presign_upload(self, key: str, *, seconds: int) -> str:
        """A URL that writes the object."""
        return self._url(_WRITE, key, seconds, {})

    def verify(self, path_and_query: str) -> str | None:
        """The key that the URL opens now, or None: it opens nothing."""
        return self._verify(_READ, path_and_query)

    def verify_upload(self, path_and_query: str) -> str | None:
        """The key that the URL may write now, or None: it may not."""
        return self._verify(_WRITE, path_and_query)

    def _url(self, purpose: str, key: str, seconds: int, options: Mapping[str, str]) -> str:
        expires = str(int(self._clock.now()) + seconds)
        signature = self._signature(purpose, key, expires, options)
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in options.items())
        query = f"expires={expires}{'&' if query else ''}{query}&signature={signature}"
        return f"{self._public_url}{PATH}{quote(key)}?{query}"

    def _verify(self, purpose: str, path_and_query: str) -> str | None:
        path, _, query = path_and_query.partition("?")
        pairs = parse_qsl(query, keep_blank_values=True)
        given = dict(pairs)
        if not path.startswith(PATH) or len(given) < len(pairs):
            return None
        expires, signature = given.pop("expires", ""), given.pop("signature", "")
        if not given.keys() <= {"filename", "type"}:
            return None
        key = unquote(path.removeprefix(PATH))
        expected = self._signature(purpose, key, expires, given)
        is_ours = signature.isascii() and hmac.compare_digest(expected, signature)
        if not (is_ours and _EXPIRES.fullmatch(expires) and int(expires) > self._clock.now()):
            return None
        return key

    def _signature(self, purpose: str, key: str, expires: str, options: Mapping[str, str]) -> str:
        """Cover all that the URL says; quoted, so that no piece can pass for two."""
        named = (f"{name}={options[name]}" for name in sorted(options))
        pieces = [purpose, self._bucket, key, expires, *named]
        signed = "\n".join(quote(piece, safe="", errors="surrogatepass") for piece in pieces)
        return hmac.new(self._key, signed.encode(), hashlib.sha256).hexdigest()
