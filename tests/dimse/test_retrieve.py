"""What is asked back by C-GET and C-MOVE, and in words why it does not come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import factories
import pytest
from factories import L_CC, R_CC
from giving import GET, MOVE, GivingArchive
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLossless

from node.dimse import Address, Bounds, Keep, Retrieval, Retrieved, WantedObject
from node.dimse.retrieve import _by_contexts, get_objects, move_objects
from node.dimse.status import OUT_OF_RESOURCES, SUCCESS
from node.errors import DeliveryError, Unsupported

from .places import NODE, within

BOUNDS = Bounds(whole_s=60)
Open = Callable[..., GivingArchive]


@pytest.fixture
def open_giving() -> Iterator[Open]:
    opened: list[GivingArchive] = []

    def start(*args: object, **kwargs: object) -> GivingArchive:
        opened.append(GivingArchive(*args, **kwargs))  # type: ignore[arg-type]
        return opened[-1]

    yield start
    for archive in opened:
        archive.close()


@pytest.fixture(scope="module")
def exam() -> list[Dataset]:
    return factories.exam("asked back", [R_CC, L_CC])


def wanted(exam: list[Dataset], *, is_whole: bool = False) -> Retrieval:
    objects = [
        WantedObject(
            one.SeriesInstanceUID,
            one.SOPInstanceUID,
            one.SOPClassUID,
            one.file_meta.TransferSyntaxUID,
        )
        for one in exam
    ]
    return Retrieval(exam[0].StudyInstanceUID, objects, is_whole)


def address(archive: GivingArchive) -> Address:
    return Address("GIVING", "127.0.0.1", archive.port, 20)


def get(
    archive: GivingArchive,
    retrieval: Retrieval,
    folder: Path,
    take: Callable[[Path], int] = lambda path: SUCCESS,
    bounds: Bounds = BOUNDS,
) -> Retrieved:
    return get_objects(retrieval, address(archive), NODE, Keep(folder, take), bounds)


def test_only_what_is_wanted_is_asked_for_and_each_is_kept_as_it_comes(
    open_giving: Open, exam: list[Dataset], tmp_path: Path
) -> None:
    archive = open_giving(exam)
    kept: list[str] = []

    def take(path: Path) -> int:
        kept.append(dcmread(path).SOPInstanceUID)
        return SUCCESS

    assert get(archive, wanted(exam[:1]), tmp_path, take) == Retrieved(1, 0)
    assert kept == [exam[0].SOPInstanceUID]
    assert list(tmp_path.iterdir()) == []
    assert get(archive, wanted(exam[:1], is_whole=True), tmp_path, take) == Retrieved(2, 0)
    assert len(kept) == 3


def test_what_cannot_be_kept_is_told_to_the_archive_and_leaves_no_file(
    open_giving: Open, exam: list[Dataset], tmp_path: Path
) -> None:
    archive = open_giving(exam)
    got = get(archive, wanted(exam), tmp_path, lambda path: OUT_OF_RESOURCES)
    assert (got.completed, got.failed > 0) == (0, True)
    assert got.words.startswith("GIVING")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0xA701, "out of resources: it cannot count what matches"),
        (0xA702, "out of resources: it cannot send"),
        (0xA900, "it does not understand the request"),
        (0xC123, "it cannot do it"),
        (0xFE00, "cancelled"),
    ],
)
def test_each_refusal_is_said_in_words(
    status: int, words: str, open_giving: Open, exam: list[Dataset], tmp_path: Path
) -> None:
    archive = open_giving(exam)
    archive.status = status
    got = get(archive, wanted(exam), tmp_path)
    assert got.words == f"GIVING answered C-GET with 0x{status:04X} ({words})"


def test_an_archive_that_does_not_know_us_as_a_destination_is_told_apart(
    open_giving: Open, exam: list[Dataset]
) -> None:
    archive = open_giving(exam)
    got = move_objects(wanted(exam), address(archive), NODE, "AINODE", BOUNDS)
    assert got.words == (
        "GIVING answered C-MOVE with 0xA801 (it does not know AINODE: enter it there, with this "
        "node's address and port)"
    )


def test_a_service_that_is_not_offered_is_no_matter_of_asking_again(
    open_giving: Open, exam: list[Dataset], tmp_path: Path
) -> None:
    with pytest.raises(Unsupported, match="does not offer C-GET"):
        get(open_giving(offers=[MOVE]), wanted(exam), tmp_path)
    with pytest.raises(Unsupported):
        move_objects(wanted(exam), address(open_giving(offers=[GET])), NODE, "AINODE", BOUNDS)


def test_an_archive_that_breaks_off_within_an_object_leaves_no_file(
    open_giving: Open, exam: list[Dataset], tmp_path: Path
) -> None:
    archive = open_giving(exam)
    archive.parts_sent = 5  # a command, and the data set in parts of 4 kB
    written: list[Path] = []

    def wait_for_the_beginning() -> None:
        give_up_at = time.monotonic() + 20
        while not written and time.monotonic() < give_up_at:
            written.extend(path for path in tmp_path.iterdir() if path.stat().st_size > 4096)

    archive.before_it_breaks_off = wait_for_the_beginning
    with pytest.raises(DeliveryError, match="GIVING has not answered C-GET to its end"):
        get(archive, wanted(exam), tmp_path)
    assert len(written) == 1
    assert list(tmp_path.iterdir()) == []


def test_what_takes_too_long_is_broken_off(
    open_giving: Open, exam: list[Dataset], tmp_path: Path
) -> None:
    archive, is_over = open_giving(exam), threading.Event()

    def wait() -> None:
        is_over.wait(20)

    archive.before_each = wait

    def ask() -> None:
        with pytest.raises(DeliveryError, match="has not answered C-GET to its end"):
            get(archive, wanted(exam), tmp_path, bounds=Bounds(whole_s=0.5))

    within(15, ask)
    is_over.set()


def test_whoever_asked_may_break_it_off(
    open_giving: Open, exam: list[Dataset], tmp_path: Path
) -> None:
    archive, is_over = open_giving(exam), threading.Event()
    ends: list[Callable[[], None]] = []

    def end() -> None:
        ends[0]()
        is_over.wait(20)

    archive.before_each = end
    with pytest.raises(DeliveryError):
        get(archive, wanted(exam), tmp_path, bounds=Bounds(60, ends.append))
    is_over.set()


def test_no_association_has_more_than_128_presentation_contexts() -> None:
    syntaxes = (ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLossless)
    objects = [
        WantedObject("1.2", f"1.3.{n}", f"1.2.3.{n // 3}", syntaxes[n % 3]) for n in range(300)
    ]
    for is_whole in (False, True):
        parts = _by_contexts(Retrieval("1.1", objects, is_whole))
        assert max(map(len, parts)) <= 127
        offered = {
            (sop_class, syntax) for part in parts for sop_class, all_ in part for syntax in all_
        }
        assert {(one.sop_class, one.transfer_syntax) for one in objects} <= offered


def test_many_uids_are_asked_for_in_portions_of_one_series_each() -> None:
    objects = [WantedObject(f"1.2.{n % 2}", f"1.3.{n}", "1.4", "1.5") for n in range(250)]
    asked = list(Retrieval("1.1", objects).identifiers())
    assert [len(one.SOPInstanceUID) for one in asked] == [100, 25, 100, 25]
    assert {one.QueryRetrieveLevel for one in asked} == {"IMAGE"}
