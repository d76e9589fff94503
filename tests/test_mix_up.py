"""No result in another patient's file, however much comes at once.

Studies of many patients are sent by two rooms, interleaved over shared associations, repeated,
sent again in another encoding, completed late and corrected, all at random. Every image has a
code of its own, drawn into its pixels, and the network is a real one that reads it: the area of
the only bright region. Its grey is a second code, which is found again in what was drawn.
"""

from __future__ import annotations

import copy
import itertools
import os
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import small_images
import small_models
from factories import R_MLO
from numpy.typing import NDArray
from peers import COMMITMENT, FIND, Archive, Received, association, modality, report_of
from pydicom import Dataset, uid
from pydicom.encaps import encapsulate
from pynetdicom import build_context
from pynetdicom.association import Association

from node import config
from node.app import App
from node.overview import study_overviews
from node.study import Laterality, View
from node.trial import phantom
from node.trial.phantom import Patient, Technique

pytestmark = [
    pytest.mark.interop,  # for its length
    pytest.mark.timeout(1500),
    pytest.mark.xdist_group("mix-up"),  # one hospital for all
]

SEED = int(os.environ.get("MIX_UP_SEED") or random.randrange(10**6))
PATIENTS = 20
DONE_WITHIN_S = 500

ROOMS = {"ROOM1": "archive-1", "ROOM2": "archive-2"}
"""Who sends, and where the results of what they send belong."""
SENDERS_PER_ROOM = 2
OBJECTS_PER_ASSOCIATION = 9

TINY = Technique(rows=small_models.SIZE, columns=small_models.SIZE, spacing_mm=5)
PIXEL_CM2 = 0.25
WIDTH_PX = 20
SYNTAXES = (
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.RLELossless,
    uid.JPEGLSLossless,
    uid.JPEG2000Lossless,
)
NAMES = ("Müller^Änne", "Müller^Anne", "Nováková^Jana", "Doe^Jane", "Østergård^Åse", "Roe^Ann")


@dataclass(frozen=True, slots=True, order=True)
class Code:
    """What is drawn into an image: how large its bright region is, and how bright."""

    number: int

    @property
    def pixels(self) -> int:
        return 300 + 4 * self.number

    @property
    def area_cm2(self) -> float:
        return self.pixels * PIXEL_CM2

    @property
    def grey(self) -> int:
        """Of 255, on a display."""
        return 140 + self.number


@dataclass(frozen=True, slots=True)
class Shown:
    """An image that was sent."""

    view: View
    code: Code


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose a study is."""

    patient_id: str
    name: str
    birth_date: str
    accession_number: str

    @classmethod
    def of(cls, dataset: Dataset) -> Identity:
        return cls(
            dataset.PatientID,
            str(dataset.PatientName),
            dataset.PatientBirthDate,
            dataset.AccessionNumber,
        )


@dataclass(slots=True)
class Truth:
    """What is known of a study by those who sent it."""

    archive: str
    images: dict[str, Shown]
    """By SOP Instance UID."""
    identities: list[Identity]
    """The one it was sent with, then each correction."""
    asserted_at: list[float]
    """When the first object that says so was sent, of each identity."""
    acknowledged_at: list[float]
    """When the node had answered that object."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A result that came to an archive."""

    archive: str
    at: float
    header: Dataset
    """Without its pixels."""
    greys: tuple[int, ...] = ()
    """The greys of its pictures, the one that covers most of them first."""

    @property
    def study(self) -> str:
        return str(self.header.StudyInstanceUID)

    @property
    def version(self) -> int:
        return int(self.header.InstanceNumber - 1) // 1000 + 1


# What must hold


def verdict(truths: dict[str, Truth], sightings: Sequence[Sighting]) -> list[str]:
    """Return what is wrong with the results of all studies."""
    problems = []
    by_study: dict[str, list[Sighting]] = defaultdict(list)
    for seen in sorted(sightings, key=lambda seen: seen.at):
        by_study[seen.study].append(seen)
    for study in by_study.keys() - truths.keys():
        problems.append(f"{study}: a result of a study that nobody sent")
    for study, truth in truths.items():
        problems += [
            f"{study}: {problem}"
            for problem in (
                *itertools.chain(*(wrong_in_object(truth, seen) for seen in by_study[study])),
                *wrong_in_order(truth, by_study[study]),
                *wrong_in_newest(truth, by_study[study]),
            )
        ]
    return problems


