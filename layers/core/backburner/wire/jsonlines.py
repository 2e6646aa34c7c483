"""Lines of JSON, as files of requests have them."""

import msgspec

from backburner.domain.errors import InvalidLine

#: Deepest nesting of lists and objects in a line, which counts as the first level.
NESTING = 128

#: What decoding raises for bytes that are no JSON.
NOT_JSON = (msgspec.DecodeError, ValueError, RecursionError)

_read = msgspec.json.Decoder().decode


def read_object(data: bytes) -> dict[str, object]:
    """Read a line as an object; raises InvalidLine that says why it is none."""
    try:
        line = _read(data)
        data.decode()
    except UnicodeDecodeError:
        raise InvalidLine("invalid_json_line", "This line is not valid UTF-8.") from None
    except RecursionError:
        raise InvalidLine("invalid_json_line", "This line is nested too deeply.") from None
    except (msgspec.DecodeError, ValueError) as error:
        raise InvalidLine(
            "invalid_json_line", f"This line is not parseable as valid JSON: {error}."
        ) from None
    if not isinstance(line, dict):
        raise InvalidLine("invalid_json_line", "This line is not a JSON object.")
    return line
