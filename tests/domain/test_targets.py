"""Where webhooks may go: only to what is public, however it is written."""

import pytest

from backburner.domain.errors import InvalidRequest
from backburner.domain.targets import is_allowed, to_target

#: The longest name that a host may have (RFC 1035), of labels that may still be longer.
LONGEST = ".".join(["a" * 62] * 3 + ["b" * 61 + ".cc"])

PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "93.184.216.34",
    "172.15.255.255",
    "172.32.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "2606:4700:4700::1111",
    "2a00:1450:4001:80b::200e",
]

FORBIDDEN = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",  # IPv4-compatible
    "::ffff:127.0.0.1",  # IPv4-mapped
    "::ffff:169.254.169.254",
    "::ffff:8.8.8.8",
    "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1",  # NAT64
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",  # Teredo
    "2001:0:7f00:1::",
    "2001:db8::1",
    "2002:7f00:1::",  # 6to4
    "2002:a9fe:a9fe::1",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "2606:4700:4700::1111%eth0",
    "fec0::1",
    "ff02::1",
    "not an address",
    "",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_connected_to(address):
    assert is_allowed(address)


@pytest.mark.parametrize("address", FORBIDDEN)
def test_no_other_address_may_be(address):
    assert not is_allowed(address)


@pytest.mark.parametrize(
    ("address", "is_this_machine"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("10.0.0.1", False),
        ("169.254.169.254", False),
        ("fd00:ec2::254", False),
        ("0.0.0.0", False),
        ("::ffff:127.0.0.1", False),
    ],
)
def test_where_this_machine_is_allowed_no_other_one_of_the_network_is(address, is_this_machine):
    assert is_allowed(address, may_be_local=True) is is_this_machine


@pytest.mark.parametrize(
    ("url", "host", "port", "path", "authority"),
    [
        ("https://example.com", "example.com", 443, "/", "example.com"),
        ("https://Example.COM./a?b=c&d", "example.com", 443, "/a?b=c&d", "example.com"),
        ("HTTPS://h.example.com:8443/x", "h.example.com", 8443, "/x", "h.example.com:8443"),
        ("https://8.8.8.8:443/", "8.8.8.8", 443, "/", "8.8.8.8"),
        (
            "https://[2606:4700:4700::1111]:9000/y",
            "2606:4700:4700::1111",
            9000,
            "/y",
            "[2606:4700:4700::1111]:9000",
        ),
        ("https://1.2.3.4.nip.io/", "1.2.3.4.nip.io", 443, "/", "1.2.3.4.nip.io"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example", 443, "/", None),
        ("https://a_b.example.com/%20?q", "a_b.example.com", 443, "/%20?q", "a_b.example.com"),
        ("https://h.example.com:1024/X", "h.example.com", 1024, "/X", "h.example.com:1024"),
        (f"https://{LONGEST}/", LONGEST, 443, "/", LONGEST),
    ],
)
def test_a_url_is_taken_apart(url, host, port, path, authority):
    target = to_target(url)
    assert (target.host, target.port, target.path) == (host, port, path)
    assert target.authority == (authority or host)
    assert target.is_encrypted


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "javascript:alert(1)",
        "//example.com/",
        "example.com",
        "https://",
        "https:///path",
        "https://localhost/",
        "https://localhost./",
        "https://LOCALHOST:443/",
        "https://me.localhost/",
        "https://database/",
        "https://printer.local/",
        "https://metadata.google.internal/",
        "https://box.home.arpa/",
        "https://router.lan/",
        "https://x.onion/",
        "https://2130706433/",  # 127.0.0.1 in decimal
        "https://017700000001/",  # in octal
        "https://0x7f000001/",  # in hex
        "https://0x7f.0.0.1/",
        "https://0177.0.0.1/",
        "https://127.1/",
        "https://127.0.1/",
        "https://1.2.3.0x4/",
        "https://1.2.3.4.5/",
        "https://00.0.0.0/",
        "https://0/",
        "https://user@example.com/",
        "https://user:word@example.com/",
        "https://example.com@127.0.0.1/",
        "https://example.com/#there",
        "https://example.com/#",
        "https://example.com:22/",
        "https://example.com:25/",
        "https://example.com:80/",
        "https://example.com:0/",
        "https://example.com:1023/",
        "https://example.com:99999/",
        "https://example.com:port/",
        "https://exam ple.com/",
        "https://example.com/a b",
        "https://example.com/\r\nHost: x",
        "https://example.com/\x00",
        "https://example.com\\@127.0.0.1/",
        "https://bücher.example/",
        "https://ⓔxample.com/",
        "https://127.0.0.1%2e/",
        "https://[::1",
        "https://[::1]x/",
        "https://[fe80::1%25eth0]/",
        "https://-example.com/",
        "https://example..com/",
        "https://" + "a" * 64 + ".example.com/",
        f"https://a{LONGEST}/",
        "https://example.com/" + "a" * 2048,
        "",
        None,
        7,
        ["https://example.com/"],
    ],
)
def test_what_no_webhook_may_go_to_is_refused(url):
    with pytest.raises(InvalidRequest, match="'url' must") as refused:
        to_target(url)
    assert refused.value.param == "url"


@pytest.mark.parametrize("address", [one for one in FORBIDDEN if one and " " not in one])
def test_an_address_that_is_not_public_is_refused_in_a_url(address):
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(InvalidRequest):
        to_target(f"https://{host}/")
    with pytest.raises(InvalidRequest):
        to_target(f"https://{host}:8443/hook")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/hook",
        "http://localhost:8000/",
        "https://localhost/",
        "https://a.localhost/",
        "http://[::1]:8000/",
        "https://example.com/",
        "http://127.0.0.1:80/",
    ],
)
def test_for_development_this_machine_may_be_named_and_without_tls(url):
    assert to_target(url, may_be_local=True).port


def test_the_usual_port_goes_without_saying_without_tls_too():
    assert to_target("http://localhost/", may_be_local=True).authority == "localhost"
    assert to_target("http://localhost:443/", may_be_local=True).authority == "localhost:443"


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/",
        "https://169.254.169.254/",
        "https://127.1/",
        "ftp://localhost/",
        "http://localhost:0/",
        "x",
    ],
)
def test_and_nothing_else_of_the_network(url):
    with pytest.raises(InvalidRequest):
        to_target(url, may_be_local=True)


def test_the_error_names_the_field():
    with pytest.raises(InvalidRequest, match="'callback_url' must begin with") as refused:
        to_target("http://example.com", param="callback_url")
    assert refused.value.param == "callback_url"