def wrong_in_object(truth: Truth, seen: Sighting) -> Iterator[str]:
    """Yield what no single result may say, whenever it came."""
    header = seen.header
    if seen.archive != truth.archive:
        yield f"came to {seen.archive}"
    if Identity.of(header) not in truth.identities:
        yield "names somebody whose study this never was"
    elif seen.at < truth.asserted_at[truth.identities.index(Identity.of(header))]:
        yield "names somebody before anybody said so"
    for element in header.iterall():
        if element.keyword == "StudyInstanceUID" and element.value != seen.study:
            yield f"refers to the study {element.value}"
    if not set(references(header)) <= truth.images.keys():
        yield "refers to an image of another study"
    elif header.Modality == "SR":
        yield from wrong_in_report(truth, header)
    else:
        yield from wrong_in_capture(truth, seen)


def wrong_in_report(truth: Truth, header: Dataset) -> Iterator[str]:
    """Yield what a report says of an image that is true of another."""
    for label, side, sop_uid, area_cm2 in measured_regions(header):
        shown = truth.images[sop_uid]
        if abs(area_cm2 - shown.code.area_cm2) > 0.4:
            yield f"measures {area_cm2} in {shown}"
        if label != f"{shown.view} outline" or side != shown.view.laterality:
            yield f"takes {shown} for {label}, {side}"
    for label, percent, sop_uids in differences(header):
        pair = [truth.images[sop_uid] for sop_uid in sop_uids]
        if [f"{shown.view}" for shown in pair] != [f"R {label}", f"L {label}"]:
            yield f"compares {pair} as {label}"
        right, left = (shown.code.area_cm2 for shown in pair)
        if abs(percent - 100 * abs(right - left) / max(right, left)) > 0.5:
            yield f"compares {pair}: {percent} %"


def wrong_in_capture(truth: Truth, seen: Sighting) -> Iterator[str]:
    """Yield what a picture shows that is not in the images it names."""
    shown = [truth.images[sop_uid] for sop_uid in dict.fromkeys(references(seen.header))]
    by_view: dict[View, Code] = {}
    for one in shown:  # of a view that was taken twice, the page shows the one with more to see
        by_view[one.view] = max(by_view.get(one.view, one.code), one.code)
    greys = {code.grey for code in by_view.values()}
    if set(seen.greys[: len(greys)]) != greys:
        yield f"shows the greys {seen.greys[: len(greys)]} instead of {sorted(greys)}"
    is_summary = seen.header.InstanceNumber % 1000 == 1
    side = "B" if is_summary else str(shown[0].view.laterality)
    if seen.header.ImageLaterality != side or (len(shown) > 1 and not is_summary):
        yield f"says {seen.header.ImageLaterality} of {shown}"


def wrong_in_order(truth: Truth, seen: Sequence[Sighting]) -> Iterator[str]:
    """Yield what came later than it may.

    Once the first object of a correction has been acknowledged, the node begins to send nothing
    more under the former identity. It looks before each object, so one may be on its way.
    """
    versions = [one.version for one in seen]
    if versions != sorted(versions):
        yield "an older version came after a newer"
    said = list(zip(truth.identities, truth.asserted_at, strict=True))
    for number, (former, at) in enumerate(
        zip(truth.identities, truth.acknowledged_at[1:], strict=False)
    ):
        again = (begun for identity, begun in said[number + 1 :] if identity == former)
        until = next(again, float("inf"))  # unless the correction was taken back
        late = [one for one in seen if at < one.at < until and Identity.of(one.header) == former]
        if len(late) > 1:
            yield f"{len(late)} results came under a former identity"


