"""What removes files and forgets studies in a process, by what the configuration says by now."""

from __future__ import annotations

from collections.abc import Callable

from node.current import Current
from node.flow.forgetting import Forgetter
from node.flow.retention import Retention
from node.flow.unlinking import Unlinker
from node.ledger import Forgetting, Ledger, Readers, Retaining, Unlinking
from node.receive.header_changes import header_digest
from node.store import Store
from node.study import Shown


def retention_of(
    current: Current, ledger: Ledger, store: Store, is_in_scope: Callable[[Shown], bool]
) -> Retention:
    """Return what removes files; `is_in_scope`: of some model that there is by now."""
    return Retention(
        Retaining(ledger),
        Unlinker(Unlinking(ledger), store),
        lambda: current.config.retention,
        lambda: Readers(current.models.keys(), is_in_scope),
        header_digest,
    )


def forgetter_of(
    current: Current, ledger: Ledger, forget_jobs: Callable[[float, int], int]
) -> Forgetter:
    """Return what forgets studies and other rows; `forget_jobs` does so in the queue."""
    return Forgetter(Forgetting(ledger), lambda: current.config.retention, forget_jobs)
