"""What is recorded in a few fixed statements is what the rules would have recorded."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pytest
import sqlalchemy as sa
from costs import counted
from forgotten import DAY_S, YEAR_S, let_files_go
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledgers import CLOSING, SOMEBODY, SOMEBODY_ELSE, STUDY, Desk
from postgres import NewDatabase, PostgreSQL

from node.errors import NodeError
from node.ledger import (
    Again,
    Forgetting,
    HeldBecause,
    Ledger,
    Received,
    Receiving,
    Recorded,
    now,
    schema,
)
from node.ledger.receiving import record_by_rules
from node.ledger.rows import hold
from node.result import Priority
from node.store import Store
from node.study import Instance, StudyLabels

STUDIES = (STUDY, "1.2.999")
OBJECTS = tuple(f"{STUDY}.{n}" for n in range(1, 7))
NOBODY = "- - - - -"
IDENTITIES = (
    *[SOMEBODY] * 12,
    SOMEBODY_ELSE,
    "patient-1 - - - -",
    "patient-1 - accession-1 1950 -",
    "patient-1 - accession-1 - name-1",
    "patient-1 - accession-1 - name-2",
    "- - accession-1 - name-1",
    NOBODY,
    "!00100020 - accession-1 - -",
    "? - accession-1 - -",
)
"""Whole and less than whole; with names that count only beside a missing Patient ID; stated twice;
of somebody else."""
LABELS = (
    *[StudyLabels("accession-1", "patient-1", "Doe^Jane", "20261128", "MAMMO")] * 3,
    StudyLabels(),
    StudyLabels(patient_id="patient-1", study_description="other words"),
)
LONG_AGO_S = 1000.0


class ByRules(Receiving):
    """Records everything by the rules, as if nothing were plain."""

    def record_instance(self, instance: Instance, received: Received) -> Recorded:
        with self.ledger.writing() as db:
            return record_by_rules(db, instance, received)


@dataclass
class Comes:
    """An object comes, new or again."""

    sop_uid: str
    study: str
    how: Literal["as before", "corrected", "repainted"]
    identity: str
    labels: StudyLabels
    modality: str
    sender: str
    is_own: bool
    is_in_scope: bool

    def __call__(self, desk: Desk) -> object:
        what: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("study", "identity", "labels", "modality", "sender", "is_own")
        }
        digest = f"{self.identity}, {self.how}"
        what |= {"is_in_scope": self.is_in_scope, "digest": digest, "association": self.sender}
        if self.modality != "MG":
            what["view"] = None
        recorded = desk.receive(self.sop_uid, **what)
        if recorded != "compare":
            return recorded
        kept = desk.receiving.find_kept(self.sop_uid)
        assert kept is not None
        pixels: Literal["same", "other"] = "other" if self.how == "repainted" else "same"
        again = Again(kept.digest, pixels, ("Patient ID",), was_removed=kept.is_removed)
        return recorded, desk.receive(self.sop_uid, again=again, **what)


@dataclass
class Happens:
    """Something else happens to a study that is there."""

    what: str
    study: str
    sop_uid: str

    def __call__(self, desk: Desk) -> object:
        if self.study not in {row["study_uid"] for row in desk.rows(schema.study)}:
            return None
        with contextlib.suppress(NodeError):
            return _HAPPENS[self.what](desk, self.study, self.sop_uid)
        return "refused"


def close(desk: Desk, study: str, _: str) -> object:
    arrivals = [one for one in desk.arrivals() if one.study_uid == study]
    return [desk.settling.close_version(one, CLOSING, desk.enqueue) for one in arrivals]


def finish(desk: Desk, study: str, sop_uid: str) -> object:
    if not close(desk, study, sop_uid):
        return None
    desk.change(schema.study, level=Priority.URGENT)
    return "has a level"


def hold_for(because: HeldBecause) -> Callable[[Desk, str, str], object]:
    def do(desk: Desk, study: str, _: str) -> None:
        with desk.ledger.writing() as db:
            hold(db, study, because, f"held for {because}")

    return do


def forget(desk: Desk, study: str, _: str) -> object:
    if desk.rows(schema.dispatch) or any(row["held_reason"] for row in desk.rows(schema.study)):
        return None
    let_files_go(desk)
    return Forgetting(desk.ledger).forget_study(study, YEAR_S)


_HAPPENS: dict[str, Callable[[Desk, str, str], object]] = {
    "closed": close,
    "closed with a level": finish,
    "read": lambda desk, study, _: desk.change(schema.study, read_at=1.0, read_by="somebody"),
    "withdrawn": lambda desk, study, sop: desk.withdraw(
        sop, note=f"{study}.900", study=study, identity=SOMEBODY
    ),
    "held for pixels": hold_for(HeldBecause.PIXELS),
    "held for files": hold_for(HeldBecause.MISSING),
    "released": lambda desk, study, _: desk.by_hand.release_study(study),
    "known for less by an earlier release": lambda desk, study, _: desk.change(
        schema.study, identity=NOBODY, level=Priority.URGENT
    ),
    "removed": lambda desk, study, _: let_files_go(desk, age_s=DAY_S),
    "forgotten": forget,
}

comes = st.builds(
    Comes,
    st.sampled_from(OBJECTS),
    st.sampled_from((*[STUDY] * 4, STUDIES[1])),
    st.sampled_from(("as before", "as before", "corrected", "repainted")),
    st.sampled_from(IDENTITIES),
    st.sampled_from(LABELS),
    st.sampled_from((*["MG"] * 4, "SR", "MR")),
    st.sampled_from(("modality", "modality", "archive")),
    st.sampled_from((*[False] * 6, True)),
    st.sampled_from((True, True, False)),
)
happens = st.builds(
    Happens, st.sampled_from(tuple(_HAPPENS)), st.sampled_from(STUDIES), st.sampled_from(OBJECTS)
)


def told(desk: Desk, since: float) -> dict[str, Any]:
    """Return every row, of a time only whether it is since then."""
    tables = [
        table
        for table in schema.metadata.sorted_tables
        if table not in (schema.installation, schema.remembered_study)
    ]
    with desk.ledger.reading() as db:
        found = {table: db.execute(_ALL[table]).all() for table in tables}
    return {
        table.name: sorted(
            (
                [
                    value > since if is_time and value is not None else value
                    for is_time, value in zip(_TIMES[table], row, strict=True)
                ]
                for row in rows
            ),
            key=repr,
        )
        for table, rows in found.items()
    }


_ALL = {table: sa.select(table) for table in schema.metadata.sorted_tables}
_TIMES = {table: [isinstance(one.type, sa.Double) for one in table.c] for table in _ALL}


def now_of(desk: Desk) -> float:
    with desk.ledger.reading() as db:
        return float(db.execute(sa.select(now())).scalar_one())


@pytest.fixture
def two_desks(new_database: NewDatabase, tmp_path: Path) -> Any:
    ledgers = []
    for name in ("plain", "rules"):
        folder = tmp_path / name
        folder.mkdir()
        ledgers.append(Ledger(new_database(folder)))
    desks = [Desk(ledger, Store(tmp_path)) for ledger in ledgers]
    desks[1].receiving = ByRules(ledgers[1])
    yield desks
    for ledger in ledgers:
        ledger.close()


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.one_of(comes, comes, comes, happens), min_size=2, max_size=9))
def test_whatever_comes_the_rows_are_those_that_the_rules_make(
    two_desks: list[Desk], events: list[Comes | Happens]
) -> None:
    assert_alike_after_each(two_desks, events)


@pytest.mark.parametrize("what", _HAPPENS)
def test_whatever_has_happened_to_its_study_one_more_object_makes_the_rows_of_the_rules(
    two_desks: list[Desk], what: str
) -> None:
    for modality, is_in_scope, of in (("MG", True, 1), ("MR", False, 0), ("SR", False, 0)):
        events: list[Comes | Happens] = [one_more(0), Happens(what, STUDY, f"{STUDY}.{of}")]
        events += [one_more(1, modality, is_in_scope), one_more(2), one_more(3, "MR", False)]
        assert_alike_after_each(two_desks, events)


@pytest.mark.parametrize("first", [SOMEBODY, NOBODY, IDENTITIES[-5], IDENTITIES[-2]])
def test_whatever_objects_say_of_whose_they_are_the_rows_are_those_of_the_rules(
    two_desks: list[Desk], first: str
) -> None:
    """Of each two, each of which comes again when the other is there."""
    for number, second in enumerate(sorted({*IDENTITIES})):
        for desk in two_desks:
            for n, identity in enumerate((first, second, first, second)):
                study = f"1.3.{number}"
                desk.receive(f"{study}.{n}", study=study, identity=identity)
        one, other = (told(desk, 0) for desk in two_desks)
        assert one == other


def one_more(number: int, modality: str = "MG", is_in_scope: bool = True) -> Comes:
    return Comes(
        sop_uid=f"{STUDY}.{number}",
        study=STUDY,
        how="as before",
        identity=SOMEBODY,
        labels=LABELS[0],
        modality=modality,
        sender="modality",
        is_own=False,
        is_in_scope=is_in_scope,
    )


def assert_alike_after_each(two_desks: list[Desk], events: Sequence[Comes | Happens]) -> None:
    """Let the same happen on both, from nothing on."""
    for desk in two_desks:
        with desk.ledger.writing() as db:
            for table in schema.metadata.sorted_tables:
                if table is not schema.installation:
                    db.execute(table.delete())
        desk.jobs.clear()
    for event in events:
        answers, rows = [], []
        for desk in two_desks:
            desk.let_pass(LONG_AGO_S)
            since = now_of(desk) - LONG_AGO_S / 2
            answers.append(event(desk))
            rows.append(told(desk, since))
        assert answers[0] == answers[1]
        assert rows[0] == rows[1]


def test_one_more_object_of_a_study_that_is_received_takes_five_statements(desk: Desk) -> None:
    """Its study locked and read, all that is asked, two rows written, and whether it has moved."""
    desk.receive()
    with counted() as cost:
        desk.receive(f"{STUDY}.2")
    words = [statement.split()[0] for statement in cost.statements]
    assert words == ["SELECT", "SELECT", "INSERT", "UPDATE", "SELECT"]


def test_whether_an_object_is_known_takes_one_statement_and_no_transaction(desk: Desk) -> None:
    desk.receive()
    receiving = Receiving(desk.ledger)
    begun: list[sa.Connection] = []
    sa.event.listen(desk.ledger._engine, "begin", begun.append)
    with counted() as cost:
        assert receiving.is_unheard_of(STUDY, f"{STUDY}.2")
        assert not receiving.is_unheard_of(STUDY, f"{STUDY}.1")
    assert [statement.split()[0] for statement in cost.statements] == ["SELECT", "SELECT"]
    assert begun == []


@pytest.mark.parametrize("count", [300, 10_000])
def test_that_is_so_however_many_objects_its_study_has(desk: Desk, count: int) -> None:
    desk.receive()
    with counted() as few:
        desk.receive(f"{STUDY}.few")
    like = desk.row(schema.instance, f"{STUDY}.1")
    with desk.ledger.writing() as db:
        more = [like | {"sop_uid": f"{STUDY}.0.{number}"} for number in range(count)]
        db.execute(schema.instance.insert(), more)
    with counted() as many:
        desk.receive(f"{STUDY}.many")
    assert many.statements == few.statements
    assert many.steps <= 1.1 * few.steps


def test_so_is_it_of_a_study_whose_objects_say_more_or_less_of_whose_it_is(desk: Desk) -> None:
    """One statement more: it reads what they say, each once."""
    desk.receive(identity=SOMEBODY)
    desk.receive(f"{STUDY}.2", identity="patient-1 - - - -")
    with counted() as cost:
        desk.receive(f"{STUDY}.3", identity="patient-1 - - - -")
    assert len(cost.statements) == 6
    assert desk.study()["identity"] == "patient-1 - accession-1 - -"


def test_objects_of_several_studies_are_recorded_at_once(desk: Desk) -> None:
    desk.receive(study=STUDY)
    commits: list[object] = []
    sa.event.listen(desk.ledger._engine, "commit", commits.append)
    others = [came(study, f"{study}.9") for study in (STUDIES[1], STUDY, "1.2.5")]
    assert desk.receiving.record_together(others) == [True, True, True]
    assert len(commits) == 1
    assert len(desk.rows(schema.instance)) == 4


def test_what_is_not_plain_is_left_to_be_recorded_alone(desk: Desk) -> None:
    desk.receive(study=STUDY)
    twice, held = came("1.2.5", "1.2.5.1"), came("1.2.6", "1.2.6.2")
    desk.receive(study="1.2.6", sop_uid="1.2.6.1", identity=SOMEBODY_ELSE)
    several = [came(STUDY, f"{STUDY}.1"), twice, twice, held]
    assert desk.receiving.record_together(several) == [False, True, False, False]
    assert [desk.receiving.record_instance(*one) for one in several[2:]] == ["same", "new"]
    assert desk.study("1.2.6")["held_because"] == HeldBecause.IDENTITY


def test_of_several_each_takes_as_many_statements_as_one_alone(desk: Desk) -> None:
    for study in (STUDIES[1], STUDY):
        desk.receive(f"{study}.1", study=study)
    several = [came(study, f"{study}.{n}") for study in (STUDIES[1], STUDY) for n in (8, 9)]
    with counted() as cost:
        assert desk.receiving.record_together(several) == [True] * 4
    words = [statement.split()[0] for statement in cost.statements]
    assert words == [*["SELECT", "SELECT", "INSERT", "UPDATE"] * 4, "SELECT"]


@pytest.mark.interop
@pytest.mark.parametrize("how", ["locked", "changed", "going"])
def test_a_study_that_somebody_has_locked_keeps_no_object_of_another_waiting(
    postgresql: PostgreSQL, store: Store, how: str
) -> None:
    """It is recorded alone when its study is free, whatever has become of that."""
    url = postgresql.new_database()
    ledger, other = Ledger(url), Ledger(url)
    desk = Desk(ledger, store)
    for study in (STUDY, "1.2.5"):
        desk.receive(f"{study}.1", study=study)
    several = [came(study, f"{study}.9") for study in (STUDY, "1.2.5", "1.2.6")]
    its_own = schema.study.c.study_uid == STUDY
    with other.writing() as db:
        if how == "locked":
            db.execute(sa.select(schema.study).where(its_own).with_for_update())
        elif how == "changed":
            db.execute(schema.study.update().where(its_own).values(sender="another"))
        else:
            db.execute(schema.instance.delete().where(schema.instance.c.study_uid == STUDY))
            db.execute(schema.study.delete().where(its_own))
        assert desk.receiving.record_together(several) == [False, True, True]
        kept = {row["sop_uid"] for row in desk.rows(schema.instance)}
        assert kept == {f"{STUDY}.1", "1.2.5.1", "1.2.5.9", "1.2.6.9"}
    assert desk.receiving.record_instance(*several[0]) == "new"
    assert len(desk.rows(schema.study)) == 3
    ledger.close()
    other.close()


def test_one_that_makes_all_fail_is_found_by_trying_each_alone(desk: Desk) -> None:
    good, bad = came(STUDY, f"{STUDY}.1"), came("1.2.5", "1.2.5.1")
    bad = (replace(bad[0], modality=None), bad[1])  # type: ignore[arg-type]  # the database refuses it
    assert desk.receiving.record_together([good, bad]) == [False, False]
    assert desk.rows(schema.instance) == desk.rows(schema.study) == []
    assert desk.receiving.record_instance(*good) == "new"
    with pytest.raises(sa.exc.IntegrityError):
        desk.receiving.record_instance(*bad)
    assert len(desk.rows(schema.instance)) == 1


def came(study: str, sop_uid: str) -> tuple[Instance, Received]:
    instance = Instance(
        study_uid=study,
        series_uid=f"{study}.0",
        sop_uid=sop_uid,
        sop_class="1.2.840.10008.5.1.4.1.1.1.2",
        transfer_syntax="1.2.840.10008.1.2.1",
        modality="MG",
        path=Path("unused"),
        digest="digest",
    )
    received = Received(
        relative_path=f"received/{study}/{sop_uid}.dcm",
        sender="modality",
        association_id="association",
        identity=SOMEBODY,
        is_own=False,
        is_in_scope=True,
    )
    return instance, received