def wrong_in_newest(truth: Truth, seen: Sequence[Sighting]) -> Iterator[str]:
    """Yield what the last report set lacks, or still says."""
    newest = [one for one in seen if one.version == max(one.version for one in seen)]
    if {Identity.of(one.header) for one in newest} != {truth.identities[-1]}:
        yield "its newest results do not name its patient"
    sets = Counter(frozenset(references(one.header)) for one in newest)
    all_of_them = frozenset(truth.images)
    singles = {frozenset([sop_uid]): 1 for sop_uid in truth.images}
    if dict(sets) != {all_of_them: 2} | singles:  # report and summary, and each view
        yield f"its newest results are of {len(sets)} sets of images"


def references(header: Dataset) -> Iterator[str]:
    """Yield every image that an object refers to."""
    for top in header:
        if top.keyword == "PredecessorDocumentsSequence":
            continue
        for item in top.value if top.VR == "SQ" else ():
            for element in item.iterall():
                if element.keyword == "ReferencedSOPInstanceUID":
                    yield str(element.value)


def measured_regions(report: Dataset) -> Iterator[tuple[str, str, str, float]]:
    """Yield label, side, image and area of each region."""
    for group in named(report, "125007"):
        (label,) = named(group, "112039")
        (side,) = named(group, "272741003")
        (region,) = named(group, "111030")
        (area,) = named(group, "42798000")
        (image,) = region.ContentSequence
        yield (
            label.TextValue,
            side.ConceptCodeSequence[0].CodeMeaning[0],
            image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID,
            float(area.MeasuredValueSequence[0].NumericValue),
        )


def differences(report: Dataset) -> Iterator[tuple[str, float, list[str]]]:
    """Yield projection, percentage and images of each comparison of right and left."""
    for number in itertools.chain(*(d.ContentSequence for d in named(report, "126011"))):
        (label,) = named(number, "112039")
        yield (
            label.TextValue.split()[0],
            float(number.MeasuredValueSequence[0].NumericValue),
            [
                image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
                for image in number.ContentSequence
                if image.ValueType == "IMAGE"
            ],
        )


def named(item: Dataset, code: str) -> list[Dataset]:
    """Return the content items below with this concept name."""
    found = []
    for child in item.get("ContentSequence", ()):
        if child.ConceptNameCodeSequence[0].get("CodeValue") == code:
            found.append(child)
        found += named(child, code)
    return found


# Who sends


@dataclass(slots=True)
class Step:
    """Objects of one study that may go in any order."""

    objects: list[Dataset]
    is_ready: Callable[[], bool] = lambda: True
    corrects: Identity | None = None
    room: str | None = None
    """Who sends it, if not the room of the study."""
    left: int = 0
    """How many have not been answered."""


@dataclass(slots=True)
class Journey:
    """What is still to be sent of a study, step by step."""

    room: str
    truth: Truth
    steps: list[Step]


