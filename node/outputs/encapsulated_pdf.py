"""Encapsulated PDF: the summary page as a document, for archives and viewers that file documents.

The page is the picture of the capture, without loss at its full resolution. Its words lie over
it as text that is not drawn, so that a reader can search and copy them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from pydicom import Dataset
from pydicom.uid import EncapsulatedPDFStorage

from node.identity import MODEL_NAME
from node.outputs import header, summary_page, text_report, verbatim, wording
from node.outputs.case import Draft, local_time
from node.outputs.header import Series, code_item
from node.outputs.provenance import burned_in_annotation, source_image
from node.outputs.wording import ascii_text
from node.result import Evaluation, Finding, Result

SERIES_NUMBER = 9007
DOCUMENT_TITLE_LENGTH = 1024
PAGE_WIDTH = 792
"""In points (1/72 inch): the long side of Letter, a little less than that of A4."""
LETTERS_PER_LINE = 110
MOST_TYPE = 11.0
"""Largest size of the text that is not drawn, in points."""


def build(draft: Draft) -> list[Dataset]:
    """Return the summary page of all results, whatever became of the analysis."""
    series = Series(("encapsulated-pdf",), "DOC", SERIES_NUMBER, "Summary", draft.results)
    dataset = header.begin(draft, series, EncapsulatedPDFStorage, "summary", 1)
    verbatim.copy(draft.source, dataset, ("RequestAttributesSequence",))
    dataset.ConversionType = "SYN"
    dataset.AcquisitionDateTime = ""
    sources = summary_page.analysed(draft)
    dataset.BurnedInAnnotation = burned_in_annotation(draft, sources)
    dataset.RecognizableVisualFeatures = "NO"
    if sources:
        dataset.SourceInstanceSequence = [source_image(draft, sop_uid) for sop_uid in sources]
    dataset.DocumentTitle = title(draft)
    dataset.ConceptNameCodeSequence = [code_item(text_report.DIAGNOSTIC_IMAGING_REPORT)]
    dataset.VerificationFlag = "UNVERIFIED"
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    content = page(draft)
    dataset.add_new("EncapsulatedDocument", "OB", content)
    dataset.EncapsulatedDocumentLength = len(content)
    return [dataset]


def title(draft: Draft) -> str:
    """Return Document Title (0042,0010): who made it and what it is worth."""
    models = ", ".join(f"{r.model.title} {r.model.version}" for r in draft.results)
    words = [f"{models}: AI summary", wording.AI_GENERATED.rstrip("."), wording.version(draft)]
    said = ". ".join(word for word in words if word)
    return ascii_text(said)[:DOCUMENT_TITLE_LENGTH]


def page(draft: Draft) -> bytes:
    """Return the PDF file; of an even length, as an OB value has to be (PS3.5 6.2)."""
    pixels = summary_page.draw_summary(draft)
    rows, columns = pixels.shape[:2]
    size = (PAGE_WIDTH, round(PAGE_WIDTH * rows / columns))
    moment = local_time(draft, draft.version.decided_at)
    zone = f"{moment:%z}" or "+0000"
    date = f"D:{moment:%Y%m%d%H%M%S}{zone[:3]}'{zone[3:5]}'"
    return _file(
        [
            b"<< /Type /Catalog /Pages 2 0 R /Lang (en-US)"
            b" /ViewerPreferences << /DisplayDocTitle true >> >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %d %d] /Contents 4 0 R"
            b" /Resources << /XObject << /Page 5 0 R >> /Font << /Text 6 0 R >> >> >>" % size,
            _stream(b"", _drawing(list(_lines(draft)), size)),
            _stream(_image_attributes(columns, rows), pixels.tobytes()),
            b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
            b"<< /Title %s /Producer %s /CreationDate %s >>"
            % (_string(title(draft)), _string(MODEL_NAME), _string(date)),
        ],
        identity=draft.uid("encapsulated-pdf", "file"),
    )


def _lines(draft: Draft) -> Iterator[str]:
    """Yield the words of the page, in lines."""
    yield title(draft)
    yield f"AI analysis of {wording.moment(draft)}"
    for result in draft.results:
        for sentence in _said(draft, result):
            yield from _wrapped(sentence)


def _said(draft: Draft, result: Result) -> Iterator[str]:
    yield f"{ascii_text(result.model.title)}:"
    conclusion, *others = wording.sentences(draft, result)
    yield conclusion
    subjects: tuple[Finding | Evaluation, ...] = (*result.findings, *result.evaluations)
    for subject in subjects:
        yield from wording.measured(subject)
    yield from others


def _wrapped(sentence: str) -> Iterator[str]:
    line = ""
    for word in sentence.split():
        if line and len(line) + 1 + len(word) > LETTERS_PER_LINE:
            yield line
            line = word
        else:
            line = f"{line} {word}".strip()
    yield line


def _drawing(lines: list[str], size: tuple[int, int]) -> bytes:
    """Return what is drawn: the picture over the whole page, and lines of text without ink."""
    width, height = size
    type_size = min(MOST_TYPE, (height - 40) / len(lines) / 1.2)
    shown = [b"%s Tj T*" % _string(line) for line in lines]
    return b"\n".join(
        [
            b"q %d 0 0 %d 0 0 cm /Page Do Q" % (width, height),
            b"BT 3 Tr /Text %.3f Tf %.3f TL 20 %d Td" % (type_size, type_size * 1.2, height - 30),
            *shown,
            b"ET",
        ]
    )


def _image_attributes(columns: int, rows: int) -> bytes:
    return (
        b"/Type /XObject /Subtype /Image /Width %d /Height %d"
        b" /ColorSpace /DeviceRGB /BitsPerComponent 8 " % (columns, rows)
    )


def _stream(attributes: bytes, content: bytes) -> bytes:
    packed = zlib.compress(content, 6)
    return b"<< %s/Filter /FlateDecode /Length %d >>\nstream\n%s\nendstream" % (
        attributes,
        len(packed),
        packed,
    )


def _string(text: str) -> bytes:
    """Return a literal string (ISO 32000-1 7.3.4.2)."""
    escaped = "".join(f"\\{c}" if c in "\\()" else c for c in text)
    return b"(%s)" % escaped.encode("ascii")


def _file(objects: list[bytes], identity: str) -> bytes:
    """Join the objects, the catalog first, the document information last (ISO 32000-1 7.5)."""
    written = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"  # four bytes above 127: this is no text
    offsets = []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(written))
        written += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    entries = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    table = b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, entries)
    trailer = b"trailer\n<< /Size %d /Root 1 0 R /Info %d 0 R /ID [%s %s] >>\n" % (
        len(objects) + 1,
        len(objects),
        _string(identity),
        _string(identity),
    )
    whole = written + table + trailer + b"startxref\n%d\n%%%%EOF\n" % len(written)
    return whole + b"\n" * (len(whole) % 2)
