"""A page for each test, on the ledger and the store of the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from pages import ServedPage, web_config
from postgres import NewDatabase

from node.ledger import Ledger, people
from node.store import Store

NewSite = Callable[..., ServedPage]


@pytest.fixture(autouse=True)
def _quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash as the node does, but with little memory."""
    monkeypatch.setattr(people, "_HASHER", PasswordHasher(time_cost=1, memory_cost=1024))


@pytest.fixture
def database(new_database: NewDatabase, tmp_path: Path) -> str:
    """The address of a ledger, which the fixture `ledger` opens, too."""
    return new_database(tmp_path)


@pytest.fixture
def ledger(database: str) -> Iterator[Ledger]:
    opened = Ledger(database)
    yield opened
    opened.close()


@pytest.fixture
def new_site(ledger: Ledger, store: Store, database: str, tmp_path: Path) -> Iterator[NewSite]:
    """Serve a page, with settings of [web]; with users or without."""
    sites = []

    def serve(*, with_users: bool = False, **web: Any) -> ServedPage:
        site = ServedPage(ledger, store, web_config(tmp_path, database, **web))
        sites.append(site)
        if with_users:
            site.add_users()
        site.page.start()
        return site

    yield serve
    for site in sites:
        site.page.stop()
