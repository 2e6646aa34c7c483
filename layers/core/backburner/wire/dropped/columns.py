"""Names of a table's columns."""

from collections.abc import Sequence

from backburner.domain.errors import InvalidRequest


def checked(names: Sequence[str]) -> list[str]:
    """The names, if each tells one column; raises InvalidRequest."""
    if not any(names):
        raise InvalidRequest("The file has no header: its first row must name the columns.")
    for number, name in enumerate(names):
        if name and name in names[:number]:
            raise InvalidRequest(f"Two columns are called '{name[:64]}'.", param=name[:64])
    return list(names)
