"""Packages that take seconds to import, for those tests only that use them.

Every worker of pytest-xdist imports every test module, and runs a part of the tests.
"""

from importlib import import_module
from typing import Any


class Late:
    """A package that is imported when something of it is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("_"):  # pytest asks everything in a module whether it is a test
            raise AttributeError(attribute)
        return getattr(import_module(self._name), attribute)
