"""Which texts are mail addresses."""

from email.headerregistry import Address

import pytest

from backburner.domain.delivery import is_address


@pytest.mark.parametrize(
    "address",
    [
        "a@b",
        "ada@example.com",
        "a.b+c@mail.example.co.uk",
        "x_1@xn--bcher-kva.example",
        "a" * 249 + "@b.cd",
    ],
)
def test_plain_addresses_are_addresses(address):
    assert is_address(address)
    assert str(Address(addr_spec=address)) == address  # what the mailers build of it


@pytest.mark.parametrize(
    "address",
    [
        "",
        "a",
        "@b",
        "a@",
        "a@b@c",
        "a..b@c",
        ".a@b",
        "a.@b",
        "a@.b",
        "a@b.",
        "a@-b",
        "a b@c",
        "a@b\n",
        "a@b\r\nBcc: x@y",
        "jürgen@example.com",
        "(c)@example.com",
        '"x@example.com',
        "a@b,c@d",
        "Ada <a@b>",
        "=?utf-8?q?a?=@b",
        "a" * 250 + "@b.cd",
    ],
)
def test_what_a_mailer_would_refuse_is_no_address(address):
    assert not is_address(address)
