"""One odd image, the second of four: what is said of it, and that the other three are measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from odd_imaging import ODD_IMAGING, magnification_by_distances_alone
from pydicom import Dataset, dcmread

from node import offline
from node.config import bundled_models_dir
from node.manifest import load_model
from node.offline import StudyOutcome
from node.trial import phantom

pytestmark = pytest.mark.slow

Maker = Callable[[bytes], bytes]
TECHNIQUE = phantom.Technique(664, 512, spacing_mm=0.36)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, StudyOutcome]]:
    """Analyse an exam for each maker, and one in which nothing is odd, by the maker's name."""
    folder = tmp_path_factory.mktemp("odd")
    names = {}
    for name, make in {"nothing": bytes, **{m.__name__: m for _, m, _ in ODD_IMAGING}}.items():
        exam = phantom.exam(name, technique=TECHNIQUE)
        names[str(exam[0].StudyInstanceUID)] = name
        second = phantom.save(exam, folder / name)[1]
        second.write_bytes(make(second.read_bytes()))
    files = sorted(folder.rglob("*.dcm"))
    model = load_model("breast-area", bundled_models_dir())
    outcome = offline.analyse_folder(files, folder / "results", model, lambda: None)
    assert not outcome.damaged
    yield {names[study.study_uid]: study for study in outcome.studies}


@pytest.mark.parametrize(
    ("make", "words"), [odd[1:] for odd in ODD_IMAGING], ids=[m.__name__ for _, m, _ in ODD_IMAGING]
)
def test_an_odd_image_is_read_or_refused_with_the_words_and_the_others_are_measured(
    make: Maker, words: str, outcomes: dict[str, StudyOutcome]
) -> None:
    outcome = outcomes[make.__name__]
    if not words:
        assert (outcome.analysed, outcome.details) == (4, ())
        return
    assert outcome.analysed == 3
    (detail,) = outcome.details
    assert words in detail
    assert "L CC" in detail


def texts_in(item: Dataset) -> Iterator[str]:
    """Yield every text of a structured report."""
    if "TextValue" in item:
        yield str(item.TextValue)
    for inner in item.get("ContentSequence", ()):
        yield from texts_in(inner)


def test_where_a_size_comes_from_stands_in_the_report(outcomes: dict[str, StudyOutcome]) -> None:
    said = "Magnification taken from the distances of the source: L CC."
    for name, is_said in (("nothing", False), (magnification_by_distances_alone.__name__, True)):
        reports = [dcmread(path) for path in outcomes[name].written]
        texts = [text for report in reports for text in texts_in(report)]
        assert any(said in text for text in texts) == is_said