class Hospital:
    """Two rooms that send, two archives that take results, and what they know between them."""

    def __init__(self, rng: random.Random) -> None:
        self.truths: dict[str, Truth] = {}
        self.sightings: list[Sighting] = []
        self.failures: list[str] = []
        self._rng = rng
        self._journeys: list[Journey] = []
        self._lock = threading.Lock()
        self._kept: dict[str, set[tuple[str, str]]] = defaultdict(set)
        """(series, object) of each archive."""

    def plan(self, journey: Journey, study: str) -> None:
        self.truths[study] = journey.truth
        self._journeys.append(journey)

    def seen(self, study: str) -> int:
        """Return how many results of a study have come."""
        return sum(seen.study == study for seen in tuple(self.sightings))

    def send_all(self, port: int) -> None:
        """Send everything, from several associations at once."""
        senders = [
            threading.Thread(target=self._send, args=(port, room))
            for room in ROOMS
            for _ in range(SENDERS_PER_ROOM)
        ]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()

    def _send(self, port: int, room: str) -> None:
        give_up_at = time.monotonic() + DONE_WITHIN_S
        while any(journey.steps for journey in self._journeys) and not self.failures:
            if time.monotonic() > give_up_at:
                self.failures.append("some results did not come in time to go on")
            taken = self._take(room)
            if taken is None:
                time.sleep(0.02)
                continue
            contexts = [build_context(taken[1].SOPClassUID, syntax) for syntax in SYNTAXES]
            with association(port, contexts, room) as opened:
                for _ in range(OBJECTS_PER_ASSOCIATION):
                    self._store(opened, *taken)
                    taken = self._take(room)
                    if taken is None:
                        break
                else:
                    self._put_back(*taken)

    def _take(self, room: str) -> tuple[Journey, Dataset] | None:
        with self._lock:
            journeys = [
                journey
                for journey in self._journeys
                if journey.steps
                and (journey.steps[0].room or journey.room) == room
                and journey.steps[0].objects
                and journey.steps[0].is_ready()
            ]
            if not journeys:
                return None
            journey = self._rng.choice(journeys)
            step = journey.steps[0]
            if step.corrects and step.corrects != journey.truth.identities[-1]:
                journey.truth.identities.append(step.corrects)
                journey.truth.asserted_at.append(time.monotonic())
            step.left = step.left or len(step.objects)
            return journey, step.objects.pop(self._rng.randrange(len(step.objects)))

    def _put_back(self, journey: Journey, dataset: Dataset) -> None:
        with self._lock:
            journey.steps[0].objects.append(dataset)

    def _store(self, opened: Association, journey: Journey, dataset: Dataset) -> None:
        status = opened.send_c_store(dataset).get("Status")
        with self._lock:
            if status != 0x0000:
                self.failures.append(f"answered {status}")
            truth = journey.truth
            if len(truth.acknowledged_at) < len(truth.identities):
                truth.acknowledged_at.append(time.monotonic())
            journey.steps[0].left -= 1
            if not journey.steps[0].left:
                del journey.steps[0]

    # The archives

    def attach(self, archive: Archive, name: str) -> None:
        """Let an archive tell what it knows, and keep little of what it gets."""
        archive.answer = lambda received: self._see(archive, name, received)
        archive.find = lambda query: self._find(name, query)
        archive.commit = lambda request, association: self._commit(
            archive, name, request, association
        )

    def _see(self, archive: Archive, name: str, received: Received) -> int:
        at = time.monotonic()
        header = received.read()
        greys = () if header.Modality == "SR" else largest_greys(header.pixel_array)
        header.pop("PixelData", None)
        with self._lock:
            self.sightings.append(Sighting(name, at, header, greys))
            self._kept[name].add((header.SeriesInstanceUID, header.SOPInstanceUID))
            archive.received.clear()
        return 0x0000

    def _find(self, name: str, query: Dataset) -> Iterator[tuple[int, Dataset | None]]:
        """Answer as the archive in which the corrections were made."""
        match = copy.deepcopy(query)
        if query.QueryRetrieveLevel == "STUDY":
            identity = self.truths[query.StudyInstanceUID].identities[-1]
            match.PatientID = identity.patient_id
            match.AccessionNumber = identity.accession_number
            yield 0xFF00, match
            return
        for series, sop_uid in tuple(self._kept[name]):
            if series == query.SeriesInstanceUID:
                match.SOPInstanceUID = sop_uid
                yield 0xFF00, match

    def _commit(
        self, archive: Archive, name: str, request: Dataset, association: Association
    ) -> int:
        asked = [str(item.ReferencedSOPInstanceUID) for item in request.ReferencedSOPSequence]
        kept = {sop_uid for _, sop_uid in self._kept[name]}
        assert kept.issuperset(asked)
        report = report_of(request.TransactionUID, asked)
        archive.report_later(association, report)
        return 0x0000


def largest_greys(pixels: NDArray[np.uint8]) -> tuple[int, ...]:
    """Return the greys that are neither the page's nor its letters', by how much they cover."""
    pixels = pixels[::3, ::3]  # enough to tell, and quick
    is_grey = (pixels[..., 0] == pixels[..., 1]) & (pixels[..., 1] == pixels[..., 2])
    counts = np.bincount(pixels[..., 0][is_grey], minlength=256)
    first, last = Code(0).grey, Code(4 * PATIENTS + 10).grey
    return tuple(sorted(range(first, last), key=lambda grey: -counts[grey]))


# What is sent


