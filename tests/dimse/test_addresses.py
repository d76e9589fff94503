"""An address is the same one however it is written, and colons stay readable."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ports import needs_ipv6

from node.dimse import addresses


@pytest.mark.parametrize(
    ("address", "same"),
    [
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:C000:201", "192.0.2.1"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_an_address_has_one_plain_form(address: str, same: str) -> None:
    assert addresses.plain_address(address) == same


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("::ffff:192.0.2.1", "192.0.2.0/24"),
        ("192.0.2.1", "::ffff:192.0.2.1"),
        ("192.0.2.1", "::ffff:192.0.2.0/120"),
        ("fe80::1%eth0", "fe80::/64"),
        ("fe80::1", "fe80::1%eth0"),
        ("2001:db8::1", "2001:DB8::/32"),
    ],
)
def test_an_address_is_in_its_network_whichever_way_both_are_written(
    address: str, network: str
) -> None:
    assert addresses.is_in(address, network)


@pytest.mark.parametrize(
    ("address", "network"),
    [("::ffff:192.0.3.1", "192.0.2.0/24"), ("::1", "127.0.0.1"), ("192.0.2.1", "2001:db8::/32")],
)
def test_an_address_of_another_network_is_not_in_it(address: str, network: str) -> None:
    assert not addresses.is_in(address, network)


@given(st.ip_addresses(v=4), st.ip_addresses(v=4), st.integers(0, 32))
def test_the_mapped_form_of_an_address_is_in_the_same_networks(
    address: ipaddress.IPv4Address, other: ipaddress.IPv4Address, length: int
) -> None:
    network = f"{other}/{length}"
    expected = address in ipaddress.ip_network(network, strict=False)
    assert addresses.is_in(f"::ffff:{address}", network) == expected
    assert addresses.is_in(str(address), f"::ffff:{other}/{96 + length}") == expected


@pytest.mark.parametrize(
    ("host", "shown"), [("::1", "[::1]:104"), ("192.0.2.1", "192.0.2.1:104"), ("pacs", "pacs:104")]
)
def test_host_and_port_can_be_told_apart(host: str, shown: str) -> None:
    assert addresses.place(host, 104) == shown
    assert addresses.without_brackets(shown.removesuffix(":104")) == host


@pytest.mark.parametrize("host", ["nobody.invalid", "a..b", "x" * 70, "fe80::1%no-such-zone"])
def test_a_host_that_is_not_there_has_no_address(host: str) -> None:
    assert addresses.addresses_of(host) == []
    with pytest.raises(OSError):
        addresses.to_listen_on(host, 104)


@pytest.mark.parametrize(
    ("host", "nearest"),
    [
        ("0.0.0.0", "127.0.0.1"),
        ("::", "::1"),
        ("0:0:0:0:0:0:0:0", "::1"),
        ("192.0.2.1", "192.0.2.1"),
        ("pacs", "pacs"),
    ],
)
def test_this_machine_reaches_what_listens_on_every_address(host: str, nearest: str) -> None:
    assert addresses.near(host) == nearest


@needs_ipv6
def test_an_address_with_a_zone_is_listened_on_and_called_with_it() -> None:
    index, name = socket.if_nameindex()[0]
    assert addresses.to_listen_on(f"fe80::1%{name}", 104) == ("fe80::1", 104, 0, index)
    assert addresses.to_call(f"fe80::1%{name}") == ("fe80::1", 0, index)
    assert addresses.to_call("::1") == "::1"
    with pytest.raises(OSError):
        addresses.to_call("fe80::1%no-such-zone")
