"""Keys, names of files, and the names of S3's errors."""

import re
from urllib.parse import quote

from botocore.exceptions import ClientError

from backburner.domain.errors import InvalidRequest, NotFound

#: Most bytes of a key (user guide, "Naming Amazon S3 objects").
MAX_KEY_BYTES = 1024

#: What XML 1.0 has no way to say, and thus no body of a request.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
#: What is put in quotes as it is; a percent sign is not, as some browsers decode it.
_UNSAFE = re.compile(r"[^ !#$&-\[\]-~]")


def fits(key: str) -> bool:
    """Whether an object can have this key."""
    try:
        return 0 < len(key.encode()) <= MAX_KEY_BYTES
    except UnicodeEncodeError:
        return False


def checked(key: str) -> str:
    """The key; raises InvalidRequest if no object can have it."""
    if not fits(key):
        raise InvalidRequest(
            f"{key[:100]!r} can't be the key of an object in S3: a key is 1 to {MAX_KEY_BYTES} "
            "bytes of UTF-8."
        )
    return key


def suits_xml(key: str) -> bool:
    """Whether a request can name the key in its body."""
    return _NO_XML.search(key) is None


def disposition(filename: str) -> str:
    """`Content-Disposition` that has a browser save the answer under a name (RFC 6266).

    Old browsers see the name in ASCII, all others as it is.
    """
    if not filename:
        return "attachment"
    plain = _UNSAFE.sub("_", filename)
    encoded = quote(filename, safe="", errors="replace")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}"


def no_such(key: str) -> NotFound:
    return NotFound(f"No such object: {key[:100]!r}.")


def code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
