"""Where the page may be reached from, and what that asks for before it starts."""

from __future__ import annotations

import ipaddress

from node.config import WebSettings
from node.dimse.addresses import is_every, plain_address

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")

FIRST_USER = "`ai-node web passwd NAME --role operator`"


def is_this_machine(host: str) -> bool:
    """Say whether a host is reached from this machine alone."""
    try:
        return ipaddress.ip_address(plain_address(host)).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def needs_users(web: WebSettings) -> bool:
    """Say whether somebody other than who sits at this machine may be meant."""
    return bool(
        not is_this_machine(web.host)
        or web.proxies
        or not all(is_this_machine(name) for name in web.names)
    )


def needs_https(web: WebSettings) -> bool:
    """Say whether a request that is not encrypted must be refused: a password would be seen."""
    return bool(not is_this_machine(web.host) or web.proxies or web.tls_certificate)


def names_of_page(web: WebSettings) -> frozenset[str]:
    """Return what the page may be called in a request, in small letters and without brackets.

    Any other name was chosen by somebody else, who lets a browser of ours speak to us (DNS
    rebinding).
    """
    names = {name.lower().rstrip(".") for name in web.names}
    if not is_every(web.host):
        names.add(web.host.lower())
    if is_this_machine(web.host):
        names.update(_LOOPBACK_NAMES)
    return frozenset(names)


def faults_of_page(web: WebSettings, *, has_users: bool) -> list[str]:
    """Return why the page must not start, each with what to do; nothing if it may."""
    faults = []
    is_near = is_this_machine(web.host)
    if not (is_near or web.tls_certificate or web.proxies):
        faults.append(
            f"[web] host {web.host} is reached from other machines, which only TLS may be: give "
            "tls_certificate and tls_key, or name the proxy that ends TLS in proxies, or set "
            'host = "127.0.0.1"'
        )
    if not names_of_page(web):
        faults.append(
            f"[web] host {web.host} stands for every address: say in names what people call the "
            'page, such as names = ["ai-node.example.org"]'
        )
    if needs_users(web) and not has_users:
        faults.append(
            "[web] the page is for more than this machine, which it only is with users, and there "
            f"are none: {FIRST_USER} makes one"
        )
    return faults


def address_of_page(web: WebSettings, port: int) -> str:
    """Return where people find the page: "http://127.0.0.1:11180".

    Where a host stands for every address, by the first of its names; behind a proxy, the proxy's.
    """
    if web.proxies and web.names:
        return f"https://{web.names[0]}"
    scheme = "https" if web.tls_certificate else "http"
    name = web.names[0] if web.names and is_every(web.host) else web.host
    host = f"[{name}]" if ":" in name else name
    return f"{scheme}://{host}:{port}"