def drawn(view: View, code: Code) -> NDArray[np.uint16]:
    """Return an image with one bright region at the chest wall."""
    values = np.zeros((TINY.rows, TINY.columns), np.uint16)
    flat = np.zeros(TINY.rows * WIDTH_PX, np.uint16)
    flat[10 * WIDTH_PX : 10 * WIDTH_PX + code.pixels] = round(code.grey / 255 * 4095)
    region = flat.reshape(TINY.rows, WIDTH_PX)
    if view.laterality is Laterality.LEFT:
        values[:, :WIDTH_PX] = region
    else:
        values[:, -WIDTH_PX:] = region[:, ::-1]
    return values


def in_syntax(dataset: Dataset, syntax: uid.UID) -> Dataset:
    """Return an uncompressed object in another encoding."""
    again = copy.deepcopy(dataset)
    again.file_meta.TransferSyntaxUID = syntax
    if syntax.is_compressed:
        values = np.frombuffer(dataset.PixelData, "<u2").reshape(dataset.Rows, dataset.Columns)
        again.PixelData = encapsulate([small_images.encoded(values, syntax)])
        again["PixelData"].VR = "OB"
        again["PixelData"].is_undefined_length = True
    return again


def corrected(dataset: Dataset, identity: Identity) -> Dataset:
    """Return the object as it is sent once somebody has found out whose it is."""
    again = copy.deepcopy(dataset)
    again.PatientID, again.PatientName = identity.patient_id, identity.name
    again.PatientBirthDate, again.AccessionNumber = identity.birth_date, identity.accession_number
    return again


