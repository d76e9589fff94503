"""A ledger moves to another database and back; until it is whole there, nothing has moved."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from ledgers import fill
from postgres import DATABASES, NewDatabase, PostgreSQL
from typer.testing import CliRunner

from node import cli
from node.config import load_config
from node.errors import ConfigError, Superseded
from node.keeping import moving_ledger
from node.ledger import (
    BackingUp,
    Keeping,
    Ledger,
    Nodes,
    connections,
    copying,
    moving,
    schema,
)
from node.ledger.moving import address_without_password, has_password
from node.site import existing_ledger, open_own_ledger
from node.state_dir import lock_state_dir, place_of
from node.store import Store

SETTINGS = """
[node]
ae_title = "AINODE"
state_dir = "state"
min_free_mb = 0
{database}
[listener]
host = "127.0.0.1"
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The configuration of a node that has run, and stopped, with a few studies."""
    path = configure(tmp_path)
    with closing(opened(path)) as ledger:
        fill(ledger, 3)
        nodes = Nodes(ledger)
        nodes.register_node("node", place_of(tmp_path / "state"))
        nodes.retire_node("node")
    received = tmp_path / "state" / "store" / "received" / "1.9.0"
    received.mkdir(parents=True)
    (received / "1.9.0.0.dcm").touch()
    return path


@pytest.fixture(params=DATABASES)
def elsewhere(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database that is empty."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'elsewhere.db'}"
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return server.new_database(is_empty=True)


def configure(folder: Path, database: str = "") -> Path:
    path = folder / "node.toml"
    line = f'database = "{database}"' if database else ""
    path.write_text(SETTINGS.format(database=line), "utf-8")
    return path


def opened(path: Path) -> Ledger:
    """Open the ledger as a node that starts does."""
    config = load_config(path)
    return open_own_ledger(config, Store(config.store_dir))


def move(path: Path, to: str, *, ok: bool = True) -> str:
    """Move the ledger of a configuration; return what is said."""
    result = CliRunner().invoke(cli.app, ["move", "--to", to, "--config", str(path)])
    said = result.stdout if ok else result.stderr
    assert result.exit_code == (0 if ok else 1), result.output + str(result.exception)
    return said


def studies_in(ledger: Ledger) -> list[str]:
    with ledger.reading() as db:
        return list(db.execute(sa.select(schema.study.c.study_uid)).scalars())


def test_a_ledger_that_has_moved_is_the_same_there_and_no_node_starts_on_the_former(
    site: Path, elsewhere: str, tmp_path: Path
) -> None:
    with closing(opened(site)) as ledger:
        wanted, installation = studies_in(ledger), ledger.installation
    said = move(site, elsewhere)
    assert re.search(r"^\d+ rows are there, each compared", said)
    with pytest.raises(ConfigError, match=r"has moved to .* name that one in \[node\] database"):
        opened(site)
    with pytest.raises(ConfigError, match="has moved to"):
        existing_ledger(load_config(site))
    with closing(opened(configure(tmp_path, elsewhere))) as ledger:
        assert studies_in(ledger) == wanted
        assert ledger.installation == installation


def test_a_ledger_moves_back_to_where_it_was(site: Path, elsewhere: str, tmp_path: Path) -> None:
    move(site, elsewhere)
    there = configure(tmp_path, elsewhere)
    with closing(opened(there)) as ledger:
        fill(ledger, 1, first=7)
    move(there, f"sqlite:///{tmp_path / 'state' / 'ledger.db'}")
    with pytest.raises(ConfigError, match="has moved to sqlite:"):
        opened(there)
    with closing(opened(configure(tmp_path))) as ledger:
        assert studies_in(ledger) == ["1.9.0", "1.9.1", "1.9.2", "1.9.7"]


def test_who_moves_back_before_the_file_names_where_the_ledger_is_hears_that_it_comes_first(
    site: Path, elsewhere: str, tmp_path: Path
) -> None:
    move(site, elsewhere)
    back = f"sqlite:///{tmp_path / 'state' / 'ledger.db'}"
    assert (
        f"--to {back}: the ledger was there, and has moved to {address_without_password(elsewhere)}"
        ": write that one into [node] database, then this command moves it back"
    ) in " ".join(move(site, back, ok=False).split())
    assert "rows are there" in move(configure(tmp_path, elsewhere), back)


def test_the_line_for_the_configuration_is_printed_without_the_password(
    site: Path, postgresql_address: str
) -> None:
    said = move(site, postgresql_address)
    [line] = [line for line in said.splitlines() if line.startswith("  database = ")]
    user, at, where = postgresql_address.partition("//")[2].partition("@")
    assert line == f'  database = "postgresql://{user.partition(":")[0]}{at}{where}"'
    assert user.partition(":")[2] not in said
    with pytest.raises(ConfigError) as refused:
        opened(site)
    assert user.partition(":")[2] not in str(refused.value)


@pytest.fixture(params=[pytest.param(None, marks=pytest.mark.interop)])
def postgresql_address(postgresql: PostgreSQL) -> str:
    return postgresql.new_database(is_empty=True)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:p%40ss@h:5/d", "postgresql://u@h:5/d"),
        (
            "postgresql://u@h/d?password=secret&sslmode=require",
            "postgresql://u@h/d?sslmode=require",
        ),
        ("postgresql://h/d", "postgresql://h/d"),
        ("sqlite:////var/lib/a b/ledger.db", "sqlite:////var/lib/a b/ledger.db"),
    ],
)
def test_an_address_is_said_without_what_is_secret(url: str, shown: str) -> None:
    assert address_without_password(url) == shown
    assert has_password(url) == (url != shown)


class KilledError(BaseException):
    """As kill -9 does, but for the process."""


STEPS = ("keep_writers_away", "copy_ledger", "record_move", "end_copy")


def dying(call: Callable[..., object], when: str) -> Callable[..., object]:
    def dies(*args: object, **kwargs: object) -> None:
        if when == "after":
            call(*args, **kwargs)
        raise KilledError

    return dies


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_move_that_is_killed_at_any_step_is_whole_after_it_is_run_again(
    step: str, when: str, site: Path, elsewhere: str, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(moving_ledger, step, dying(getattr(moving_ledger, step), when))
        with pytest.raises(KilledError):
            move(site, elsewhere)
    ready = [database for database in ("", elsewhere) if starts(configure(tmp_path, database))]
    wanted = {("record_move", "after"): [""], ("end_copy", "before"): []}
    assert ready == wanted.get((step, when), [elsewhere] if step == "end_copy" else [""])
    move(configure(tmp_path), elsewhere)
    assert not starts(site)
    with closing(opened(configure(tmp_path, elsewhere))) as ledger:
        assert studies_in(ledger) == ["1.9.0", "1.9.1", "1.9.2"]


def starts(path: Path) -> bool:
    """Whether a node starts with a configuration."""
    try:
        opened(path).close()
    except ConfigError:
        return False
    return True


def test_only_one_who_has_not_moved_is_moved(site: Path, elsewhere: str, tmp_path: Path) -> None:
    move(site, elsewhere)
    said = move(site, f"sqlite:///{tmp_path / 'third.db'}", ok=False)
    assert "this ledger has moved to" in said
    assert "All rows were there" in move(site, elsewhere), "once more does no harm"


def test_a_copy_of_another_that_is_not_whole_is_not_declared_so(
    site: Path, elsewhere: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moved there and on to a third, and the way back from that was broken off."""
    move(site, elsewhere)
    third = f"sqlite:///{tmp_path / 'third.db'}"
    move(configure(tmp_path, elsewhere), third)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(moving_ledger, "record_move", dying(moving.record_move, "before"))
        with pytest.raises(KilledError):
            move(configure(tmp_path, third), elsewhere)
    said = move(configure(tmp_path), elsewhere, ok=False)
    assert f"it is to be a copy of {third} now, and is not whole" in said
    assert not starts(configure(tmp_path, elsewhere))
    assert starts(configure(tmp_path, third))
    move(configure(tmp_path, third), elsewhere)
    assert starts(configure(tmp_path, elsewhere))


