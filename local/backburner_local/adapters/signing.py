"""URLs that open one object for a while: signed when made, verified by the gateway."""

import hashlib
import hmac
import re
from urllib.parse import parse_qsl, quote, unquote

from backburner.ports import Clock

#: Where the gateway serves objects.
PATH = "/blobs/"
_EXPIRES = re.compile(r"[0-9]{1,12}", re.ASCII)


class Signer:
    """Makes and verifies the URLs of one bucket."""

    def __init__(self, clock: Clock, key: bytes, bucket: str, public_url: str) -> None:
        self._clock = clock
        self._key = key
        self._bucket = bucket
        self._public_url = public_url

    def presign(self, key: str, *, seconds: int, filename: str | None) -> str:
        """A URL of the object; the file name is what a browser saves it as."""
        expires = str(int(self._clock.now()) + seconds)
        query = f"expires={expires}"
        if filename is not None:
            query += f"&filename={quote(filename, safe='')}"
        signature = self._signature(key, expires, filename)
        return f"{self._public_url}{PATH}{quote(key)}?{query}&signature={signature}"

    def verify(self, path_and_query: str) -> str | None:
        """The key that the URL opens now, or None: it opens nothing."""
        path, _, query = path_and_query.partition("?")
        pairs = parse_qsl(query, keep_blank_values=True)
        given = dict(pairs)
        if not path.startswith(PATH) or len(given) < len(pairs):
            return None
        if not given.keys() <= {"expires", "filename", "signature"}:
            return None
        key = unquote(path.removeprefix(PATH))
        expires = given.get("expires", "")
        expected = self._signature(key, expires, given.get("filename"))
        signature = given.get("signature", "")
        is_ours = signature.isascii() and hmac.compare_digest(expected, signature)
        if not (is_ours and _EXPIRES.fullmatch(expires) and int(expires) > self._clock.now()):
            return None
        return key

    def _signature(self, key: str, expires: str, filename: str | None) -> str:
        """Cover all that the URL says; quoted, so that no piece can pass for two."""
        pieces = ["presign", self._bucket, key, expires]
        if filename is not None:
            pieces.append(filename)
        signed = "\n".join(quote(piece, safe="", errors="surrogatepass") for piece in pieces)
        return hmac.new(self._key, signed.encode(), hashlib.sha256).hexdigest()