class Planner:
    """Makes up the studies and what happens to them."""

    def __init__(self, rng: random.Random, hospital: Hospital) -> None:
        self.rng = rng
        self.hospital = hospital
        self._codes = map(Code, itertools.count())
        self._twin = next(self._codes)
        """Of one view of two patients: their images are the same to the last pixel."""

    def plan(self) -> None:
        """Plan all journeys; the places of those to whom something happens are by chance."""
        places = self.rng.sample(range(PATIENTS), PATIENTS)
        studies = [self._study(place, views=phantom.EXAM) for place in places[:-4]]
        studies += [self._study(place, views=(*phantom.EXAM, R_MLO)) for place in places[-4:]]
        happenings = (
            *(self._late, self._late, self._late, self._resent, self._resent),
            *(self._encoded_anew, self._encoded_anew),
            *(self._corrected, self._corrected, self._corrected, self._corrected_twice),
            *(self._renamed, self._taken_back),
            *(self._corrected_and_resent, self._corrected_and_late),
        )
        for happen, (journey, images) in zip(happenings, studies, strict=False):
            happen(journey, images)
        self._swap(*studies[len(happenings) : len(happenings) + 2])

    def _study(self, place: int, views: Sequence[View]) -> tuple[Journey, list[Dataset]]:
        # Neighbours share a name and a birth date, every fifth one the patient with the next.
        patient = Patient(
            patient_id=f"PID-{place // 5 if place % 5 < 2 else 100 + place}",
            name=NAMES[place // 2 % len(NAMES)],
            birth_date=f"19{60 + place // 4}0101",
        )
        images = phantom.exam(f"mix-up {place}", views, patient=patient, technique=TINY)
        truth_images = {}
        for number, (image, view) in enumerate(zip(images, views, strict=True)):
            image.SpecificCharacterSet = "ISO_IR 192"
            is_twin = place in (0, PATIENTS // 2 + 1) and number == 0
            shown = Shown(view, self._twin if is_twin else next(self._codes))
            image.PixelData = drawn(view, shown.code).tobytes()
            truth_images[str(image.SOPInstanceUID)] = shown
        room = list(ROOMS)[place % 2]
        identity = Identity.of(images[0])
        truth = Truth(ROOMS[room], truth_images, [identity], [0.0], [0.0])
        syntax = self.rng.choice(SYNTAXES)
        encoded = [in_syntax(image, syntax) for image in images]
        twice = [image for image in encoded if self.rng.random() < 0.2]
        journey = Journey(room, truth, [Step(encoded + twice)])
        self.hospital.plan(journey, str(images[0].StudyInstanceUID))
        return journey, images

    def _somewhen(self, images: Sequence[Dataset]) -> Callable[[], bool]:
        """Return a condition: at once, in the midst of a delivery, or after it."""
        study = str(images[0].StudyInstanceUID)
        results = self.rng.choice([0, 1, 3, len(images) + 2])
        return lambda: self.hospital.seen(study) >= results

    def _late(self, journey: Journey, images: list[Dataset]) -> None:
        (first,) = journey.steps
        late = images[-1].SOPInstanceUID
        journey.steps = [
            Step([image for image in first.objects if image.SOPInstanceUID != late]),
            Step(
                [image for image in first.objects if image.SOPInstanceUID == late],
                lambda: self.hospital.seen(str(images[0].StudyInstanceUID)) > 0,
            ),
        ]

    def _resent(self, journey: Journey, images: list[Dataset]) -> None:
        journey.steps.append(Step(list(journey.steps[0].objects), self._somewhen(images)))

    def _encoded_anew(self, journey: Journey, images: list[Dataset]) -> None:
        syntax = self.rng.choice(SYNTAXES)
        again = [in_syntax(image, syntax) for image in images]
        journey.steps.append(Step(again, self._somewhen(images)))

    def _corrected(self, journey: Journey, images: list[Dataset]) -> None:
        known = [truth.identities[-1] for truth in self.hospital.truths.values()]
        other = self.rng.choice(known)  # of whom there are other studies
        number = journey.truth.identities[0].accession_number
        self._correct(journey, images, replace(other, accession_number=number))

    def _renamed(self, journey: Journey, images: list[Dataset]) -> None:
        """Nothing contradicts this while only some of the images say so."""
        identity = replace(journey.truth.identities[0], name="Married^Name")
        self._correct(journey, images, identity)

    def _corrected_twice(self, journey: Journey, images: list[Dataset]) -> None:
        number = journey.truth.identities[0].accession_number
        self._correct(journey, images, Identity("NEW-1", "Lund^Eva", "19700101", number))
        self._correct(journey, images, Identity("NEW-2", "Lund^Ebba", "19710101", f"{number}B"))

    def _taken_back(self, journey: Journey, images: list[Dataset]) -> None:
        first = journey.truth.identities[0]
        self._correct(journey, images, replace(first, patient_id="WRONG", name="Wrong^Name"))
        self._correct(journey, images, first)

    def _corrected_and_resent(self, journey: Journey, images: list[Dataset]) -> None:
        """The other room, which knows nothing of the correction, sends what it has."""
        former = [in_syntax(image, self.rng.choice(SYNTAXES)) for image in images]
        former += journey.steps[0].objects
        self._corrected_twice(journey, images)
        (other,) = ROOMS.keys() - {journey.room}
        journey.steps.append(Step(former, self._somewhen(images), room=other))

    def _corrected_and_late(self, journey: Journey, images: list[Dataset]) -> None:
        """The late view comes under the former identity, and is corrected at last."""
        (first,) = journey.steps
        late = images[-1].SOPInstanceUID
        journey.steps = [Step([i for i in first.objects if i.SOPInstanceUID != late])]
        identity = replace(journey.truth.identities[0], patient_id="NEW-3", name="Ek^Ida")
        self._correct(journey, images[:-1], identity)
        journey.steps.append(Step([i for i in first.objects if i.SOPInstanceUID == late]))
        self._correct(journey, images[-1:], identity)
        journey.steps[-1].is_ready = lambda: True  # while it is held, no result comes

    def _correct(self, journey: Journey, images: Sequence[Dataset], identity: Identity) -> None:
        is_ready = self._somewhen(images)
        if self.rng.random() < 0.5:
            images = [in_syntax(image, self.rng.choice(SYNTAXES)) for image in images]
        again = [corrected(image, identity) for image in images]
        journey.steps.append(Step(again, is_ready, corrects=identity))

    def _swap(
        self, one: tuple[Journey, list[Dataset]], other: tuple[Journey, list[Dataset]]
    ) -> None:
        """Two patients were taken for each other."""
        identities = one[0].truth.identities[0], other[0].truth.identities[0]
        for (journey, images), right in zip((other, one), identities, strict=True):
            number = journey.truth.identities[0].accession_number
            self._correct(journey, images, replace(right, accession_number=number))


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    """Everything that was sent, and every result that came of it."""
    print(f"MIX_UP_SEED={SEED}")  # noqa: T201 - to repeat it
    rng = random.Random(SEED)
    hospital = Hospital(rng)
    Planner(rng, hospital).plan()
    archives = {
        "archive-1": Archive("ARCHIVE1", offers=[FIND, COMMITMENT]),
        "archive-2": Archive("ARCHIVE2", offers=[FIND]),
    }
    for name, archive in archives.items():
        hospital.attach(archive, name)
    node = App(settings(tmp_path_factory.mktemp("node"), archives))
    node.start()
    try:
        hospital.send_all(node.port)
        wait_until_done(node)
    finally:
        node.stop()
        for archive in archives.values():
            archive.close()
    yield hospital


def settings(folder: Path, archives: dict[str, Archive]) -> config.Config:
    small_models.model(folder, small_models.BRIGHT)
    return config.Config(
        node=config.Node(
            ae_title="AINODE", state_dir=folder / "state", models_dir=folder, min_free_mb=0
        ),
        listener=config.ListenerSettings(host="127.0.0.1", port=0),
        peers=(
            *(modality(name=r, ae_title=r, results_to=[archive]) for r, archive in ROOMS.items()),
            *(archive.peer(name) for name, archive in archives.items()),
        ),
        models=(config.ChosenModel(name="small", mode="deliver"),),
        completeness=config.Completeness(settle_s=0.4, quiet_s=1),
        intake=config.Intake(max_study_age_days=0),
        delivery=config.Delivery(retry_first_s=0.5, retry_max_s=0.5),
    )


def wait_until_done(node: App) -> None:
    give_up_at = time.monotonic() + DONE_WITHIN_S
    while time.monotonic() < give_up_at:
        studies = study_overviews(node.ledger)
        if all(study.state == "done" for study in studies):
            return
        time.sleep(0.3)
    pytest.fail(f"{[study for study in study_overviews(node.ledger) if study.state != 'done']}")


def test_every_result_names_its_own_patient_and_says_what_is_true_of_him(
    hospital: Hospital,
) -> None:
    assert hospital.failures == []
    assert verdict(hospital.truths, hospital.sightings) == []
    assert len(hospital.truths) == PATIENTS


# That it would be noticed


def found(
    hospital: Hospital, sightings: Sequence[Sighting], *, is_capture: bool = False
) -> list[Sighting]:
    """Return a newest report, or single picture, of each of two studies of one archive."""
    newest = {seen.study: seen.version for seen in sorted(sightings, key=lambda s: s.version)}
    ones: dict[str, Sighting] = {}
    for seen in sightings:
        is_single = len(set(references(seen.header))) == 1
        is_wanted = is_single if is_capture else seen.header.Modality == "SR"
        if seen.archive == "archive-1" and seen.version == newest[seen.study] and is_wanted:
            ones[seen.study] = seen
    # Of two patients, and neither of whom was ever taken for the other.
    by_patient = {}
    for seen in ones.values():
        truth = hospital.truths[seen.study]
        if len(truth.identities) == 1:
            by_patient[truth.identities[0].patient_id] = seen
    return list(by_patient.values())[:2]


def exchange(sightings: Sequence[Sighting], one: Sighting, changed: Sighting) -> list[Sighting]:
    return [changed if seen is one else seen for seen in sightings]


def with_header(seen: Sighting, **values: object) -> Sighting:
    header = copy.deepcopy(seen.header)
    for keyword, value in values.items():
        setattr(header, keyword, value)
    return replace(seen, header=header)


def test_two_studies_that_were_mistaken_for_each_other_would_be_noticed(
    hospital: Hospital,
) -> None:
    one, other = (seen.study for seen in found(hospital, hospital.sightings))
    truths = hospital.truths
    exchanged = truths | {one: truths[other], other: truths[one]}
    problems = verdict(exchanged, hospital.sightings)
    for study in (one, other):
        assert f"{study}: names somebody whose study this never was" in problems
        assert f"{study}: refers to an image of another study" in problems
    assert {problem.split(":")[0] for problem in problems} == {one, other}


def test_two_views_that_were_mistaken_for_each_other_would_be_noticed(hospital: Hospital) -> None:
    one, _ = (hospital.truths[seen.study] for seen in found(hospital, hospital.sightings))
    for first, second in itertools.pairwise(one.images):
        exchanged = one.images | {first: one.images[second], second: one.images[first]}
        mistaken = replace(one, images=exchanged)
        truths = {s: mistaken if t is one else t for s, t in hospital.truths.items()}
        problems = verdict(truths, hospital.sightings)
        assert any("measures" in problem for problem in problems)
        assert any("shows the greys" in problem for problem in problems)


def test_another_patients_name_would_be_noticed(hospital: Hospital) -> None:
    one, other = found(hospital, hospital.sightings)
    for keyword in ("PatientID", "PatientName", "AccessionNumber"):
        changed = with_header(one, **{keyword: other.header[keyword].value})
        if changed.header == one.header:
            continue  # neighbours share a name
        (problem, *_) = verdict(hospital.truths, exchange(hospital.sightings, one, changed))
        assert problem == f"{one.study}: names somebody whose study this never was"


def test_another_patients_report_would_be_noticed(hospital: Hospital) -> None:
    one, other = found(hospital, hospital.sightings)
    changed = with_header(one, ContentSequence=other.header.ContentSequence)
    problems = verdict(hospital.truths, exchange(hospital.sightings, one, changed))
    assert f"{one.study}: refers to an image of another study" in problems


def test_the_measurement_of_another_image_would_be_noticed(hospital: Hospital) -> None:
    one, _ = found(hospital, hospital.sightings)
    changed = with_header(one)
    regions = [named(group, "111030")[0] for group in named(changed.header, "125007")]
    first, second = (region.ContentSequence[0].ReferencedSOPSequence for region in regions[:2])
    uids = [item[0].ReferencedSOPInstanceUID for item in (first, second)]
    first[0].ReferencedSOPInstanceUID, second[0].ReferencedSOPInstanceUID = reversed(uids)
    problems = verdict(hospital.truths, exchange(hospital.sightings, one, changed))
    assert any(problem.startswith(f"{one.study}: measures") for problem in problems)


def test_the_picture_of_another_patient_would_be_noticed(hospital: Hospital) -> None:
    one, other = found(hospital, hospital.sightings, is_capture=True)
    changed = replace(one, greys=other.greys)
    (problem,) = verdict(hospital.truths, exchange(hospital.sightings, one, changed))
    assert problem.startswith(f"{one.study}: shows the greys")


def test_a_result_in_the_wrong_archive_would_be_noticed(hospital: Hospital) -> None:
    one, _ = found(hospital, hospital.sightings)
    changed = replace(one, archive="archive-2")
    (problem,) = verdict(hospital.truths, exchange(hospital.sightings, one, changed))
    assert problem == f"{one.study}: came to archive-2"


def test_a_result_that_is_missing_would_be_noticed(hospital: Hospital) -> None:
    one, _ = found(hospital, hospital.sightings, is_capture=True)
    (problem,) = verdict(hospital.truths, [seen for seen in hospital.sightings if seen is not one])
    assert problem.startswith(f"{one.study}: its newest results are of")


def test_a_former_name_that_comes_late_would_be_noticed(hospital: Hospital) -> None:
    study = next(s for s, truth in hospital.truths.items() if len(truth.identities) > 1)
    truth = hospital.truths[study]
    results = [seen for seen in hospital.sightings if seen.study == study]
    of_last = [seen for seen in results if Identity.of(seen.header) == truth.identities[-1]]
    former = truth.identities[0]
    late = [
        with_header(
            seen,
            PatientID=former.patient_id,
            PatientName=former.name,
            PatientBirthDate=former.birth_date,
            AccessionNumber=former.accession_number,
        )
        for seen in of_last[-2:]
    ]
    problems = verdict(hospital.truths, [*hospital.sightings, *late])
    assert any(p.endswith("results came under a former identity") for p in problems)


def test_an_older_version_that_comes_last_would_be_noticed(hospital: Hospital) -> None:
    newest = max(hospital.sightings, key=lambda seen: (seen.version, seen.at))
    assert newest.version > 1
    older = replace(with_header(newest, InstanceNumber=1), at=newest.at + 1)
    problems = verdict(hospital.truths, [*hospital.sightings, older])
    assert f"{newest.study}: an older version came after a newer" in problems
