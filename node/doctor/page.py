"""Check of the page: whether it may be reached as the configuration says."""

from __future__ import annotations

from collections.abc import Iterator

from node.config import Config
from node.doctor.verdict import Verdict, failed, ok
from node.web.exposure import address_of_page, faults_of_page
from node.web.serving import has_users_yet


def check_page(config: Config) -> Iterator[Verdict]:
    """Say where the page is, and who may see it; or why there will be none."""
    if config.web is None:
        return
    has_users = has_users_yet(config)
    faults = faults_of_page(config.web, has_users=has_users)
    for fault in faults:
        words, _, remedy = fault.rpartition(": ")
        yield failed("page", words, f"{remedy[:1].upper()}{remedy[1:]}.")
    if not faults:
        who = "everybody logs in" if has_users else "without a login, which only looks"
        yield ok("page", f"{address_of_page(config.web, config.web.port)}, {who}")