def test_what_works_is_left_alone_by_a_move_that_was_done_before(
    site: Path, elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    move(site, elsewhere)
    monkeypatch.setattr(moving_ledger, "end_copy", dying(copying.end_copy, "before"))
    assert "All rows were there" in move(site, elsewhere)


def test_a_ledger_is_not_moved_while_a_backup_of_it_is_being_made(
    site: Path, elsewhere: str
) -> None:
    with closing(opened(site)) as ledger:
        backing_up = BackingUp(ledger)
        backing_up.begin("here:/srv/backup")
        said = move(site, elsewhere, ok=False)
        assert "a backup of this ledger is being made, to here:/srv/backup" in said
        backing_up.end("here:/srv/backup")
    move(site, elsewhere)


def test_a_command_that_opened_the_ledger_before_it_moved_changes_nothing_in_it(
    site: Path, elsewhere: str
) -> None:
    with closing(opened(site)) as ledger:
        move(site, elsewhere)
        with pytest.raises(Superseded, match=r"this ledger has moved to .*nothing was changed"):
            Keeping(ledger).keep_study("1.9.0", "court case", by="somebody")
        with ledger.reading() as db:
            assert not any(db.execute(sa.select(schema.study.c.kept_at)).scalars())


@pytest.mark.interop
@pytest.mark.parametrize("new_database", ["postgresql"], indirect=True)
def test_a_command_that_waited_on_a_server_until_the_ledger_had_moved_changes_nothing_in_it(
    new_database: NewDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = new_database(tmp_path)
    path = configure(tmp_path, here)
    with closing(opened(path)) as ledger:
        fill(ledger, 1)
        refused: list[str] = []
        waits = threading.Event()

        def keep() -> None:
            try:
                with ledger.writing() as db:
                    waits.set()
                    db.execute(schema.study.update().values(kept_at=1.0))
            except Superseded as error:
                refused.append(str(error))

        waiting = threading.Thread(target=keep)

        def record_move(db: sa.Connection, to: str) -> None:
            waiting.start()
            assert waits.wait(60)
            moving.record_move(db, to)

        monkeypatch.setattr(moving_ledger, "record_move", record_move)
        move(path, f"sqlite:///{tmp_path / 'target.db'}")
        waiting.join(60)
        assert len(refused) == 1
        with ledger.reading() as db:
            assert not any(db.execute(sa.select(schema.study.c.kept_at)).scalars())


def test_a_ledger_is_not_moved_while_a_node_is_alive(site: Path, elsewhere: str) -> None:
    with closing(opened(site)) as ledger:
        Nodes(ledger).register_node("another", "host-b:/srv/state token-b")
    said = move(site, elsewhere, ok=False)
    assert "nodes are alive on this ledger: host-b:/srv/state. Stop them" in said
    assert starts(site)


def test_a_node_that_was_killed_here_is_known_to_be_dead(site: Path, elsewhere: str) -> None:
    with closing(opened(site)) as ledger:
        Nodes(ledger).register_node("killed", place_of(site.parent / "state"))
    move(site, elsewhere)


def test_a_ledger_is_not_moved_while_a_process_has_the_state_folder(
    site: Path, elsewhere: str, tmp_path: Path
) -> None:
    with closing(lock_state_dir(tmp_path / "state", "lock.web")):
        assert "another ai-node is running" in move(site, elsewhere, ok=False)


def test_a_process_that_was_frozen_ends_when_it_wakes_up_on_a_ledger_that_has_moved(
    site: Path, elsewhere: str, tmp_path: Path
) -> None:
    file = f"sqlite:///{tmp_path / 'state' / 'ledger.db'}"
    with closing(Ledger(file)) as ledger:
        nodes = Nodes(ledger)
        nodes.register_node("frozen", "host-b:/srv/state token-b")
        with ledger.writing() as db:
            db.execute(schema.node.update().values(beat_at=1.0))
        move(site, elsewhere)
        with pytest.raises(Superseded):
            nodes.beat("frozen")
        with pytest.raises(ConfigError, match="has moved to"):
            nodes.register_node("late")


def test_what_another_installation_has_is_not_written_over(
    site: Path, new_database: NewDatabase, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = new_database(tmp_path / "other")
    with closing(Ledger(other)) as ledger:
        fill(ledger, 1)
        with ledger.writing() as db:
            db.execute(schema.installation.update().values(id="another"))
    said = move(site, other, ok=False)
    assert "has the rows of another installation, which would be lost" in said
    assert starts(site)


@pytest.mark.parametrize(("revision", "words"), [("0014", "an older"), ("9999", "a newer")])
def test_tables_of_another_release_are_left_as_they_are(
    revision: str, words: str, site: Path, new_database: NewDatabase, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = new_database(tmp_path / "other")
    with closing(Ledger(other)) as ledger, ledger.writing() as db:
        db.execute(sa.text("UPDATE alembic_version SET version_num = :it"), {"it": revision})
    said = move(site, other, ok=False)
    assert f"has tables of {words} release; name an empty database" in said


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("mysql://host/name", '--to: expected "postgresql://USER@HOST/DATABASE"'),
        ("sqlite:////nowhere/at/all.db", "there is no folder /nowhere/at"),
        ("postgresql://u:SECRET@127.0.0.1:1/x", "cannot be used"),
    ],
)
def test_an_address_that_cannot_be_used_is_one_message(to: str, words: str, site: Path) -> None:
    said = move(site, to, ok=False)
    assert words in said
    assert "SECRET" not in said
    assert starts(site)


def test_nothing_is_moved_to_where_it_is(site: Path, tmp_path: Path) -> None:
    said = move(site, f"sqlite:///{tmp_path / 'state' / 'ledger.db'}", ok=False)
    assert "the ledger is there already" in said


def test_without_a_ledger_there_is_nothing_to_move(tmp_path: Path, elsewhere: str) -> None:
    assert "no node has run" in move(configure(tmp_path), elsewhere, ok=False)


@pytest.mark.interop
@pytest.mark.parametrize("new_database", ["postgresql"], indirect=True)
def test_nobody_writes_into_a_ledger_on_a_server_while_it_is_moved(
    new_database: NewDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody_writes(configure(tmp_path, new_database(tmp_path)), tmp_path, monkeypatch)


def test_nobody_writes_into_a_file_while_it_is_moved(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_WAIT_S", 0.1)
    nobody_writes(site, tmp_path, monkeypatch)


def nobody_writes(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed: list[bool] = []

    def copy_ledger(*args: object, **kwargs: object) -> None:
        with closing(Ledger(load_config(path).database_url)) as other:
            assert studies_in(other) is not None, "it can be read all the while"
            with pytest.raises(sa.exc.OperationalError):
                Nodes(other).register_node("late")
        failed.append(True)
        copying.copy_ledger(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(moving_ledger, "copy_ledger", copy_ledger)
    move(path, f"sqlite:///{folder / 'target.db'}")
    assert failed == [True]


# The document


DOCUMENT = (Path(__file__).parents[2] / "docs" / "operate.md").read_text("utf-8")


def test_whoever_follows_the_document_moves_the_ledger_and_is_told_what_it_says(
    site: Path, elsewhere: str, tmp_path: Path
) -> None:
    [line] = re.findall(r"```move\n(.*)\n```", DOCUMENT)
    [shown] = re.findall(r"```moved\n(.*?)```", DOCUMENT, re.DOTALL)
    program, *arguments = line.split()
    there = arguments[arguments.index("--to") + 1]
    here = {"/etc/ai-node/node.toml": str(site), there: elsewhere}
    assert program == "ai-node"
    result = CliRunner().invoke(cli.app, [here.get(one, one) for one in arguments])
    assert result.exit_code == 0, result.output
    for written, here_it_is in {
        "5021": re.findall(r"\d+", result.stdout)[0],
        "/var/lib/ai-node/": f"{tmp_path}/state/",
        "/etc/ai-node/node.toml": str(site),
        there: address_without_password(elsewhere),
    }.items():
        assert written in shown
        shown = shown.replace(written, here_it_is)
    assert result.stdout.startswith(shown)


def test_a_store_may_be_copied_elsewhere_with_its_objects(site: Path, tmp_path: Path) -> None:
    opened(site).close()
    shutil.copytree(tmp_path / "state" / "store", tmp_path / "copied")
    text = site.read_text("utf-8").replace("[node]", f'[node]\nstore_dir = "{tmp_path / "copied"}"')
    site.write_text(text, "utf-8")
    with closing(opened(site)) as ledger, ledger.reading() as db:
        paths = db.execute(sa.select(schema.instance.c.path)).scalars().all()
    assert not any(Path(path).is_absolute() for path in paths)
