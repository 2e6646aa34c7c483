"""The HTTP interface: routes, what they take and answer, and what errors look like."""

from backburner.web.gateway import Gateway

__all__ = ["Gateway"]
