"""The migrations make exactly the tables that the code declares, once, whoever comes first."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from ledgers import CLOSING, MODEL, NODE, SOMEBODY, SOMEBODY_ELSE, Desk
from postgres import DATABASES, PostgreSQL
from pydantic import TypeAdapter

from node.errors import ConfigError, Superseded
from node.ledger import Closing, Committing, InstanceState, Job, Ledger, Nodes, VersionState, schema
from node.ledger.database import DEAD_AFTER_S
from node.overview import Wanted, list_page
from node.overview.reading import DAY_S
from node.result import Result
from node.store import Store

DONE, HELD, RECEIVING = "1.1", "1.2", "1.3"
WHY_HELD = "patient ID, its issuer or accession number disagree within the study"


def differences(ledger: Ledger) -> list[object]:
    """Return what differs between the database and the declared tables; only ours count."""

    def is_ours(_: object, name: str | None, kind: str, *rest: object) -> bool:
        return kind != "table" or name in schema.metadata.tables

    options = {"compare_server_default": True, "compare_type": True, "include_object": is_ours}
    with ledger.reading() as db:
        return list(compare_metadata(MigrationContext.configure(db, opts=options), schema.metadata))


def test_migrations_make_exactly_the_declared_tables(ledger: Ledger) -> None:
    assert differences(ledger) == []


def test_the_comparison_would_notice_a_missing_column(ledger: Ledger) -> None:
    with ledger.writing(even_if_moved=True) as db:
        db.execute(sa.text("ALTER TABLE study DROP COLUMN revision_reason"))
    assert len(differences(ledger)) == 1


def test_migrating_again_keeps_everything(ledger: Ledger) -> None:
    before = ledger.installation
    Nodes(ledger).register_node("node")
    ledger.migrate()
    assert ledger.installation == before
    assert Nodes(ledger).live_nodes() == {"node"}


def test_each_installation_has_an_identity_of_its_own(ledger: Ledger, tmp_path: Path) -> None:
    other = Ledger(f"sqlite:///{tmp_path / 'other.db'}")
    other.migrate()
    assert other.installation != ledger.installation
    other.close()


@pytest.mark.parametrize("kind", DATABASES)
def test_processes_that_start_at_once_migrate_once(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}"
    if kind == "postgresql":
        server: PostgreSQL = request.getfixturevalue("postgresql")
        url = server.new_database(is_empty=True)
    ledgers = [Ledger(url) for _ in range(4)]
    identities: list[str] = []

    def start(ledger: Ledger) -> None:
        ledger.migrate()
        identities.append(ledger.installation)

    threads = [threading.Thread(target=start, args=[ledger]) for ledger in ledgers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(identities) == 4
    assert len(set(identities)) == 1
    for ledger in ledgers:
        ledger.close()


def test_tables_that_are_not_ours_are_left_alone(ledger: Ledger) -> None:
    with ledger.writing(even_if_moved=True) as db:
        db.execute(sa.text("CREATE TABLE workflow_status (workflow_uuid TEXT)"))
    ledger.migrate()
    assert differences(ledger) == []
    with ledger.reading() as db:
        assert sa.inspect(db).has_table("workflow_status")


# A database of the first release


def study_of_0001(study_uid: str, state: str, **more: Any) -> dict[str, Any]:
    times = {"first_at": 1000.0, "last_at": 1000.0}
    row = {"study_uid": study_uid, "sender": "modality", "state": state, "identity": SOMEBODY}
    return row | times | {"version": 0, "held_reason": None} | more


def instance_of_0001(sop_uid: str, **more: Any) -> dict[str, Any]:
    row = {
        "sop_uid": sop_uid,
        "study_uid": sop_uid[:3],
        "series_uid": f"{sop_uid[:3]}.0",
        "sop_class": "1.2.840.10008.5.1.4.1.1.1.2",
        "transfer_syntax": "1.2.840.10008.1.2.1",
        "modality": "MG",
        "view": "R MLO",
        "is_standard": True,
        "path": f"received/{sop_uid}.dcm",
        "digest": "digest",
        "state": "current",
        "version": 1,
        "association_id": "association",
        "received_at": 1000.0,
    }
    return row | more


def version_of_0001(study_uid: str, state: str) -> dict[str, Any]:
    row = {"study_uid": study_uid, "number": 1, "reason": "4/4 views", "state": state}
    return row | {"closed_at": 1000.0, "last_image_at": 1000.0, "decided_at": 1000.0}


DISPATCH = {"study_uid": DONE, "number": 1, "destination": "pacs", "deadline_at": 4e9}
REPORT = {"study_uid": DONE, "number": 1, "digest": "digest"}
REPORTS = {
    "measurement-report": "1.2.840.10008.5.1.4.1.1.88.33",
    "capture": "1.2.840.10008.5.1.4.1.1.7",
}
"""The SOP class that each kind had."""
DELIVERY = {"study_uid": DONE, "number": 1, "destination": "pacs"}
OF_0001: dict[str, list[dict[str, Any]]] = {
    "installation": [{"id": "the installation", "created_at": 1000.0}],
    "study": [
        study_of_0001(DONE, "closed", version=1),
        study_of_0001(HELD, "held", version=1, held_reason=WHY_HELD),
        study_of_0001(RECEIVING, "receiving"),
    ],
    "instance": [
        instance_of_0001(f"{DONE}.1"),
        instance_of_0001(f"{DONE}.2", modality="SR", view=None, state="own", version=None),
        instance_of_0001(f"{HELD}.1"),
        instance_of_0001(f"{HELD}.2", version=None),
        instance_of_0001(f"{RECEIVING}.1", version=None),
    ],
    "study_version": [version_of_0001(DONE, "finished"), version_of_0001(HELD, "queued")],
    "report": [
        REPORT
        | {"sop_uid": f"2.25.{position}", "position": position, "path": f"{position}.dcm"}
        | {"sop_class": sop_class}
        for position, sop_class in enumerate(REPORTS.values())
    ],
    "dispatch": [DISPATCH | {"state": "queued"}],
    "delivery": [
        DELIVERY | {"sop_uid": "2.25.0", "state": "sent", "sent_at": 1000.0},
        DELIVERY | {"sop_uid": "2.25.1", "state": "queued", "sent_at": None},
    ],
}


Rows = Mapping[str, Sequence[Mapping[str, Any]]]
LeftBy = Callable[[str, Rows], Desk]
"""Returns a ledger with rows as an older release left it, brought up to date."""


@pytest.fixture(params=DATABASES)
def old_ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    """A ledger that has no tables yet."""
    url = f"sqlite:///{tmp_path / 'old.db'}"
    if request.param == "postgresql":
        server: PostgreSQL = request.getfixturevalue("postgresql")
        url = server.new_database(is_empty=True)
    ledger = Ledger(url)
    yield ledger
    ledger.close()


@pytest.fixture
def left_by(old_ledger: Ledger, store: Store) -> LeftBy:
    """A ledger as an older release left it, brought up to date."""

    def bring_up_to_date(revision: str, of_it: Rows) -> Desk:
        with old_ledger.writing(even_if_moved=True) as db:
            settings = alembic.config.Config()
            scripts = Path(schema.__file__).parent / "migrations"
            settings.set_main_option("script_location", str(scripts))
            settings.attributes["connection"] = db
            alembic.command.upgrade(settings, revision)
            tables = sa.MetaData()
            tables.reflect(db)
            for name, rows in of_it.items():
                db.execute(tables.tables[name].insert(), rows)
        old_ledger.migrate()
        return Desk(old_ledger, store)

    return bring_up_to_date


@pytest.fixture
def old_desk(left_by: LeftBy) -> Desk:
    return left_by("0001", OF_0001)


def test_a_database_of_the_first_release_becomes_as_declared_and_keeps_its_rows(
    old_desk: Desk,
) -> None:
    assert differences(old_desk.ledger) == []
    assert old_desk.ledger.installation == "the installation"
    for name, rows in OF_0001.items():
        assert len(old_desk.rows(schema.metadata.tables[name])) == len(rows)


def test_the_reports_of_earlier_releases_are_of_the_kind_that_their_sop_class_had(
    old_desk: Desk,
) -> None:
    rows = old_desk.rows(schema.report)
    assert {row["kind"]: row["sop_class"] for row in rows} == REPORTS


def test_a_node_of_the_former_release_may_still_write_reports(old_desk: Desk) -> None:
    old_desk.change(schema.report, kind=None)
    shipment = old_desk.delivering.begin_dispatch(Job("deliver", DONE, 1, 1, "pacs"), NODE)
    assert [one.kind for one in shipment.to_send] == ["capture"]


def test_a_delivery_of_the_first_release_is_taken_up_where_it_was(old_desk: Desk) -> None:
    job = Job("deliver", DONE, 1, 1, "pacs")
    assert job in old_desk.sweeping.unfinished()
    shipment = old_desk.delivering.begin_dispatch(job, NODE)
    assert [(one.sop_uid, one.kind) for one in shipment.to_send] == [("2.25.1", "capture")]
    assert [(one.sop_uid, one.kind) for one in shipment.to_confirm] == [
        ("2.25.0", "measurement-report")
    ]
    assert shipment.asks == 0


def test_instances_of_the_first_release_are_of_whom_their_study_was(old_desk: Desk) -> None:
    identities = {row["sop_uid"]: row["identity"] for row in old_desk.rows(schema.instance)}
    assert identities.pop(f"{DONE}.2") is None  # ours: it says nothing
    assert set(identities.values()) == {SOMEBODY}
    old_desk.receive(f"{RECEIVING}.2", study=RECEIVING, identity=SOMEBODY_ELSE)
    reason = old_desk.study(RECEIVING)["held_reason"]
    assert reason == "the objects of the study disagree about Patient ID"


def test_an_image_of_the_first_release_can_be_corrected(old_desk: Desk) -> None:
    recorded = old_desk.receive_again(f"{DONE}.1", study=DONE, identity=SOMEBODY_ELSE)
    assert recorded == "corrected"
    with pytest.raises(Superseded, match="corrected headers"):
        old_desk.delivering.begin_dispatch(Job("deliver", DONE, 1, 1, "pacs"), NODE)
    assert old_desk.close(study=DONE).number == 2


def test_a_study_that_was_being_received_goes_on(old_desk: Desk) -> None:
    (arrival,) = old_desk.arrivals()
    assert arrival.study_uid == RECEIVING
    assert old_desk.settling.close_version(arrival, CLOSING, old_desk.enqueue)


def test_a_study_that_was_held_still_is_until_a_person_releases_it(old_desk: Desk) -> None:
    assert old_desk.study(HELD)["held_reason"] == WHY_HELD
    with pytest.raises(Superseded, match="disagree"):
        old_desk.begin(Job("process", HELD, 1, 1))
    # Which of its objects disagreed was not recorded: that they seem to agree releases nothing.
    old_desk.receive(f"{HELD}.3", study=HELD)
    assert old_desk.study(HELD)["held_reason"] == WHY_HELD
    old_desk.by_hand.release_study(HELD)
    instances = old_desk.begin(old_desk.close(study=HELD)).version.instances
    assert {instance.sop_uid for instance in instances} == {f"{HELD}.{n}" for n in (1, 2, 3)}


# States


def checks_of_the_database(ledger: Ledger) -> dict[str, set[str]]:
    """Return the words that each CHECK allows, however the database writes it down."""
    with ledger.reading() as db:
        inspector = sa.inspect(db)
        return {
            str(check["name"]): set(re.findall(r"'([^']+)'", check["sqltext"]))
            for name in schema.metadata.tables
            for check in inspector.get_check_constraints(name)
        }


def declared_checks() -> dict[str, set[str]]:
    return {
        str(check.name): set(re.findall(r"'([^']+)'", str(check.sqltext)))
        for table in schema.metadata.tables.values()
        for column in table.columns
        for check in column.constraints
        if isinstance(check, sa.CheckConstraint)
    }


def test_the_database_allows_the_declared_states_and_no_others(ledger: Ledger) -> None:
    assert len(declared_checks()) == 20
    assert checks_of_the_database(ledger) == declared_checks()


def test_a_migrated_index_has_the_rows_it_had(ledger: Ledger) -> None:
    """SQLite checks a column by a new table, whose indexes are made again."""
    with ledger.reading() as db:
        indexes = {index["name"]: index for index in sa.inspect(db).get_indexes("instance")}
        where = indexes["ix_instance_unclaimed"]["dialect_options"][f"{db.dialect.name}_where"]
    words = re.findall("[a-z_]+", str(where).replace("::text", "").lower())
    assert [word for word in words if word not in ("is", "null", "and")] == [
        *("warmed_at", "version"),
        *("state", "current"),
    ]


@pytest.mark.parametrize(
    ("table", "column"),
    [
        *[(table, "state") for table in ("study", "instance", "study_version")],
        *[(table, "state") for table in ("dispatch", "delivery", "commitment_request")],
        ("study", "held_because"),
        *[("study", "level"), ("study_version", "level")],
        *[("analysis", "mode"), ("node", "role")],
    ],
)
def test_a_word_that_is_no_state_reaches_no_row(desk: Desk, table: str, column: str) -> None:
    desk.nodes.register_node(NODE)
    desk.analysed()
    Committing(desk.ledger).ask("modality", "1.2", [("1.3", "1.4")], 0)
    before = desk.everything()
    misspelt = sa.text(f"UPDATE {table} SET {column} = 'runing'")
    with (
        pytest.raises(sa.exc.IntegrityError, match=f"ck_{table}_{column}"),
        desk.ledger.writing(even_if_moved=True) as db,
    ):
        db.execute(misspelt)
    with pytest.raises(sa.exc.StatementError, match="'runing' is not a valid"):
        desk.change(schema.metadata.tables[table], **{column: "runing"})
    assert desk.everything() == before


def test_a_query_for_a_word_that_is_no_state_is_refused(desk: Desk) -> None:
    query = sa.select(schema.study_version).where(schema.study_version.c.state == "runing")
    with desk.ledger.reading() as db, pytest.raises(sa.exc.StatementError, match="'runing'"):
        db.execute(query)


OF_0004: Rows = {
    "study": [study_of_0001(uid, "closed", version=1) for uid in (DONE, HELD)],
    "instance": [
        instance_of_0001(f"{DONE}.1", state="rejected"),
        instance_of_0001(f"{HELD}.1", intake="no Patient ID"),
    ],
    "study_version": [
        version_of_0001(DONE, "rejected"),
        version_of_0001(HELD, "not analysed"),
    ],
    "rejection": [
        {"sop_uid": f"{DONE}.1", "study_uid": DONE, "note_sop_uid": "1.5", "reason": "wrong side"}
    ],
}


def states(desk: Desk, table: sa.Table) -> list[str]:
    """Return what stands in the database itself."""
    with desk.ledger.reading() as db:
        query = sa.text(f"SELECT state FROM {table.name} ORDER BY study_uid")
        return list(db.execute(query).scalars())


def test_the_words_of_the_former_release_are_replaced(left_by: LeftBy) -> None:
    desk = left_by("0004", OF_0004)
    assert differences(desk.ledger) == []
    assert checks_of_the_database(desk.ledger) == declared_checks()
    assert states(desk, schema.instance) == ["withdrawn", "current"]
    assert states(desk, schema.study_version) == ["withdrawn", "excluded"]
    desk.by_hand.release_study(HELD)
    assert desk.close(study=HELD).number == 2


def test_a_node_of_the_former_release_that_was_frozen_meanwhile_is_understood(
    left_by: LeftBy,
) -> None:
    desk = left_by("0004", {})
    for sop_uid in (f"{DONE}.1", f"{DONE}.2", f"{HELD}.1"):
        desk.receive(sop_uid, study=sop_uid[:3])
    desk.withdraw(f"{DONE}.1", note=f"{DONE}.9", study=DONE)
    desk.close(Closing("4/4 views", state=VersionState.EXCLUDED), study=HELD)
    with desk.ledger.writing(even_if_moved=True) as db:  # as it does
        db.execute(sa.text("UPDATE instance SET state = 'rejected' WHERE state = 'withdrawn'"))
        db.execute(sa.text("UPDATE study_version SET state = 'not analysed'"))
    assert desk.row(schema.instance, f"{DONE}.1")["state"] is InstanceState.WITHDRAWN
    assert desk.version(study=HELD)["state"] is VersionState.EXCLUDED
    (arrival,) = desk.arrivals()
    assert arrival.why_withdrawn == "Rejected for Quality Reasons"
    desk.by_hand.release_study(HELD)
    assert desk.close(study=HELD).number == 2


def node_of_0004(
    node_id: str, *, silent_s: float = 0.0, has_stopped: bool = False
) -> dict[str, Any]:
    beat_at = time.time() - silent_s
    times = {
        "started_at": 1000.0,
        "beat_at": beat_at,
        "stopped_at": beat_at if has_stopped else None,
    }
    return {"id": node_id, "place": f"{node_id}:/var/lib/ai-node 5c1e", "role": "all"} | times


def test_an_upgrade_that_needs_all_nodes_stopped_is_refused_beside_one_that_is_alive(
    left_by: LeftBy,
) -> None:
    with pytest.raises(ConfigError, match=r"alive: ris:/var/lib/ai-node\. Stop them, install"):
        left_by("0004", {"node": [node_of_0004("ris")]})


def test_such_an_upgrade_is_refused_beside_a_node_of_the_first_release(left_by: LeftBy) -> None:
    row = node_of_0004("alone")
    with pytest.raises(ConfigError, match=r"still alive: alone\."):
        left_by("0001", {"node": [{key: row[key] for key in row if key not in ("place", "role")}]})


def test_nodes_that_have_stopped_or_died_hinder_no_upgrade(left_by: LeftBy) -> None:
    stopped, died = (
        node_of_0004("a", has_stopped=True),
        node_of_0004("b", silent_s=2 * DEAD_AFTER_S),
    )
    assert differences(left_by("0004", {"node": [stopped, died]}).ledger) == []


def test_a_refused_upgrade_changes_nothing_and_goes_on_once_all_have_stopped(
    left_by: LeftBy, old_ledger: Ledger, store: Store
) -> None:
    with pytest.raises(ConfigError):
        left_by("0004", {**OF_0004, "node": [node_of_0004("ris")]})
    desk = Desk(old_ledger, store)
    assert states(desk, schema.instance) == ["rejected", "current"]
    with desk.ledger.writing(even_if_moved=True) as db:
        db.execute(schema.node.update().values(stopped_at=1000.0))
    desk.ledger.migrate()
    assert states(desk, schema.instance) == ["withdrawn", "current"]


# What the page, the metrics and the figures need


def of_0012(state: str = "queued", **more: Any) -> Rows:
    """Return the rows of a study that was received and closed, as release 0012 wrote them."""
    study = study_of_0001(DONE, "closed", version=1, last_at=1060.0, **more)
    del study["held_reason"]
    return {
        "study": [study],
        "instance": [instance_of_0001(f"{DONE}.1")],
        "study_version": [version_of_0001(DONE, state)],
    }


def test_a_study_of_0012_stands_in_the_reading_list_by_its_last_image(left_by: LeftBy) -> None:
    desk = left_by("0012", of_0012(level="urgent"))
    assert differences(desk.ledger) == []
    assert desk.study(DONE)["last_image_at"] == 1060.0
    days = time.time() / DAY_S  # since then
    (row,) = list_page(desk.ledger, Wanted(is_open=True), open_days=days).studies
    assert (row.study_uid, row.level, row.last_image_at) == (DONE, "urgent", 1060.0)


@pytest.mark.parametrize("is_demonstration", [True, False])
def test_a_level_of_0012_says_whose_it_is(left_by: LeftBy, is_demonstration: bool) -> None:
    result = Result(replace(MODEL, is_demonstration=is_demonstration), ("1.2",))
    written = TypeAdapter(Result).dump_json(result).decode()
    analysis = {
        "study_uid": DONE,
        "number": 1,
        "model": "x",
        "model_version": "1",
        "result": written,
    }
    rows = of_0012("finished", level="urgent")
    rows = {**rows, "study_version": [{**rows["study_version"][0], "level": "urgent"}]}
    desk = left_by(
        "0012", {**rows, "analysis": [{**analysis, "mode": "deliver", "weights_sha256": ""}]}
    )
    assert desk.study(DONE)["is_demonstration"] is is_demonstration
    assert desk.version(study=DONE)["is_demonstration"] is is_demonstration


def test_0013_is_refused_beside_a_node_of_0012_that_is_alive(left_by: LeftBy) -> None:
    with pytest.raises(ConfigError, match=r"alive: ris:/var/lib/ai-node\. Stop them, install"):
        left_by("0012", {**of_0012(), "node": [node_of_0004("ris")]})


def test_0014_is_refused_beside_a_node_of_0013_that_is_alive(left_by: LeftBy) -> None:
    node = {**node_of_0004("ris"), "ill": None}
    with pytest.raises(ConfigError, match=r"alive: ris:/var/lib/ai-node\. Stop them, install"):
        left_by("0013", {"node": [node]})


def test_what_peers_still_wait_for_an_answer_about_is_owed_after_the_upgrade(
    left_by: LeftBy,
) -> None:
    times = {"asked_at": 1.0, "next_at": 1.0, "ended_at": None, "owner": None, "error": None}
    asked = {"peer": "pacs", "attempt": 0, **times}
    waits = {"transaction_uid": "2.25.1", "state": "waiting"}
    waits["objects"] = '[["1.2.3", "1.9.1.1"], ["1.2.3", "1.9.1.2"], ["1.2.3", "1.9.1.1"]]'
    ended = {"transaction_uid": "2.25.2", "state": "reported", "objects": '[["1.2.3", "1.9.2.1"]]'}
    desk = left_by("0014", {"commitment_request": [asked | waits, asked | ended]})
    rows = desk.rows(schema.commitment_object)
    assert sorted((row["transaction_uid"], row["sop_uid"]) for row in rows) == [
        ("2.25.1", "1.9.1.1"),
        ("2.25.1", "1.9.1.2"),
    ]


@pytest.mark.interop
def test_postgresql_knows_that_hardly_a_finished_version_has_an_error(
    postgresql: PostgreSQL,
) -> None:
    opened = Ledger(postgresql.new_database())
    table = schema.study_version
    common = {"number": 1, "reason": "", "closed_at": 0.0, "last_image_at": 0.0}
    finished = {"state": VersionState.FINISHED, "error": None}
    excluded = {"state": VersionState.EXCLUDED, "error": "a test patient"}
    rows = [common | (finished if number % 4 else excluded) for number in range(4000)]
    with opened.writing(even_if_moved=True) as db:
        db.execute(table.insert(), [row | {"study_uid": f"1.{n}"} for n, row in enumerate(rows)])
        db.execute(sa.text("ANALYZE"))
        where = "state = 'finished' AND error IS NOT NULL"
        plan = db.execute(sa.text(f"EXPLAIN SELECT study_uid FROM study_version WHERE {where}"))
        found = re.search(r"rows=(\d+)", plan.scalars().first() or "")
    opened.close()
    assert found is not None
    assert int(found[1]) < 40, "of 3000: taken for independent, it would be 750"


def test_objects_of_0015_have_no_details_and_what_comes_again_corrected_has(
    left_by: LeftBy,
) -> None:
    study = study_of_0001(RECEIVING, "receiving", last_image_at=1000.0)
    del study["held_reason"]
    mr = {"modality": "MR", "view": None, "body_part": "KNEE", "version": None}
    images = [instance_of_0001(f"{RECEIVING}.{number}", **mr) for number in (1, 2)]
    desk = left_by("0015", {"study": [study], "instance": images})
    assert differences(desk.ledger) == []
    assert [row["details"] for row in desk.rows(schema.instance)] == [None, None]
    desk.receive_again(f"{RECEIVING}.1", study=RECEIVING, modality="MR", view=None, details="new")
    assert {one.details for one in desk.settling.shown_in_detail(RECEIVING)} == {"", "new"}
    (arrival,) = desk.arrivals()
    assert {one.details for one in arrival.shown} == {""}
