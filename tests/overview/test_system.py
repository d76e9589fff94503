"""How the node does: peers, models, disks, and the nodes beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ledgers import MODEL, STUDY, Desk
from peers import modality

from node import config
from node.ledger import DeliveryState, PeerNote, Peers, schema
from node.overview.reading import DAY_S
from node.overview.system import HISTOGRAM_BINS, PeerOverview, system_counts, system_overview
from node.result import Priority, Refusal


@pytest.fixture
def settings(tmp_path: Path) -> config.Config:
    receives = {"name": "pacs", "ae_title": "PACS", "sends": False, "receives": "default"}
    return config.Config(
        node=config.Node(ae_title="AINODE", state_dir=tmp_path),
        peers=(modality(), modality(**receives)),
        models=(config.ChosenModel(name=MODEL.name, mode="deliver"),),
    )


def peers(desk: Desk, settings: config.Config) -> dict[str, PeerOverview]:
    return {peer.name: peer for peer in system_counts(desk.ledger, settings).peers}


def test_a_peer_says_what_it_did_last_and_what_waits_for_it(
    desk: Desk, settings: config.Config
) -> None:
    Peers(desk.ledger).record_notes(
        [PeerNote("modality", seen_s=0, object_s=0, rejected_s=0, rejection="unreadable")]
    )
    job, other = desk.analysed(destinations=("pacs", "archive"))
    desk.deliver(job, DeliveryState.QUEUED, DeliveryState.QUEUED)
    found = peers(desk, settings)
    assert list(found) == ["modality", "pacs", "archive"]
    sender, pacs, gone = found.values()
    assert (sender.sends, sender.receives, sender.rejection) == (True, False, "unreadable")
    assert sender.object_at
    assert sender.backlog is None
    assert (pacs.receives, pacs.failure, pacs.sent_at) == (True, "queued by PACS", None)
    assert pacs.backlog is not None
    assert pacs.backlog.objects == 2
    assert (gone.is_configured, gone.failed_at) == (False, None)
    assert gone.backlog is not None
    desk.deliver(other)
    assert peers(desk, settings)["archive"].sent_at


def test_a_peer_that_is_not_configured_any_more_is_forgotten_a_month_after_it_was_seen(
    desk: Desk, settings: config.Config
) -> None:
    Peers(desk.ledger).record_notes([PeerNote("old-ct", seen_s=0, object_s=0)])
    assert list(peers(desk, settings)) == ["modality", "pacs", "old-ct"]
    table = schema.peer
    earlier = {name: table.c[name] - 31 * DAY_S for name in ("seen_at", "object_at")}
    desk.change(table, **earlier)
    assert list(peers(desk, settings)) == ["modality", "pacs"]
    desk.analysed(destinations=("old-ct",))
    assert list(peers(desk, settings)) == ["modality", "pacs", "old-ct"], "something waits for it"


def test_a_folder_that_gets_results_stands_beside_the_peers(
    desk: Desk, settings: config.Config, tmp_path: Path
) -> None:
    folder = config.FolderSettings(kind="folder", name="research", path=tmp_path)
    with_folder = settings.model_copy(update={"destinations": (folder,)})
    (job,) = desk.analysed(destinations=("research",))
    desk.deliver(job, DeliveryState.QUEUED, DeliveryState.QUEUED)
    found = peers(desk, with_folder)
    assert list(found) == ["modality", "pacs", "research"]
    one = found["research"]
    assert (one.is_configured, one.sends, one.receives) == (True, False, True)
    assert one.backlog is not None


def test_what_a_model_did_today_stands_beside_the_days_before(
    desk: Desk, settings: config.Config
) -> None:
    refused = (Refusal(f"{STUDY}.9", "L CC", "implant"),)
    desk.analysed("1.1", level=Priority.URGENT, refused=refused)
    desk.change(schema.analysis, finished_at=schema.analysis.c.finished_at - 5 * DAY_S, score=0.99)
    desk.analysed("1.2", level=Priority.ROUTINE, first_report=10)
    desk.analysed("1.3", level=Priority.URGENT, first_report=20, refused=refused * 2)
    with desk.ledger.writing() as db:
        is_new = schema.analysis.c.study_uid != "1.1"
        db.execute(schema.analysis.update().where(is_new).values(score=1.0))
    (model,) = system_counts(desk.ledger, settings).models
    assert (model.name, model.mode, model.version) == (MODEL.name, "deliver", "1.0.0")
    assert (model.today.analyses, model.today.images, model.today.urgent_share) == (2, 2, 0.5)
    assert (model.before.analyses, model.before.urgent_share) == (1, 1.0)
    assert (model.today.refusals, model.before.refusals) == ({"implant": 2}, {"implant": 1})
    last = HISTOGRAM_BINS - 1
    assert (model.today.scores[last], model.before.scores[last]) == (2, 1)
    assert sum(model.today.scores) == 2


def test_a_model_that_is_not_configured_any_more_is_shown_while_it_did_something(
    desk: Desk, settings: config.Config
) -> None:
    desk.analysed()
    nobody = settings.model_copy(update={"models": ()})
    (model,) = system_counts(desk.ledger, nobody).models
    assert (model.name, model.mode) == (MODEL.name, "")
    (model,) = system_counts(desk.ledger, settings).models
    assert model.mode == "deliver"
    desk.change(schema.analysis, finished_at=1000.0)
    assert system_counts(desk.ledger, nobody).models == ()


def test_a_node_that_has_done_nothing_shows_nothing(desk: Desk, settings: config.Config) -> None:
    counts = system_counts(desk.ledger, settings)
    seen = system_overview(desk.ledger, settings, counts)
    assert [peer.seen_at for peer in counts.peers] == [None, None]
    (model,) = counts.models
    assert (model.today.urgent_share, sum(model.today.scores)) == (None, 0)
    assert seen.nodes == ()
    assert {part.name for part in seen.parts} >= {"database", "listener", "worker"}
    desk.nodes.register_node("node-1", "here:/state place")
    desk.nodes.beat("node-1")
    (node,) = system_overview(desk.ledger, settings, counts).nodes
    assert node.place == "here:/state"
    assert json.dumps(node.heard_of_s)
