"""The state folder: whose it is, and who may read what lies in it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from node.doctor.machine import may_be_read_by_all
from node.ledger import Ledger
from node.state_dir import kept_from_others, lock_state_dir
from node.store import Store

OTHERS = stat.S_IRWXO


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_what_a_node_creates_is_nothing_for_other_users_of_the_machine(
    tmp_path: Path, umask: int
) -> None:
    before = os.umask(umask)
    try:
        with kept_from_others():
            lock_state_dir(tmp_path / "state").close()
            ledger = Ledger(f"sqlite:///{tmp_path / 'state' / 'ledger.db'}")
            ledger.migrate()
            Store(tmp_path / "state" / "store", "a").prepare()
        assert os.umask(umask) == umask, "and outside it is as it was"
    finally:
        os.umask(before)
    modes = {path: path.stat().st_mode for path in (tmp_path / "state", *tmp_path.rglob("*"))}
    ledger.close()
    assert tmp_path / "state" / "ledger.db" in modes
    assert tmp_path / "state" / "store" / "reports" in modes
    assert [path for path, mode in modes.items() if mode & OTHERS] == []
    ours = {bool(mode & stat.S_IRWXG) for mode in modes.values()}
    assert ours == {umask != 0o077}, "who is stricter stays so"


def test_a_folder_that_every_user_may_look_into_is_known(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    above = [path for path in folder.parents if not path.stat().st_mode & stat.S_IXOTH]
    assert may_be_read_by_all(folder) == (not above), "who cannot reach it cannot read it"
    assert may_be_read_by_all(Path("/usr/bin"))
    folder.chmod(0o750)
    assert not may_be_read_by_all(folder)
