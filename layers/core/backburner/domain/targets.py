"""Where webhooks may go: what a URL may name, and which addresses may be connected to.

Whoever names a URL has us send a request from inside our network. So only what is public may be
named, and what a name leads to is looked at again on every connection: see adapters/webhook.py.

Ranges: IANA's registries of special-purpose addresses (IPv4 and IPv6), and of IPv6's global
unicast; the addresses at which clouds tell their instances about themselves are among them, but
for Azure's.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from backburner.domain.errors import InvalidRequest

MOST_CHARACTERS = 2048

#: Ports below this that may be connected to: others are those of mail servers and the like.
_FIRST_FREE_PORT, _HTTPS_PORT, _HTTP_PORT = 1024, 443, 80

_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})+")
#: Programs read such a host as an address, in forms of their own: `127.1`, `0x7f000001`.
_NUMERIC = re.compile(r"([0-9]+|0x[0-9a-f]*)")

#: Last labels of names that mean something inside a network only (RFC 6761, RFC 6762, RFC 8375,
#: and ICANN's `internal`).
_PRIVATE_LABELS = frozenset({"arpa", "internal", "invalid", "lan", "local", "localhost", "onion"})

_NOT_PUBLIC_V4 = [
    ip_network(one)
    for one in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carriers' NAT
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's, of its instances
        "169.254.0.0/16",  # link-local, metadata of clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocols
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
]
#: All that is public is in it: not loopback, link-local, unique local (metadata of AWS), multicast,
#: nor IPv4 that is mapped, compatible or translated (NAT64).
_GLOBAL_V6 = ip_network("2000::/3")
_NOT_PUBLIC_V6 = [
    ip_network(one)
    for one in (
        "2001::/23",  # protocols: Teredo and ORCHID, which hold other addresses
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which holds an IPv4 address
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a URL names, taken apart."""

    is_encrypted: bool
    #: A name, or an address without brackets.
    host: str
    port: int
    #: Path and query.
    path: str

    @property
    def authority(self) -> str:
        """The host as it is named to the server, with the port unless it goes without saying."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = _HTTPS_PORT if self.is_encrypted else _HTTP_PORT
        return host if self.port == usual else f"{host}:{self.port}"


def to_target(url: str, *, may_be_local: bool = False, param: str = "url") -> Target:
    """Take a URL apart; raises InvalidRequest for one that no webhook may go to.

    Args:
        url: as it was given.
        may_be_local: whether this machine may be named, and reached without TLS.
        param: what the URL is called where it was given.
    """
    try:
        return _target(url, may_be_local=may_be_local)
    except ValueError as error:
        raise InvalidRequest(f"'{param}' {error}", param=param) from None


def is_allowed(address: str, *, may_be_local: bool = False) -> bool:
    """Whether this address may be connected to.

    Args:
        address: in the form that the system has for it; an IPv6 address may have a zone.
        may_be_local: whether this machine may be.
    """
    try:
        found = ip_address(address)
    except ValueError:
        return False
    if may_be_local and found.is_loopback:
        return True
    return _is_public(found)


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in one for one in _NOT_PUBLIC_V4)
    if address.scope_id is not None or address not in _GLOBAL_V6:
        return False
    return not any(address in one for one in _NOT_PUBLIC_V6)


def _target(url: str, *, may_be_local: bool) -> Target:
    """The same; raises ValueError with the end of a sentence."""
    if not isinstance(url, str) or not 1 <= len(url) <= MOST_CHARACTERS:
        raise ValueError(f"must be a URL of at most {MOST_CHARACTERS} characters.")
    if not url.isascii() or any(one <= " " or one in '\\"<>^`{|}\x7f' for one in url):
        raise ValueError("must be a URL of plain ASCII: write other characters in their %-form.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("must be a URL.") from None
    is_encrypted = parts.scheme == "https"
    if not is_encrypted and not (may_be_local and parts.scheme == "http"):
        raise ValueError("must begin with 'https://'.")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user name or a password.")
    if parts.fragment or url.endswith("#"):
        raise ValueError("must not have a fragment.")
    host = _host((parts.hostname or "").removesuffix("."), may_be_local=may_be_local)
    if port is None:
        port = _HTTPS_PORT if is_encrypted else _HTTP_PORT
    is_free = port >= _FIRST_FREE_PORT or may_be_local
    if port == 0 or not (is_free or port == _HTTPS_PORT):
        raise ValueError(f"must have port {_HTTPS_PORT}, or one from {_FIRST_FREE_PORT} on.")
    path = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
    return Target(is_encrypted=is_encrypted, host=host, port=port, path=path)


def _host(host: str, *, may_be_local: bool) -> str:
    if ":" in host or _NUMERIC.fullmatch(host.rpartition(".")[2]):
        if not is_allowed(host, may_be_local=may_be_local):
            raise ValueError("must name a host that is public.")
        return host
    if may_be_local and (host == "localhost" or host.endswith(".localhost")):
        return host
    if len(host) > 253 or not _NAME.fullmatch(host):
        raise ValueError("must have the whole name of a host, such as 'hooks.example.com'.")
    if host.rpartition(".")[2] in _PRIVATE_LABELS:
        raise ValueError("must name a host that is public.")
    return host
