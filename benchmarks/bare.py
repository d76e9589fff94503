"""What the work itself costs: an exam decoded, prepared, run, drawn and encoded by one plain loop.

    .venv/bin/python -m benchmarks.bare [--exams 3]

No ledger, no queue, no other process, no file that is synced and no DICOM object but the images:
each is decoded once, and shown and read from that. What a node needs beyond this is what it adds.
The pages are the node's own, pixel for pixel, each encoded once (JPEG-LS).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLSLossless, SecondaryCaptureImageStorage, generate_uid
from pynetdicom import AE
from pynetdicom.association import Association
from rich.console import Console
from rich.table import Table

from node.analysis.conclusion import conclude
from node.analysis.selection import select
from node.dicom.header import read_header
from node.dimse import Address
from node.domains.description import describe
from node.domains.table import domain_of
from node.imaging.image import Image, open_image
from node.imaging.operations import Prepared, prepare
from node.imaging.preparation import picture
from node.inference.answers import OnImage, read_output
from node.inference.inputs import inputs_of, joined
from node.inference.onnx import OnnxSession
from node.manifest import Model, load_model
from node.outputs.case import Draft
from node.outputs.marked_view import draw_marked_view, marks_images
from node.outputs.summary_page import analysed, draw_summary
from node.result import UnitScore
from node.study import IMAGE, Instance, Picture, StudyVersion
from node.trial import phantom
from node.trial.pacs import AE_TITLE, Pacs
from node.trial.phantom import Technique

FULL_SIZE = Technique(rows=4096, columns=3328, spacing_mm=0.06)
PACKAGE = Path(__file__).parents[1] / "models" / "breast-area"
AE_OF_SCRIPT = "BARE"
Page = NDArray[np.uint8]
"""Rows, columns, RGB."""


@dataclass(slots=True)
class Parts:
    """Seconds of each part of the work."""

    decode: float = 0
    prepare: float = 0
    run: float = 0
    build: float = 0
    """Drawing the pages."""
    encode: float = 0
    send: float = 0
    """Or writing."""

    @property
    def in_all(self) -> float:
        """The sum."""
        return float(sum(getattr(self, one.name) for one in fields(self)))


@dataclass(frozen=True, slots=True)
class SeenView:
    """What is kept of an image once it is read: the image itself is let go."""

    instance: Instance
    header: Dataset
    picture: Picture
    score: UnitScore


class Bare:
    """One process that does the work of a package that reads mammograms image by image."""

    def __init__(
        self, model: Model, threads: int = 1, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.model, self._clock = model, clock
        self._session = OnnxSession(model, threads)
        self._inputs = inputs_of(model.manifest, self._session)

    def see(self, path: Path, parts: Parts) -> SeenView:
        """Decode an image once, and run the network on it."""
        with self._timed(parts, "decode"):
            header = read_header(path)
            instance = describe(header, path, "")
            image = open_image(path)
        with self._timed(parts, "prepare"):
            domain = domain_of(self.model.manifest)
            domain.require_visible(image.hidden)
            prepared = prepare(image, self.model.manifest.operations, instance.view)
            domain.require_plausible(prepared.seen, self.model.manifest)
        with self._timed(parts, "run"):
            score = self._score(instance.sop_uid, image, prepared)
        with self._timed(parts, "build"):
            return SeenView(instance, header, picture(image), score)

    def pages(self, exam: Sequence[SeenView], parts: Parts) -> list[Page]:
        """Draw the summary and the page of each view."""
        with self._timed(parts, "build"):
            draft = self._draft(exam)
            views = [uid for uid in analysed(draft) if marks_images(draft.results[0])]
            return [draw_summary(draft), *(draw_marked_view(draft, uid) for uid in views)]

    def encode(self, pages: Sequence[Page], parts: Parts) -> list[bytes]:
        """Compress each page without loss."""
        with self._timed(parts, "encode"):
            return [bytes(imagecodecs.jpegls_encode(page, level=0)) for page in pages]

    def whole(self, exam: Sequence[Path], folder: Path) -> Parts:
        """Do the work of an exam and write its pages into a folder that is there."""
        parts = Parts()
        pages = self.pages([self.see(path, parts) for path in exam], parts)
        codes = self.encode(pages, parts)
        with self._timed(parts, "send"):
            for number, code in enumerate(codes):
                (folder / f"{number}.jls").write_bytes(code)
        return parts

    def last_view(self, exam: Sequence[Path], to: Address) -> Parts:
        """Return what is left to do of an exam when its last view comes, from then on.

        The others are decoded and run by then. The pages are sent by C-STORE over one association,
        as JPEG-LS; who does not take that ends the benchmark.
        """
        before = Parts()
        seen = [self.see(path, before) for path in exam[:-1]]
        parts = Parts()
        pages = self.pages([*seen, self.see(exam[-1], parts)], parts)
        with self._timed(parts, "send"):
            association = _associate(to)
        codes = self.encode(pages, parts)
        with self._timed(parts, "send"):
            _send(association, pages, codes)
        return parts

    def _score(self, unit: str, image: Image, prepared: Prepared) -> UnitScore:
        manifest = self.model.manifest
        given = joined(self._inputs, {IMAGE: prepared.tensor}, manifest.image_shape)
        answers = self._session.run(given)
        assert prepared.grid is not None, "it reads an image, not a vector"
        on = OnImage(unit, image, prepared.grid)
        outputs = (read_output(output, answers, manifest, on) for output in manifest.outputs)
        return UnitScore(unit, tuple(outputs))

    def _draft(self, exam: Sequence[SeenView]) -> Draft:
        instances = tuple(one.instance for one in exam)
        headers = {one.instance.sop_uid: one.header for one in exam}
        selection = select(instances, headers, self.model)
        scores = {one.score.unit: one.score for one in exam}
        result = conclude(self.model, selection.units, selection.refused, scores)
        return Draft(
            version=StudyVersion(
                study_uid=instances[0].study_uid,
                number=1,
                reason="all views are there",
                damaged=0,
                instances=instances,
                decided_at=datetime.now(UTC).replace(microsecond=0),
                installation="bare",
            ),
            results=(replace(result, ran_on="CPU"),),
            headers=headers,
            pictures={one.instance.sop_uid: one.picture for one in exam},
            local_zone=UTC,
            configuration_digest="",
            hanging=domain_of(self.model.manifest).hanging(),
        )

    @contextmanager
    def _timed(self, parts: Parts, name: str) -> Iterator[None]:
        begun = self._clock()
        yield
        setattr(parts, name, getattr(parts, name) + self._clock() - begun)


def _associate(to: Address) -> Association:
    """Return an association with who takes captures as JPEG-LS."""
    ae = AE(ae_title=AE_OF_SCRIPT)
    ae.add_requested_context(SecondaryCaptureImageStorage, JPEGLSLossless)
    association = ae.associate(to.host, to.port, ae_title=to.ae_title)
    if not association.accepted_contexts:
        raise SystemExit(f"{to.ae_title} takes no captures as JPEG-LS")
    return association


def _send(association: Association, pages: Sequence[Page], codes: Sequence[bytes]) -> None:
    """Store the pages as the least objects that hold them."""
    study_uid, series_uid = generate_uid(), generate_uid()
    for page, code in zip(pages, codes, strict=True):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
        dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study_uid, series_uid
        dataset.PatientID, dataset.PatientName, dataset.Modality = "1", "BARE", "OT"
        (dataset.Rows, dataset.Columns), dataset.SamplesPerPixel = page.shape[:2], 3
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit, dataset.PixelRepresentation, dataset.PlanarConfiguration = 7, 0, 0
        dataset.PhotometricInterpretation = "RGB"
        dataset.PixelData = encapsulate([code])
        dataset["PixelData"].VR = "OB"
        status = association.send_c_store(dataset)
        assert status.Status == 0, "it is stored"
    association.release()


def takes_jpegls(folder: Path) -> Pacs:
    """Return an archive that takes captures as JPEG-LS."""
    return Pacs(folder / "pacs", captures_in=[JPEGLSLossless])


def main() -> None:
    """Measure and print what the parts of an exam's last view, and of a whole one, cost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--exams", type=int, default=3, help="of which the median is shown")
    options = parser.parse_args()
    bare = Bare(load_model(PACKAGE.name, PACKAGE.parent))
    with tempfile.TemporaryDirectory() as name, takes_jpegls(Path(name)) as pacs:
        folder, to = Path(name), Address(AE_TITLE, "127.0.0.1", pacs.port)
        exams = [
            phantom.save(phantom.exam(f"bare {n}", technique=FULL_SIZE), folder / f"exam-{n}")
            for n in range(options.exams)
        ]
        last = [bare.last_view(exam, to) for exam in exams]
        whole = [bare.whole(exam, folder) for exam in exams]
    table = Table("seconds", "of the last view on", "of the whole exam")
    for one in (*(field.name for field in fields(Parts)), "in_all"):
        medians = (
            statistics.median(getattr(parts, one) for parts in all_) for all_ in (last, whole)
        )
        table.add_row(one.replace("_", " "), *(f"{median:.3f}" for median in medians))
    Console().print(f"Median of {options.exams} four-view exams, one process, one thread", table)


if __name__ == "__main__":
    main()
