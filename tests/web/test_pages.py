"""What the pages say, to whom, and no more than the site lets them show."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import sqlalchemy as sa
from forgotten import forget
from ledgers import NODE, Desk
from outputs import drafts
from pages import OPERATOR, READER, words_of
from PIL import Image
from postgres import NewDatabase
from pydicom import Dataset, dcmread
from told_rows import told

from node.config import ChosenModel, HL7Settings
from node.imaging.solid_bits import packed
from node.ledger import (
    TOLD_NOTHING,
    Alarming,
    DeliveryState,
    DispatchState,
    HeldBecause,
    Keeping,
    Ledger,
    OwnPart,
    Trouble,
    now,
    schema,
)
from node.ledger.nodes import Ill
from node.ledger.rows import add_note
from node.outputs.wording import intended_use, standing_line
from node.result import Code, Measurement, Priority, Solid
from node.store import Store
from node.study import Laterality
from node.trial import phantom
from node.web.showing import duration, one_line, person_name, size

from .site import EXAMPLE, HOSTILE, SHADOW, Site, Who, listed, opened, uid_of

URGENT, SOON, ROUTINE = Priority.URGENT, Priority.SOON, Priority.ROUTINE
R_CC, L_CC, R_MLO, L_MLO = phantom.EXAM


@pytest.fixture(scope="module")
def new_database(new_file: NewDatabase) -> NewDatabase:
    """Make files alone: what the pages ask of a ledger has tests of its own, on both databases."""
    return new_file


@pytest.fixture
def site(ledger: Ledger, store: Store, tmp_path: Path) -> Site:
    made = opened(store, ledger, tmp_path)
    made.is_well()
    return made


def with_settings(site: Site, **web: Any) -> Site:
    """Return the same site with other settings of its page."""
    return opened(site.desk.store, site.ledger, site.config.node.state_dir, **web)


def test_the_list_says_urgent_first_and_within_a_level_who_has_waited_longest(site: Site) -> None:
    site.exam(1, ROUTINE, age_s=3000)
    site.exam(2, URGENT, age_s=100)
    site.exam(3, Priority.NOT_ASSESSED, age_s=50, views=(R_CC, L_CC, R_MLO))
    site.exam(4, URGENT, age_s=7000)
    site.exam(5, SOON, age_s=50)
    site.exam(6, age_s=5000)
    with site.visited() as visitor:
        page = visitor.get("/")
    assert listed(page) == [uid_of(number) for number in (4, 2, 5, 3, 6, 1)]
    said = words_of(page)
    for words in ("urgent waiting 1 h 56 min", "not assessed", "no triage model for it", "routine"):
        assert words in said
    assert "Urgent 2" in said
    assert "R CC, L CC, R MLO, L MLO" in said.replace("\u00a0", " ")
    assert "pacs: 2 sent" in said


def test_a_study_says_what_reading_lists_were_told(site: Site) -> None:
    uid = site.exam(1, URGENT)
    told(site.desk, 1, DispatchState.FINISHED, study_uid=uid, acknowledged_at=1.0)
    told(site.desk, 2, DispatchState.DEAD, study_uid=uid, kind="withdrawn", error="ris answered AE")
    with site.visited() as visitor:
        said = words_of(visitor.get(f"/studies/{uid}"))
    assert "Reading lists ris" in said
    assert "triage level urgent acknowledged" in said
    assert "triage level urgent withdrawn given up" in said
    assert "ris answered AE" in said


def test_a_study_says_which_list_could_not_be_told_and_why(site: Site) -> None:
    uid = site.exam(1, URGENT)
    with site.desk.ledger.writing() as db:
        add_note(db, uid, f"ris {TOLD_NOTHING}: the study has no accession number")
    with site.visited() as visitor:
        said = words_of(visitor.get(f"/studies/{uid}"))
    assert "Reading lists ris Told nothing: the study has no accession number" in said


def test_what_a_list_refused_is_sent_again_from_the_page(site: Site) -> None:
    uid = site.exam(1, URGENT)
    told(site.desk, 1, DispatchState.DEAD, study_uid=uid, error="ris answered AE")
    with site.visited(OPERATOR) as visitor:
        assert "Send again" in words_of(visitor.get(f"/studies/{uid}"))
        assert "ris: ris answered AE" in words_of(visitor.get(f"/studies/{uid}/retry"))
        visitor.post(f"/studies/{uid}/retry", at=f"/studies/{uid}/retry")
    (row,) = site.desk.rows(schema.message)
    assert row["state"] == DispatchState.QUEUED


def test_filters_stand_in_the_address_and_lead_on_from_each_other(site: Site) -> None:
    site.exam(1, URGENT)
    site.exam(2, ROUTINE, delivered=None)
    site.exam(3, ROUTINE, delivered=(DeliveryState.REFUSED,))
    site.excluded(4)
    with site.visited() as visitor:
        found = {
            show: sorted(listed(visitor.get(f"/?show={show.replace(' ', '+')}")))
            for show in (
                "",
                "urgent",
                "soon",
                "today",
                "waiting",
                "failed",
                "held",
                "excluded",
                "all",
            )
        }
        everyone = visitor.get("/?show=all&sender=modality")
        nobody = visitor.get("/?show=all&sender=else")
        unknown = visitor.get("/?show=lost", status=400)
    one, two, three, four = map(uid_of, (1, 2, 3, 4))
    assert found[""] == [one, two, three]
    assert found["urgent"] == [one]
    assert found["soon"] == found["held"] == []
    assert found["waiting"] == [two]
    assert found["failed"] == [three]
    assert found["excluded"] == [four]
    assert found["all"] == found["today"] == [one, two, three, four]
    assert len(listed(everyone)) == 4
    assert not listed(nobody)
    assert "sender=modality" in everyone
    assert 'There is no filter "lost"' in words_of(unknown).replace("&#34;", '"')


def test_a_long_list_has_pages(site: Site, desk: Desk) -> None:
    for number in range(120):
        site.arrived(number)
    with site.visited() as visitor:
        pages = [visitor.get("/")]
        while following := re.search(r'id="next-page" href="([^"]+)"', pages[-1]):
            pages.append(visitor.get(following[1].replace("&amp;", "&")))
        assert 'id="first-page" href="/"' in pages[-1]
        there = len(pages)
        while before := re.search(r'id="previous-page" href="([^"]+)"', pages[-1]):
            pages.append(visitor.get(before[1].replace("&amp;", "&")))
    back = [listed(page) for page in pages[there:]]
    pages = pages[:there]
    assert back == [listed(page) for page in reversed(pages[:-1])]
    assert [len(listed(page)) for page in pages] == [50, 50, 20]
    assert len({uid for page in pages for uid in listed(page)}) == 120


ADA = Who("DOE^ADA", "PAT-17", "ACC-17", "Screening of ADA")


@pytest.mark.parametrize(
    ("shows", "seen", "unseen"),
    [
        ("nothing", [], ["DOE", "ADA", "PAT-17", "ACC-17"]),
        ("accession", ["ACC-17", "Screening"], ["DOE", "PAT-17"]),
        ("patient", ["DOE, ADA", "PAT-17", "ACC-17"], []),
    ],
)
def test_no_page_says_more_of_a_patient_than_the_site_lets_it(
    site: Site, shows: str, seen: list[str], unseen: list[str]
) -> None:
    site.exam(1, URGENT, who=ADA, delivered=(DeliveryState.REFUSED,))
    here = f"/studies/{uid_of(1)}"
    with with_settings(site, shows=shows).visited(OPERATOR) as visitor:
        for address in ("/", "/?show=all", here, f"{here}/read", f"{here}/retry", "/system"):
            page = visitor.get(address)
            assert [one for one in unseen if one in page] == []
            if address in ("/", here):
                assert [one for one in seen if one not in page] == []


def test_a_study_is_found_by_what_the_site_lets_be_sought_and_no_patient_is_in_an_address(
    site: Site,
) -> None:
    site.exam(1, URGENT, who=ADA)
    site.exam(2, ROUTINE)
    with with_settings(site, shows="patient").visited() as visitor:
        by_patient = visitor.post("/search", at="/", by="patient", text="PAT-17")
        by_nobody = visitor.post("/search", at="/", by="patient", text="PAT-1")
        by_accession = visitor.post("/search", at="/", by="accession", text=" ACC-17 ")
        by_study = visitor.post("/search", at="/", by="study", text=uid_of(1))
        assert (by_patient.status_code, listed(by_patient.text)) == (200, [uid_of(1)])
        assert "not renewed" in by_patient.text
        assert "data-refresh-s" not in by_patient.text
        assert listed(by_nobody.text) == []
        assert by_accession.headers["location"] == "/?accession=ACC-17"
        assert listed(visitor.get(by_accession.headers["location"])) == [uid_of(1)]
        assert listed(visitor.get(by_study.headers["location"])) == [uid_of(1)]
    with with_settings(site, shows="accession").visited() as visitor:
        assert visitor.post("/search", at="/", by="patient", text="PAT-17").status_code == 403
    with with_settings(site, shows="nothing").visited() as visitor:
        assert visitor.post("/search", at="/", by="accession", text="ACC-17").status_code == 403
        visitor.get("/?accession=ACC-17", status=403)
        assert "accession number" not in visitor.get("/")


def test_what_a_stranger_wrote_is_text_and_nothing_else(site: Site) -> None:
    nasty = Who(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    site.exam(1, URGENT, who=nasty)
    with with_settings(site, shows="patient").visited(OPERATOR) as visitor:
        for address in ("/", f"/studies/{uid_of(1)}", f"/studies/{uid_of(1)}/read"):
            page = visitor.get(address)
            assert "<script>document" not in page
            assert "&lt;script&gt;" in page
            assert "\u202e" not in page, "it would turn round what follows"
        found = visitor.post("/search", at="/", by="patient", text='"><script>alert(1)</script>')
    assert "<script>alert" not in found.text
    assert "&#34;&gt;&lt;script&gt;" in found.text


def test_what_models_in_shadow_say_is_for_operators_and_on_no_list(site: Site) -> None:
    site.exam(1, ROUTINE)
    here = f"/studies/{uid_of(1)}"
    with site.visited() as visitor:
        for address in ("/", here):
            assert SHADOW.title not in visitor.get(address)
            assert SHADOW.name not in words_of(visitor.get(address))
    with site.visited(READER) as visitor:
        assert SHADOW.title not in visitor.get(here)
        visitor.post("/logout", at="/")
        visitor.log_in(OPERATOR)
        assert SHADOW.title not in visitor.get("/")
        page = words_of(visitor.get(here))
    assert f"{SHADOW.title} {SHADOW.name} 1.0.0 shadow: sent to nobody urgent" in page


@pytest.mark.parametrize("mode", ["off", "deliver", None])
def test_what_a_model_said_in_shadow_stays_for_operators_when_its_mode_changes(
    site: Site, mode: Literal["off", "deliver"] | None
) -> None:
    site.exam(1, ROUTINE)
    others = tuple(model for model in site.config.models if model.name != SHADOW.name)
    its = () if mode is None else (ChosenModel(name=SHADOW.name, mode=mode),)
    site.config = site.config.model_copy(update={"models": (*others, *its)})
    said = f"{SHADOW.name} 1.0.0; mode {mode or 'none: it is not in the configuration any more'} "
    with site.visited(READER) as visitor:
        page = words_of(visitor.get("/system"))
        assert said not in page
        if mode is None:
            assert SHADOW.name not in page
        else:  # it has delivered nothing
            of_it = page[page.index(f"{SHADOW.name} has read nothing yet; mode {mode} ") :]
            assert " analyses 0 0 images analysed 0 0 " in of_it
            assert "urgent, of those" not in of_it
            assert of_it.count(SHADOW.name) == 2, "its table has its name, too"
        visitor.post("/logout", at="/")
        visitor.log_in(OPERATOR)
        page = words_of(visitor.get("/system"))
        of_it = page[page.index(said) :]
        assert "shadow: sent to nobody" in of_it
        assert " analyses 1 0 images analysed" in of_it


def test_the_system_page_counts_once_for_all_viewers_and_says_at_once_what_is_ill(
    site: Site,
) -> None:
    asked: list[str] = []

    def note(*said: Any) -> None:
        asked.append(said[2])

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        with site.visited() as visitor:
            visitor.get("/system")
            assert any("FROM analysis" in statement for statement in asked)
            asked.clear()
            site.desk.nodes.record_ill(NODE, {OwnPart.DISK: Ill(1000.0, "5 MB free")})
            page = words_of(visitor.get("/system"))
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    assert "5 MB free" in page
    assert not any("FROM analysis" in statement for statement in asked)


def test_where_a_demonstration_ranks_the_list_and_its_rows_say_so(site: Site) -> None:
    study_uid = site.exam(1, URGENT, is_demonstration=True)
    with site.visited() as visitor:
        page = words_of(visitor.get("/"))
    assert "urgent demonstration waiting" in page  # though nothing of the configuration says so
    assert "A demonstration model may rank here" not in page
    triage = site.config.triage.model_copy(update={"demonstration_may_rank": True})
    site.config = site.config.model_copy(update={"triage": triage})
    site.desk.receive(f"{study_uid}.99", study=study_uid)
    site.desk.close(study=study_uid)
    with site.visited() as visitor:
        page = words_of(visitor.get("/"))
        assert "urgent demonstration" in words_of(visitor.get(f"/studies/{study_uid}"))
    assert "urgent demonstration waiting" in page  # kept while the new version is analysed
    assert "A demonstration model may rank here" in page


def test_what_models_are_for_stands_in_the_list_and_beside_what_each_says(site: Site) -> None:
    research = "AI generated. Not verified by a physician. For research use only."
    with site.visited() as visitor:
        assert "research use" not in words_of(visitor.get("/")), "no model has said anything"
        site.exam(1, URGENT)
        here = visitor.get(f"/studies/{uid_of(1)}")
        assert f"Reading list {research}" in words_of(visitor.get("/"))
        assert research in words_of(here.partition("What models say")[0])
        assert f"<p>{research}</p>" in here.partition("What models say")[2]
        site.exam(2, URGENT, is_demonstration=True)
        here = words_of(visitor.get(f"/studies/{uid_of(2)}"))
        assert f"{research} Demonstration: {EXAMPLE.title}." in here
        assert f"{research} Demonstration model." in here


def test_where_not_all_models_are_for_research_the_line_says_which_are() -> None:
    models = [drafts.PRODUCT, replace(drafts.TRIAGE, title="Another")]
    generated = "AI generated. Not verified by a physician."
    assert standing_line(models) == f"{generated} For research use only: Another."
    assert standing_line(models[:1]) == generated
    assert intended_use(drafts.PRODUCT) == [generated]


def test_a_newcomer_whose_studies_were_all_excluded_is_told_why_nothing_came_back(
    site: Site,
) -> None:
    site.excluded(1, "older than 30 days")
    site.excluded(2, "a test patient")
    with site.visited() as visitor:
        page = words_of(visitor.get("/"))
        assert "2 studies came and nothing is sent back for them: excluded." in page
        assert "older than 30 days" in page
        assert "a test patient" in page
        assert len(listed(visitor.get("/?show=excluded"))) == 2
        site.exam(3, ROUTINE)
        assert "nothing is sent back" not in visitor.get("/")


# One study


def test_a_study_says_what_came_what_became_of_it_and_how_long_that_took(site: Site) -> None:
    site.exam(1, URGENT, refuse=None, views=(R_CC, L_CC, R_MLO))
    site.desk.withdraw(f"{uid_of(1)}.2", study=uid_of(1))
    with site.visited() as visitor:
        page = words_of(visitor.get(f"/studies/{uid_of(1)}"))
    for words in (
        "L CC, MG",
        "withdrawn: Rejected for Quality Reasons",
        f"analysed by {EXAMPLE.name}",
        "Operating point high (at least 71 %): sensitivity 62 %",
        "Exam AI score AI score 52 %",
        "version 1 closed: 3/4 views",
        "waited for completeness",
        "analysis and building",
        "sending",
    ):
        assert words in page


def test_a_study_says_what_was_not_analysed_and_why(site: Site) -> None:
    site.exam(1, refuse={L_CC: "an implant is visible"})
    with site.visited() as visitor:
        page = words_of(visitor.get(f"/studies/{uid_of(1)}"))
    assert "Not analysed L CC: an implant is visible" in page
    assert "not analysed by breast-area: an implant is visible" in page


def test_a_study_says_what_its_destination_said_and_when_it_is_asked_again(site: Site) -> None:
    site.exam(1, URGENT, delivered=(DeliveryState.QUEUED,))
    with site.visited() as visitor:
        page = words_of(visitor.get(f"/studies/{uid_of(1)}"))
    assert "pacs: 2 queued tried again" in page
    assert "queued by PACS" in page


def test_an_unknown_study_is_said_to_be_unknown(site: Site) -> None:
    with site.visited() as visitor:
        assert "Study 1.2.3 is not known here." in visitor.get("/studies/1.2.3", status=404)


def test_of_a_forgotten_study_the_page_says_what_was_sent_of_it(site: Site) -> None:
    site.exam(1, URGENT, delivered=(DeliveryState.SENT,))
    forget(site.desk, uid_of(1))
    with site.visited() as visitor:
        page = visitor.get(f"/studies/{uid_of(1)}", status=404)
    assert f"Study {uid_of(1)} is forgotten on 20" in page
    assert re.search(r"reports? (was|were) sent to pacs", page)


def test_captures_are_pictures_of_a_sensible_size(site: Site) -> None:
    site.exam(1, URGENT)
    with site.visited() as visitor:
        page = visitor.get(f"/studies/{uid_of(1)}")
        [address] = set(re.findall(r'src="([^"]+\.png)"', page))
        answer = visitor.client.get(address)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["cache-control"].startswith("private, max-age=")
    picture = Image.open(io.BytesIO(answer.content))
    assert max(picture.size) <= 1600
    assert np.asarray(picture.convert("L")).max() > 100, "it is not blank"


def test_a_capture_is_called_by_the_view_that_it_shows(site: Site) -> None:
    site.exam(1, URGENT, has_marks=True)
    with site.visited() as visitor:
        page = visitor.get(f"/studies/{uid_of(1)}")
    names = re.findall(r"<figcaption>([^<]+)</figcaption>", page)
    assert names[0] == "Summary page"
    assert sorted(names[1:]) == ["L CC", "L MLO", "R CC", "R MLO"]


def burn_in(dataset: Dataset) -> None:
    dataset.BurnedInAnnotation = "YES"


@pytest.mark.parametrize(
    ("shows", "plain_status", "burnt_status"),
    [("patient", 200, 200), ("accession", 200, 403), ("nothing", 403, 403)],
)
def test_a_capture_that_may_show_a_name_is_for_sites_that_show_patients(
    site: Site, shows: str, plain_status: int, burnt_status: int
) -> None:
    site.exam(1, URGENT)
    site.exam(2, URGENT, change=burn_in)
    captures = [row for row in site.desk.rows(schema.report) if row["kind"] == "capture"]
    expected = {uid_of(1): plain_status, uid_of(2): burnt_status}
    with with_settings(site, shows=shows).visited() as visitor:
        for row in captures:
            address = f"/studies/{row['study_uid']}/captures/{row['sop_uid']}.png"
            assert visitor.client.get(address).status_code == expected[row["study_uid"]]
        page = visitor.get(f"/studies/{uid_of(1)}")
    assert ("<img" in page) == (shows != "nothing")


def test_no_capture_is_had_by_the_address_of_another_study(site: Site) -> None:
    site.exam(1, URGENT)
    site.exam(2, URGENT)
    for row in site.desk.rows(schema.report):
        other = uid_of(2) if row["study_uid"] == uid_of(1) else uid_of(1)
        with site.visited() as visitor:
            visitor.get(f"/studies/{other}/captures/{row['sop_uid']}.png", status=404)
        break


def test_result_objects_are_had_by_who_has_logged_in_where_patients_are_shown(site: Site) -> None:
    site.exam(1, URGENT)
    objects = [row["sop_uid"] for row in site.desk.rows(schema.report)]
    address = f"/studies/{uid_of(1)}/objects/{objects[0]}"
    with with_settings(site, shows="patient").visited() as visitor:
        visitor.get(address, status=403)
        assert "They are for who has logged in." in visitor.get(f"/studies/{uid_of(1)}")
    with with_settings(site, shows="accession").visited(READER) as visitor:
        refused = visitor.get(address, status=403)
        assert "shows" in refused
        assert "shows" in visitor.get(f"/studies/{uid_of(1)}")
    with with_settings(site, shows="patient").visited(READER) as visitor:
        page = visitor.get(f"/studies/{uid_of(1)}")
        found = re.findall(r'href="(/studies/[0-9.]+/objects/[0-9.]+)"', page)
        assert len(found) == len(objects)
        answer = visitor.client.get(found[0])
    assert answer.headers["content-type"] == "application/dicom"
    assert answer.headers["content-disposition"] == f'attachment; filename="{objects[0]}.dcm"'
    assert dcmread(io.BytesIO(answer.content)).SOPInstanceUID == objects[0]


# What people do


def test_a_study_that_was_read_leaves_the_list_until_that_is_undone(site: Site) -> None:
    site.exam(1, URGENT)
    here = f"/studies/{uid_of(1)}"
    with site.visited(READER) as visitor:
        assert f"{here}/read?from=list" in visitor.get("/")
        question = visitor.get(f"{here}/read?from=list")
        assert "it can be undone" in words_of(question)
        assert listed(visitor.get("/")) == [uid_of(1)], "asking does nothing"
        done = visitor.post(f"{here}/read", at=f"{here}/read?from=list", **{"from": "list"})
        page = visitor.get(done.headers["location"])
        assert listed(page) == []
        assert f'href="{here}/unread"' in page
        study = words_of(visitor.get(here))
        assert f"by {READER}" in study
        assert "It has been marked as read already" in visitor.get(f"{here}/read")
        undone = visitor.post(f"{here}/unread", at=f"{here}/unread")
        assert undone.headers["location"] == f"{here}?done=unread"
        assert listed(visitor.get("/")) == [uid_of(1)]
    assert site.desk.history(uid_of(1))[-2:] == [
        f"marked as read by {READER}",
        f"no longer marked as read by {READER}",
    ]


def test_the_system_shows_what_takes_space_and_may_not_be_removed(site: Site) -> None:
    site.exam(1, URGENT)
    with site.visited(READER) as visitor:
        assert "Not removed" not in words_of(visitor.get("/system"))
    Keeping(site.desk.ledger).keep_study(uid_of(1), "teaching", by="anna")
    site.desk.change(schema.instance, size_bytes=1_000_000_000)
    count = len(site.desk.rows(schema.instance))
    with site.visited(READER) as visitor:
        page = visitor.get("/system")
    blocked = f"{count}.0 GB of 1 study kept by persons, the oldest first: {uid_of(1)}"
    assert blocked in words_of(page)
    assert f'href="/studies/{uid_of(1)}"' in page
    assert re.search(r"\d+ % in use", words_of(page))


def test_a_study_shows_who_keeps_it_and_what_of_it_was_removed(site: Site) -> None:
    site.exam(1, URGENT)
    Keeping(site.desk.ledger).keep_study(uid_of(1), "court case <4711>", by="anna (command)")
    site.desk.change(schema.study, images_removed_at=now())
    with site.visited(READER) as visitor:
        said = words_of(visitor.get(f"/studies/{uid_of(1)}"))
    assert re.search(r"Kept since .* by anna \(command\) ?: court case <4711>", said)
    assert "Images removed" in said
    assert "Results removed" not in said


def test_a_study_shows_of_whom_its_images_are_asked_back_and_that_it_was_forgotten(
    site: Site,
) -> None:
    site.exam(1, URGENT)
    asking = {"study_uid": uid_of(1), "peer": "pacs", "attempts": 2, "error": "it is away"}
    with site.desk.ledger.writing() as db:
        db.execute(schema.asked_back.insert().values(asking | {"asked_at": 1.0, "next_at": 2.0}))
    forgotten = dict.fromkeys(("result", "brief", "score", "refusals"))
    site.desk.change(schema.analysis, **forgotten)
    site.desk.change(schema.study, recalled_at=now())
    with site.visited(READER) as visitor:
        said = words_of(visitor.get(f"/studies/{uid_of(1)}"))
        listed_words = words_of(visitor.get("/"))
    for page in (said, listed_words):
        assert "images asked back from pacs, 2 attempts: it is away" in page
        assert "pending" not in page
    assert "for something of it came; it had been forgotten" in said
    assert "what models said of it is forgotten" in said


def test_a_study_that_got_another_image_meanwhile_is_not_marked_as_read(site: Site) -> None:
    site.exam(1, URGENT, age_s=600)
    here = f"/studies/{uid_of(1)}"
    with site.visited(READER) as visitor:
        found = re.search(r'href="([^"]+/read\?[^"]+)"', visitor.get("/"))
        assert found
        address = found[1].replace("&amp;", "&")
        seen = re.search(r'name="seen" value="([^"]+)"', visitor.get(address))
        assert seen
        site.arrived(1)
        site.desk.change(schema.study, last_image_at=schema.study.c.last_image_at + 600)
        answer = visitor.post(f"{here}/read", at=address, seen=seen[1])
        assert answer.status_code == 409
        assert "more images" in answer.text
        assert listed(visitor.get("/")) == [uid_of(1)]


def test_a_study_that_rose_meanwhile_is_not_marked_as_read(site: Site) -> None:
    site.arrived(1)
    here = f"/studies/{uid_of(1)}"
    with site.visited(READER) as visitor:
        found = re.search(r'href="([^"]+/read\?[^"]+)"', visitor.get("/"))
        assert found
        address = found[1].replace("&amp;", "&")
        question = visitor.get(address)
        assert "It is still being received or analysed" in question
        seen = re.search(r'name="seen" value="([^"]+)"', question)
        assert seen
        site.desk.change(schema.study, level=Priority.NOT_ASSESSED)
        answer = visitor.post(f"{here}/read", at=address, seen=seen[1])
        assert answer.status_code == 409
        assert "has become not assessed" in answer.text
        found = re.search(r'href="([^"]+/read\?[^"]+)"', visitor.get("/"))
        assert found
        address = found[1].replace("&amp;", "&")
        seen = re.search(r'name="seen" value="([^"]+)"', visitor.get(address))
        assert seen
        assert visitor.post(f"{here}/read", at=address, seen=seen[1]).status_code == 303
        assert listed(visitor.get("/")) == []


def test_an_excluded_study_is_released_after_a_question(site: Site) -> None:
    site.excluded(1, "older than 30 days")
    here = f"/studies/{uid_of(1)}"
    with site.visited(READER) as visitor:
        assert "/release" not in visitor.get(here)
        assert "for operators" in visitor.get(f"{here}/release", status=403)
    with site.visited(OPERATOR) as visitor:
        assert f'href="{here}/release"' in visitor.get(here)
        assert "It is excluded: older than 30 days." in words_of(visitor.get(f"{here}/release"))
        done = visitor.post(f"{here}/release", at=f"{here}/release")
        assert "Released: it goes on." in visitor.get(done.headers["location"])
        assert "It is receiving now" in visitor.get(f"{here}/release")
    assert site.desk.history(uid_of(1))[-1].endswith(f"by hand by {OPERATOR}")


def test_a_study_that_was_released_does_not_say_what_it_was_excluded_for_as_if_it_still_was(
    site: Site,
) -> None:
    why = "study is 2524 days old (max_study_age_days = 90)"
    site.excluded(1, why)
    here = f"/studies/{uid_of(1)}"
    with site.visited(OPERATOR) as visitor:
        assert f"State excluded: {why}" in words_of(visitor.get(here))
        assert f'<li class="bad">excluded: {why}' in visitor.get(here)
        visitor.post(f"{here}/release", at=f"{here}/release")
        page, words = visitor.get(here), words_of(visitor.get(here))
        listed_words = words_of(visitor.get("/"))
    assert "State receiving Accession" in words
    assert "No model has said anything." in words
    assert f"<li>{why}, released by hand</li>" in page
    assert f"excluded: {why}" not in page.partition("<h2>History</h2>")[0]
    assert why not in listed_words


IDENTITY, PIXELS, DESTINATION = HeldBecause.IDENTITY, HeldBecause.PIXELS, HeldBecause.DESTINATION


@pytest.mark.parametrize(
    ("because", "next_step", "has_button"),
    [
        (IDENTITY, "correct it in the archive and send all its images again", False),
        (PIXELS, f"look at it; then `ai-node release {uid_of(1)}` lets it go on", True),
        (DESTINATION, "if it is wrong there, correct it there, then", True),
    ],
)
def test_a_held_study_says_what_to_do_next_and_has_a_button_only_where_one_helps(
    site: Site, because: HeldBecause, next_step: str, has_button: bool
) -> None:
    site.arrived(1)
    site.desk.change(schema.study, held_because=because, held_reason="two Patient IDs")
    here = f"/studies/{uid_of(1)}"
    with site.visited(OPERATOR) as visitor:
        page = visitor.get(here)
        question = words_of(visitor.get(f"{here}/release"))
    assert f"Next {next_step}" in words_of(page)
    assert ('id="release"' in page) == ("or Release, below" in page) == has_button
    assert ("Yes: release" in question) == has_button
    assert next_step in question or has_button


def test_who_may_not_release_is_told_the_command_and_who_may(site: Site) -> None:
    site.excluded(1, "older than 30 days")
    with site.visited() as visitor:
        page = words_of(visitor.get("/"))
        study = words_of(visitor.get(f"/studies/{uid_of(1)}"))
    assert "ai-node release UID , with a study's UID, releases one, or an operator" in page
    assert "pen one and release it" not in page
    assert f"`ai-node release {uid_of(1)}`" in study
    assert "or an operator who has logged in here (Release)" in study
    with site.visited(OPERATOR) as visitor:
        assert "Open one and release it" in visitor.get("/")


def test_results_that_were_refused_are_sent_again_after_a_question(site: Site) -> None:
    site.exam(1, URGENT, delivered=(DeliveryState.SENT, DeliveryState.REFUSED))
    here = f"/studies/{uid_of(1)}"
    with site.visited(OPERATOR) as visitor:
        assert "1 refused" in words_of(visitor.get(f"{here}/retry"))
        done = visitor.post(f"{here}/retry", at=f"{here}/retry")
        page = words_of(visitor.get(done.headers["location"]))
    assert "Its results are sent again." in page
    assert f"sent again to pacs by hand by {OPERATOR}" in page
    assert site.desk.objects() == ["queued", "sent"] or site.desk.objects() == ["sent", "queued"]


def test_results_that_wait_for_another_attempt_are_tried_now(site: Site) -> None:
    site.exam(1, URGENT, delivered=(DeliveryState.QUEUED,))
    here = f"/studies/{uid_of(1)}"
    with site.visited(OPERATOR) as visitor:
        asked = words_of(visitor.get(f"{here}/retry"))
        assert "what waits for another attempt is tried now" in asked
        visitor.post(f"{here}/retry", at=f"{here}/retry")
        page = words_of(visitor.get(here))
    assert f"tried at once at pacs, by hand by {OPERATOR}" in page
    assert {row["next_at"] for row in site.desk.rows(schema.dispatch)} == {None}


def test_results_that_were_given_up_are_not_called_queued(site: Site) -> None:
    site.exam(1, URGENT, delivered=(DeliveryState.QUEUED,))
    why = "pacs did not answer for 3 days"
    site.desk.change(schema.dispatch, state=DispatchState.DEAD, error=why, next_at=None)
    here = f"/studies/{uid_of(1)}"
    with site.visited(OPERATOR) as visitor:
        for address in ("/?show=failed", here, f"{here}/retry"):
            page = words_of(visitor.get(address))
            assert "pacs: 2 given up" in page
            assert "2 queued" not in page
        visitor.post(f"{here}/retry", at=f"{here}/retry")
        assert "pacs: 2 queued" in words_of(visitor.get(here))


def test_nobody_does_anything_without_a_login(site: Site) -> None:
    site.exam(1, URGENT)
    here = f"/studies/{uid_of(1)}"
    with site.visited() as visitor:
        page = visitor.get(here)
        assert "/read" not in page
        assert "Mark as read" not in visitor.get("/")
        for action in ("read", "unread", "release", "retry"):
            visitor.get(f"{here}/{action}", status=403)
            assert visitor.post(f"{here}/{action}", at="/").status_code == 403


# Banners


def test_a_node_that_is_ill_says_so_above_the_list_and_since_when(site: Site) -> None:
    with site.visited() as visitor:
        assert "cannot be trusted" not in words_of(visitor.get("/")).replace(
            "older than it should be: the order cannot be trusted", ""
        )
        ill = {OwnPart.LISTENER: Ill(1_764_000_000.0, "it has died")}
        site.desk.nodes.record_ill("node-1", ill)
        page = visitor.get("/")
    assert "The node is ill: the order of the reading list cannot be trusted." in page
    assert "it has died. Look into its log" in words_of(page)
    assert 'datetime="2025-11-24T' in page
    assert 'aria-live="polite"' in page


def test_no_node_at_all_is_ill(ledger: Ledger, store: Store, tmp_path: Path) -> None:
    with opened(store, ledger, tmp_path).visited() as visitor:
        page = words_of(visitor.get("/"))
    assert "no node listens" in page
    assert "no node works" in page


def test_a_page_says_by_its_style_alone_that_it_has_become_too_old(site: Site) -> None:
    with with_settings(site, refresh_s=4).visited() as visitor:
        page = visitor.get("/")
        style = visitor.client.get("/stale.css")
    assert 'http-equiv="refresh" content="4"' in page
    assert 'data-refresh-s="4' in page
    assert re.search(r"This page is from \d\d:\d\d:\d\d and older than it should be", page)
    assert style.headers["content-type"].startswith("text/css")
    assert "animation-delay: 10.000s" in style.text


def test_when_a_page_was_made_stands_in_what_is_renewed(site: Site) -> None:
    """The script takes over what is in <main>, and no more of the words."""
    site.exam(1, URGENT)
    with site.visited() as visitor:
        for address in ("/", f"/studies/{uid_of(1)}", "/system"):
            _, main, rest = re.split(r"<main [^>]*>|</main>", visitor.get(address))
            assert re.search(r"As of \d\d:\d\d:\d\d, renewed every 15 s", main)
            assert "As of" not in rest


def test_what_is_not_renewed_says_that_it_has_become_old_too(site: Site) -> None:
    """The result of a search by patient, which no address leads to, and a question."""
    site.exam(1, URGENT)
    with with_settings(site, shows="patient").visited(OPERATOR) as visitor:
        found = visitor.post("/search", at="/", by="patient", text="PH-0001").text
        question = visitor.get(f"/studies/{uid_of(1)}/read")
        error = visitor.get("/nothing", 404)
    for page in (found, question):
        assert re.search(r"This page is from \d\d:\d\d:\d\d and is not renewed", page)
        assert 'href="/stale.css"' in page
        assert "data-refresh-s" not in page
    assert "stale" not in error


def test_the_pages_need_no_style_or_script_within_them(site: Site) -> None:
    """The content security policy would not let it be."""
    site.exam(1, URGENT)
    with site.visited(OPERATOR) as visitor:
        for address in ("/", f"/studies/{uid_of(1)}", "/system", f"/studies/{uid_of(1)}/read"):
            page = visitor.get(address)
            assert " style=" not in page
            assert "<style" not in page
            assert not re.search(r"<script(?![^>]* src=)", page)
            assert not re.search(r"\son[a-z]+=", page)
            assert not re.search(r'(src|href)="(https?:)?//(?!viewer)', page)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "-"),
        (-1, "0.0 s"),
        (8.24, "8.2 s"),
        (31.4, "31 s"),
        (119, "119 s"),
        (180, "3 min"),
        (3900, "1 h 05 min"),
        (200_000, "2 d 7 h"),
    ],
)
def test_durations_are_said_as_people_say_them(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


def test_sizes_names_and_foreign_text_are_said_as_people_write_them() -> None:
    assert [size(count) for count in (12, 3_400_000_000, 250e9, 999_999)] == [
        *("12 B", "3.4 GB", "250 GB", "1.0 MB"),
    ]
    assert person_name("Doe^Jane^M^Dr") == "Doe, Jane M Dr"
    assert person_name("Yamada^Tarou=山田^太郎") == "Yamada, Tarou / 山田, 太郎"
    assert one_line("a\r\nb\u2028c\u202ed") == "a b cd"


def test_the_system_says_what_is_raised_and_who_was_told(site: Site) -> None:
    with site.visited() as visitor:
        assert "None is raised." in words_of(visitor.get("/system"))
        work = Alarming(site.ledger)
        trouble = Trouble("disk", "store_dir", 1, "3.2 GB <b>free</b>", "make room", 1000.0)
        work.raise_alarm(trouble, ["mail"], reminder_s=1e6, news_s=1e6)
        other = Trouble("clock", "a: clock", 1, "90 s ahead", "NTP", 1000.0)
        work.raise_alarm(other, [], reminder_s=1e6, news_s=1e6)
        said = words_of(visitor.get("/system"))
    assert "3.2 GB <b>free</b>" in said
    assert "make room" in said
    assert "Alarm 1, being told by mail." in said
    assert "Alarm 2, nobody is told: [alarms] names neither mail nor webhook." in said
    assert "not found any more" not in said
    site.desk.change(schema.alarm, seen_at=1000.0)
    with site.visited() as visitor:
        assert "soon over" in words_of(visitor.get("/system"))


def test_the_system_says_what_each_destination_is(site: Site) -> None:
    ris = HL7Settings(kind="hl7", name="ris", host="ris", port=1, models=(EXAMPLE.name,))
    site.config = site.config.model_copy(update={"destinations": (ris,)})
    with site.visited() as visitor:
        said = words_of(visitor.get("/system"))
    assert "Peers and destinations" in said
    assert "ris HL7, is told of levels none nothing" in said, "it never comes to us"
    assert "pacs receives never none" in said


def test_volumes_stand_in_what_models_say_what_counts_first_and_what_does_not_as_such(
    site: Site,
) -> None:
    ml, volume = Code("ml", "UCUM", "milliliter"), Code("118565006", "SCT", "Volume")
    washout = Code("WASHOUT-ML", "99T", "Of it washout")
    counted = Solid(
        "L breast enhancing volume",
        Code("ENHANCING", "99T", "Enhancing volume"),
        Laterality.LEFT,
        (Measurement(volume, 2.54, ml), Measurement(washout, 0.8, ml)),
        bits=packed(np.zeros((1, 1, 1), bool)),
        of_it=("washout",),
    )
    wall = replace(
        counted,
        label="L chest wall",
        measurements=(Measurement(volume, 58.128, ml),),
        is_left_out=True,
    )
    study_uid = site.exam(1, solids=(wall, counted))
    with site.visited() as visitor:
        shown = visitor.get(f"/studies/{study_uid}").partition("What models say")[2]
    rows = [
        tuple(re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL))
        for row in re.findall(r"<tr role=\"row\">(.*?)</tr>", shown.partition("</table>")[0])
    ]
    volumes = [row for row in rows if row[2].endswith(" ml")]
    assert volumes == [
        ("L breast enhancing volume", "Volume", "2.5 ml"),
        ("L breast enhancing volume", "Of it washout", "0.8 ml"),
        ("L chest wall (left out)", "Volume", "58.1 ml"),
    ]
    assert rows[1] == volumes[0], "what counts stands first"
    assert rows[-1] == volumes[2], "and what does not last"
