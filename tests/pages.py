"""The page, really served on a port of this machine, and a browser that is none: httpx."""

from __future__ import annotations

import contextlib
import re
import ssl
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import httpx

from node import config
from node.current import Current
from node.ledger import Ledger, People, WebRole
from node.store import Store
from node.web.serving import Page

PASSWORD = "correct horse battery"
OPERATOR, READER = "olga", "rita"


class ServedPage:
    """A page, its users, and who looks at it; it begins with `page.start()`."""

    def __init__(self, ledger: Ledger, store: Store, settings: config.Config) -> None:
        assert settings.web is not None
        self.people = People(ledger)
        self.page = Page(Current(settings), store)

    def add_users(self) -> None:
        """Let an operator and a reader be there."""
        self.people.set_password(OPERATOR, PASSWORD, WebRole.OPERATOR)
        self.people.set_password(READER, PASSWORD, WebRole.READER)

    @contextlib.contextmanager
    def visitor(
        self, name: str = "", *, by: str = "", at: str = "", trusts: Path | None = None
    ) -> Iterator[Visitor]:
        """Come by, as a user if a name is given; from another address by a proxy with TLS.

        Or at another name of the page, trusting a certificate.
        """
        address = at or self.page.address
        verify = True if trusts is None else ssl.create_default_context(cafile=str(trusts))
        transport = _Proxy(by) if by else httpx.HTTPTransport(verify=verify)
        if by:
            address = address.replace("http:", "https:")
        with httpx.Client(base_url=address, transport=transport, timeout=30) as client:
            visitor = Visitor(client)
            if name:
                answer = visitor.log_in(name)
                assert (answer.status_code, answer.headers["location"]) == (303, "/"), answer.text
            yield visitor


class Visitor:
    """Somebody with a browser of their own, which runs no script."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        self.ask = client.get
        """Whatever is answered."""

    def get(self, path: str, status: int = 200) -> str:
        """Return a page; the answer must have this status."""
        answer = self.ask(path)
        assert answer.status_code == status, (path, answer.status_code, answer.text)
        return answer.text

    def csrf(self, path: str) -> str:
        """Return what the forms of a page hold."""
        page = self.ask(path).text
        found = re.search(r'name="csrf" value="([0-9a-f]{64})"', page)
        assert found is not None, page
        return found[1]

    def post(self, path: str, *, at: str, **fields: str) -> httpx.Response:
        """Send the form of a page, as it is there, with these fields filled in."""
        return self.send(path, fields, at=at)

    def send(
        self,
        path: str,
        fields: dict[str, str] | None = None,
        *,
        at: str = "/login",
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        """Send a form that stands on a page of ours."""
        return self.client.post(
            path, data={"csrf": self.csrf(at)} | (fields or {}), headers=headers
        )

    def log_in(
        self, name: str, password: str = PASSWORD, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """Try to log in."""
        return self.send("/login", {"name": name, "password": password}, headers=headers)


def words_of(html: str) -> str:
    """Return what a page says, without its marks, on one line."""
    without = re.sub(r"<(script|style)\b.*?</\1>", " ", html, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", without)).split())


def web_config(folder: Path, database: str, **web: Any) -> config.Config:
    """Return a configuration whose page is on a port that the system picks."""
    return config.Config(
        node=config.Node(ae_title="AINODE", state_dir=folder, database=database, min_free_mb=0),
        web=config.WebSettings.model_validate({"port": 0} | web),
    )


class _Proxy(httpx.BaseTransport):
    """Ends TLS, as the browser sees it, and speaks for another address."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._to_page = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        told = [("x-forwarded-proto", "https"), ("x-forwarded-for", self._address)]
        passed_on = httpx.Request(
            request.method,
            request.url.copy_with(scheme="http"),
            headers=[*request.headers.multi_items(), *told],
            stream=request.stream,
        )
        return self._to_page.handle_request(passed_on)

    def close(self) -> None:
        self._to_page.close()
