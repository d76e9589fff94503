"""Addresses on the network: how they are written, compared, listened on and called.

An IPv4 peer of a listener on "::" comes from ::ffff:192.0.2.1; it is 192.0.2.1 all the same.
"""

from __future__ import annotations

import ipaddress
import socket


def place(host: str, port: int) -> str:
    """Return host and port as people write them; the colons of IPv6 are in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def without_brackets(host: str) -> str:
    """Return a host without the brackets that URLs put around an IPv6 address."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def plain_address(address: str) -> str:
    """Return an address without its zone, and an IPv4-mapped one as the IPv4 address it is."""
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)


def is_in(address: str, network: str) -> bool:
    """Say whether an address is one of a network, whichever way either is written."""
    found = ipaddress.ip_address(plain_address(address))
    allowed = ipaddress.ip_network(network, strict=False)
    if found.version == 4 and allowed.version == 6:
        found = ipaddress.ip_address(f"::ffff:{found}")
    return found in allowed


def addresses_of(host: str) -> list[str]:
    """Return the addresses a host name stands for today; none if it cannot be told."""
    try:
        return sorted({str(info[4][0]) for info in socket.getaddrinfo(host, None)})
    except (OSError, ValueError):  # no such name, or no name at all
        return []


def is_every(host: str) -> bool:
    """Say whether a host to listen on stands for every address of the machine."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def near(host: str) -> str:
    """Return where this machine itself reaches what listens on a host."""
    if not is_every(host):
        return host
    return "::1" if ":" in host else "127.0.0.1"


def to_listen_on(host: str, port: int) -> tuple[str, int] | tuple[str, int, int, int]:
    """Return what to bind a socket to: IPv4 if there is a choice, IPv6 with its zone.

    Raises OSError if there is no such host.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # not even the form of a name
        raise OSError(socket.EAI_NONAME, "no such host") from error
    *_, address = min(found, key=lambda info: info[0] != socket.AF_INET)
    return address  # type: ignore[return-value]  # neither of these families has another form


def take_both_families(listening: socket.socket) -> None:
    """Let IPv4 reach a socket that will listen on "::", whatever the machine's default."""
    if listening.family == socket.AF_INET6:
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)


def to_call(host: str) -> str | tuple[str, int, int]:
    """Return a host as pynetdicom calls it: of an IPv6 address with a zone, the parts.

    Raises OSError if there is no such zone here.
    """
    if "%" not in host:
        return host
    *_, address = socket.getaddrinfo(host, None, socket.AF_INET6, socket.SOCK_STREAM)[0]
    return str(address[0]), int(address[-2]), int(address[-1])
