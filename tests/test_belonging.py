"""A store says whose it is; no node works on it with a ledger that does not know its objects."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest
from ledgers import fill, run_at_once
from typer.testing import CliRunner

from node import cli
from node.belonging import adopt, belong_to, fault_of_belonging, owner_of
from node.config import Config, load_config
from node.doctor.parts import check_database
from node.errors import ConfigError
from node.ledger import Ledger, Nodes
from node.site import existing_ledger, open_own_ledger
from node.store import BELONGS, Store

OURS, ANOTHERS = "installation-a", "installation-b"


def receive(store: Store) -> None:
    """Let there be an object."""
    folder = store.path("received/1.2")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "1.2.3.dcm").touch()


def test_a_new_store_belongs_to_the_installation_that_first_starts_on_it(store: Store) -> None:
    belong_to(store, OURS)
    assert owner_of(store) == OURS
    receive(store)
    belong_to(store, OURS)


def test_a_store_of_a_former_release_belongs_to_the_ledger_it_is_used_with(store: Store) -> None:
    receive(store)
    belong_to(store, OURS)
    assert owner_of(store) == OURS


def test_objects_of_another_installation_are_refused(store: Store) -> None:
    belong_to(store, ANOTHERS)
    receive(store)
    with pytest.raises(ConfigError, match=f"objects of another installation .{ANOTHERS}"):
        belong_to(store, OURS)
    assert owner_of(store) == ANOTHERS


def test_a_folder_that_is_another_installations_is_refused_before_it_has_objects(
    store: Store,
) -> None:
    belong_to(store, ANOTHERS)
    with pytest.raises(ConfigError, match="Each needs a folder of its own"):
        belong_to(store, OURS)


@pytest.mark.parametrize("owner", [None, ANOTHERS])
def test_a_new_ledger_is_refused_where_there_are_objects(store: Store, owner: str | None) -> None:
    assert fault_of_belonging(store, None) == ""
    if owner is not None:
        belong_to(store, owner)
    receive(store)
    assert "and the ledger is new" in fault_of_belonging(store, None)


def test_whoever_has_looked_at_all_objects_may_adopt_a_store(store: Store) -> None:
    belong_to(store, ANOTHERS)
    receive(store)
    adopt(store, OURS)
    belong_to(store, OURS)
    assert [path.name for path in store.root.iterdir() if path.is_file()] == [BELONGS]


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"installation": 3}'])
def test_a_damaged_word_is_said_and_not_guessed(store: Store, content: str) -> None:
    (store.root / BELONGS).write_text(content)
    with pytest.raises(ConfigError, match="it is damaged"):
        belong_to(store, OURS)


def test_of_machines_that_start_at_once_on_a_new_store_one_says_whose_it_is(store: Store) -> None:
    refused: list[str] = []

    def start(installation: str) -> None:
        try:
            belong_to(store, installation)
        except ConfigError:
            refused.append(installation)

    run_at_once(*[lambda: start(OURS)] * 4, *[lambda: start(ANOTHERS)] * 4)
    loser = ANOTHERS if owner_of(store) == OURS else OURS
    assert refused == [loser] * 4
    assert [path.name for path in store.root.iterdir() if path.is_file()] == [BELONGS]


def test_a_file_system_without_hard_links_will_do(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuses)
    belong_to(store, OURS)
    belong_to(store, OURS)
    with pytest.raises(ConfigError):
        belong_to(store, ANOTHERS)


# Where people meet it


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """The configuration of a node that has run and received, and whose ledger is gone."""
    path = tmp_path / "node.toml"
    path.write_text('[node]\nae_title = "AINODE"\nstate_dir = "state"\nmin_free_mb = 0\n')
    config = load_config(path)
    with closing(open_own_ledger(config, Store(config.store_dir))) as ledger:
        Nodes(ledger).register_node("node")
        fill(ledger, 1)
    receive(Store(config.store_dir))
    (config.node.state_dir / "ledger.db").unlink()
    return config


def test_a_first_start_that_was_killed_before_it_was_entered_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text('[node]\nae_title = "AINODE"\nstate_dir = "state"\nmin_free_mb = 0\n')
    config = load_config(path)
    for _ in range(2):
        open_own_ledger(config, Store(config.store_dir)).close()


def test_a_new_ledger_is_not_even_made_where_there_are_objects(config: Config) -> None:
    before = list(config.node.state_dir.iterdir())
    with pytest.raises(ConfigError, match="and the ledger is new"):
        open_own_ledger(config, Store(config.store_dir))
    assert list(config.node.state_dir.iterdir()) == before


def test_a_ledger_of_another_installation_is_refused_by_all_who_open_it(config: Config) -> None:
    with closing(Ledger(config.database_url)) as ledger:
        ledger.migrate()
        fill(ledger, 1)
    with pytest.raises(ConfigError, match="objects of another installation"):
        open_own_ledger(config, Store(config.store_dir))
    with pytest.raises(ConfigError, match="objects of another installation"):
        existing_ledger(config)


@pytest.mark.parametrize("command", ["run", "status", "check", "studies"])
def test_commands_say_that_the_ledger_is_not_that_of_the_store(
    command: str, config: Config, tmp_path: Path
) -> None:
    result = CliRunner().invoke(cli.app, [command, "--config", str(tmp_path / "node.toml")])
    assert result.exit_code == (2 if command in ("status", "studies") else 1)
    assert "and the ledger is new" in " ".join(result.output.split())
    assert not (config.node.state_dir / "ledger.db").exists()


def test_doctor_says_that_the_ledger_is_not_that_of_the_store(config: Config) -> None:
    [verdict] = check_database(config)
    assert verdict.state == "failed"
    assert "and the ledger is new" in verdict.words


def test_no_node_starts_on_a_store_whose_disk_is_not_mounted(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text('[node]\nae_title = "AINODE"\nstate_dir = "state"\nmin_free_mb = 0\n')
    config = load_config(path)
    store = Store(config.store_dir)
    with closing(open_own_ledger(config, store)) as ledger:
        Nodes(ledger).register_node("node")
        Nodes(ledger).retire_node("node")
        fill(ledger, 1)
    receive(store)
    store.root.rename(tmp_path / "away")
    store.root.mkdir()
    for _ in range(2):
        with pytest.raises(ConfigError, match="If its disk is not mounted, mount it"):
            open_own_ledger(config, store)
        assert list(store.root.iterdir()) == []  # or it would look like a store that has lost all
    result = CliRunner().invoke(cli.app, ["check", "--for-start", "--config", str(path)])
    assert result.exit_code == 1
    assert "--store-is-lost" in " ".join(result.output.split())
    [verdict] = check_database(config)
    assert verdict.state == "failed"
    store.root.rmdir()
    (tmp_path / "away").rename(store.root)
    open_own_ledger(config, store).close()


def test_an_empty_store_that_says_whose_it_is_has_lost_its_objects_and_is_mounted(
    tmp_path: Path,
) -> None:
    path = tmp_path / "node.toml"
    path.write_text('[node]\nae_title = "AINODE"\nstate_dir = "state"\nmin_free_mb = 0\n')
    config = load_config(path)
    with closing(open_own_ledger(config, Store(config.store_dir))) as ledger:
        fill(ledger, 1)
    open_own_ledger(config, Store(config.store_dir)).close()


def test_a_first_start_of_this_release_on_a_store_with_objects_says_whose_they_are(
    config: Config,
) -> None:
    store = Store(config.store_dir)
    (store.root / BELONGS).unlink()
    with closing(Ledger(config.database_url)) as ledger:
        ledger.migrate()
        Nodes(ledger).register_node("node")
        fill(ledger, 1)
    with closing(open_own_ledger(config, store)) as ledger:
        assert owner_of(store) == ledger.installation
