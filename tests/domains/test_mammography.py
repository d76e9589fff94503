"""Which instances a model may see, and the reasons for the others."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable
from pathlib import Path

import factories
import pytest
from examples import examples
from factories import L_CC, L_MLO, R_CC, R_MLO
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packages import CLASSES, package, triaging_package
from pydicom import Dataset, uid
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian
from small_models import SHARE_OF_WHITE
from small_models import model as small_model

from node.analysis.conclusion import conclude
from node.analysis.selection import select
from node.dicom.header import read_header
from node.domains.description import describe
from node.domains.domain import Selection
from node.domains.mammography.plausibility import require_visible
from node.domains.mammography.scope import awaited, is_in_scope
from node.domains.mammography.selection import why_refused
from node.domains.mammography.sop_classes import (
    MG_FOR_PRESENTATION,
    MG_FOR_PROCESSING,
    SECONDARY_CAPTURE,
)
from node.domains.mammography.standard import _REFUSED_MODIFIERS
from node.domains.mammography.views import _PROJECTIONS, why_no_view
from node.errors import StudyError, Unreadable
from node.imaging.spacing import SPACING_KEYWORDS
from node.imaging.visibility import Hidden
from node.manifest import Model
from node.result import PERCENT, Code, Measurement, Priority, Refusal
from node.study import Instance, Laterality, View
from node.trial import phantom

Change = Callable[[Dataset], object]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return package(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def mammogram_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A whole Part 10 file with few pixels, sequences of known and unknown length in it."""
    header = factories.exam(views=[R_MLO])[0]
    header.Rows = header.Columns = 2
    header.PixelData = bytes(8)
    header["ViewCodeSequence"].is_undefined_length = True
    path = tmp_path_factory.mktemp("part10") / "mammogram.dcm"
    header.save_as(path, enforce_file_format=True)
    return path.read_bytes()


def mammogram(view: View = R_CC, change: Change = lambda _: None) -> Dataset:
    header = phantom.exam("test", [view], technique=factories.SMALL)[0]
    change(header)
    return header


def instance(header: Dataset) -> Instance:
    return describe(header, Path("0001.dcm"), "digest")


def put(**attributes: object) -> Change:
    def change(header: Dataset) -> None:
        for keyword, value in attributes.items():
            setattr(header, keyword, value)

    return change


def raw(tag: int, value: str) -> Change:
    """Write what pydicom would not, as it lies in a file."""

    def change(header: Dataset) -> None:
        header[tag] = RawDataElement(Tag(tag), "LO", len(value), value.encode(), 0, False, True)

    return change


def add(keyword: str, value: str) -> Change:
    """Write as a text what is to be a Code String; pydicom would warn of small letters."""

    def change(header: Dataset) -> None:
        header.add_new(keyword, "LO", value)

    return change


def in_syntax(syntax: str) -> Change:
    def change(header: Dataset) -> None:
        header.file_meta.TransferSyntaxUID = uid.UID(syntax)

    return change


SOMETHING = phantom.code("1", "99TEST", "Something")
NOTHING = phantom.code("", "", "")
LEFT_BREAST = phantom.code("80248007", "SCT", "Left breast")


def modified(value: str, scheme: str = "SCT", *, at_top: bool = False) -> Change:
    def change(header: Dataset) -> None:
        place = header if at_top else header.ViewCodeSequence[0]
        place.ViewModifierCodeSequence = [phantom.code(value, scheme, "x")]

    return change


def coded(value: str, scheme: str) -> Change:
    return put(ViewCodeSequence=[phantom.code(value, scheme, "x")])


def view_of(header: Dataset) -> View | None:
    return instance(header).view


def reason(header: Dataset, model: Model) -> str:
    return why_refused(instance(header).shown, header, model.manifest.input)


# Reading headers


def test_a_header_is_described_without_its_pixels(tmp_path: Path) -> None:
    path = factories.saved_exam(tmp_path, views=[L_MLO])[0]
    header = read_header(path)
    found = describe(header, path, "abc")
    assert "PixelData" not in header
    assert found == Instance(
        study_uid=str(header.StudyInstanceUID),
        series_uid=str(header.SeriesInstanceUID),
        sop_uid=str(header.SOPInstanceUID),
        sop_class=MG_FOR_PRESENTATION,
        transfer_syntax="1.2.840.10008.1.2.1",
        modality="MG",
        path=path,
        digest="abc",
        body_part="BREAST",
        view=L_MLO,
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put(StudyInstanceUID=""), "no Study Instance UID"),
        (lambda header: header.__delitem__("SeriesInstanceUID"), "no Series Instance UID"),
        (put(SOPInstanceUID="1.2.3"), "names another object"),
        (put(SOPClassUID="1.2.3"), "names another object"),
    ],
)
def test_an_object_that_is_not_what_it_says_is_unreadable(
    change: Change, message: str, tmp_path: Path
) -> None:
    header = mammogram()
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
    change(header)
    header.preamble = bytes(128)
    header.save_as(tmp_path / "x.dcm", enforce_file_format=False)
    with pytest.raises(Unreadable, match=message):
        read_header(tmp_path / "x.dcm")


@pytest.mark.parametrize("uid", ["1.2.3.PATIENT", "1.2.3/../../etc", "1" * 65, "1.2\\1.3", "..."])
def test_a_uid_of_other_characters_is_unreadable_and_not_quoted(uid: str, tmp_path: Path) -> None:
    path = factories.saved_exam(tmp_path, views=[R_CC])[0]
    study_uid = str(read_header(path).StudyInstanceUID).encode()
    length = len(study_uid) + len(study_uid) % 2
    data = path.read_bytes()
    old = length.to_bytes(2, "little") + study_uid.ljust(length, b"\0")
    hostile = uid.encode().ljust(len(uid) + len(uid) % 2, b"\0")
    assert old in data
    path.write_bytes(data.replace(old, len(hostile).to_bytes(2, "little") + hostile))
    with pytest.raises(Unreadable, match=r"^invalid Study Instance UID$"):
        read_header(path)


@pytest.mark.parametrize("data", [b"", b"hello", bytes(132), bytes(128) + b"DICM", b"\x7fELF" * 99])
def test_something_else_than_dicom_is_unreadable(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(data)
    with pytest.raises(Unreadable):
        read_header(path)


def test_a_file_that_is_not_there_is_not_called_damaged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_header(tmp_path / "gone.dcm")


def test_a_wrong_character_set_does_not_matter(tmp_path: Path) -> None:
    path = factories.saved_exam(tmp_path, views=[R_CC])[0]
    for wrong in (b"ISO_IR 999", b"ISO_IR 192", b"\\ISO 2022 "):
        (tmp_path / "x.dcm").write_bytes(
            path.read_bytes()
            .replace(b"ISO_IR 100", wrong)
            .replace(b"GENERATED", b"GENER\xe4\xff\xc3D")
        )
        header = read_header(tmp_path / "x.dcm")
        assert view_of(header) == R_CC


def test_a_value_out_of_range_elsewhere_does_not_matter(tmp_path: Path, model: Model) -> None:
    path = factories.saved_exam(tmp_path, views=[R_CC])[0]
    header = read_header(path)
    body = path.read_bytes().replace(b"19650214", b"19659999").replace(b"P\\L ", b"?\\? ")
    path.write_bytes(body)
    header = read_header(path)
    assert view_of(header) == R_CC
    assert reason(header, model) == ""


def test_an_object_cut_in_the_middle_of_an_attribute_is_unreadable(
    mammogram_bytes: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(mammogram_bytes[: mammogram_bytes.index(b"GENERATED^MAMMOGRAM") + 5])
    with pytest.raises(Unreadable):
        read_header(path)


fuzzed = settings(
    max_examples=examples(150), suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def assert_reads_or_refuses(path: Path, data: bytes, model: Model) -> None:
    path.write_bytes(data)
    try:
        header = read_header(path)
    except Unreadable as error:
        assert "MAMMOGRAM" not in str(error)
        assert str(error).isascii()
        return
    found = describe(header, path, "digest")
    chosen = select([found], {found.sop_uid: header}, model)
    assert all(refusal.reason.isascii() and len(refusal.reason) < 64 for refusal in chosen.refused)


@fuzzed
@given(data=st.binary(max_size=300), has_prefix=st.booleans())
def test_random_bytes_are_read_or_unreadable(
    data: bytes, has_prefix: bool, tmp_path: Path, model: Model
) -> None:
    prefix = bytes(128) + b"DICM" if has_prefix else b""
    assert_reads_or_refuses(tmp_path / "x.dcm", prefix + data, model)


@fuzzed
@given(cut=st.floats(0, 1))
def test_a_truncated_object_is_read_or_unreadable(
    cut: float, tmp_path: Path, model: Model, mammogram_bytes: bytes
) -> None:
    data = mammogram_bytes[: int(cut * len(mammogram_bytes))]
    assert_reads_or_refuses(tmp_path / "x.dcm", data, model)


@fuzzed
@given(
    flips=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=8
    )
)
def test_an_object_with_flipped_bits_is_read_or_unreadable(
    flips: list[tuple[float, int]], tmp_path: Path, model: Model, mammogram_bytes: bytes
) -> None:
    data = bytearray(mammogram_bytes)
    for place, bits in flips:
        data[128 + int(place * (len(data) - 128))] ^= bits
    assert_reads_or_refuses(tmp_path / "x.dcm", bytes(data), model)


@fuzzed
@given(cut=st.floats(0, 1), junk=st.binary(max_size=60))
def test_an_object_with_junk_in_it_is_read_or_unreadable(
    cut: float, junk: bytes, tmp_path: Path, model: Model, mammogram_bytes: bytes
) -> None:
    place = int(cut * len(mammogram_bytes))
    data = mammogram_bytes[:place] + junk + mammogram_bytes[place:]
    assert_reads_or_refuses(tmp_path / "x.dcm", data, model)


def test_a_deflated_object_of_junk_is_unreadable(mammogram_bytes: bytes, tmp_path: Path) -> None:
    header = mammogram()
    header.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = phantom.save([header], tmp_path)[0]
    whole = path.read_bytes()
    for junk in (b"", b"junk", zlib.compress(b"wrapped in zlib")):
        path.write_bytes(whole[:400] + junk)
        with pytest.raises(Unreadable):
            read_header(path)


# Views


@pytest.mark.parametrize("projection", phantom.PROJECTIONS)
@pytest.mark.parametrize("side", [Laterality.RIGHT, Laterality.LEFT])
def test_a_view_is_read_from_a_complete_header(side: Laterality, projection: str) -> None:
    view = View(side, projection)
    assert view_of(mammogram(view)) == view
    assert why_no_view(mammogram(view)) == ""


@pytest.mark.parametrize(
    ("value", "scheme", "projection"),
    [
        ("399162004", "SCT", "CC"),
        ("R-10242", "SRT", "CC"),
        ("R-10242", "SNM3", "CC"),
        ("R-10242", "99SDM", "CC"),
        ("R-1024A", "SRT", "XCCL"),
        ("399101009", "SCT", "XCCM"),
        ("R-10244", "SRT", "FB"),
    ],
)
def test_view_codes_of_every_age_are_understood(value: str, scheme: str, projection: str) -> None:
    header = mammogram(R_CC, coded(value, scheme))
    header.ViewPosition = ""
    assert view_of(header) == View(Laterality.RIGHT, projection)


def test_a_code_of_an_unknown_scheme_is_no_view_code() -> None:
    header = mammogram(R_CC, coded("R-10242", "99OURS"))
    header.ViewPosition = ""
    assert (view_of(header), why_no_view(header)) == (None, "unknown view")


def test_view_position_counts_where_there_is_no_code() -> None:
    header = mammogram(L_MLO, lambda header: header.__delitem__("ViewCodeSequence"))
    assert view_of(header) == L_MLO


def test_laterality_of_the_series_counts_where_the_image_says_nothing() -> None:
    assert view_of(mammogram(L_CC, put(ImageLaterality=None, Laterality="L"))) == L_CC


def test_a_series_of_both_sides_does_not_contradict_an_image_of_one() -> None:
    assert view_of(mammogram(L_CC, put(Laterality="B"))) == L_CC


@pytest.mark.parametrize(
    ("view", "change", "expected"),
    [
        (R_CC, put(Modality="CR"), "not a mammogram"),
        (R_CC, put(ImageLaterality=""), "no laterality given"),
        (R_CC, put(ImageLaterality="U"), "unknown laterality U"),
        (R_CC, add("ImageLaterality", "RECHTS"), "unknown laterality RECHTS"),
        (R_CC, add("ImageLaterality", "John Doe <script>"), "unknown laterality"),
        (R_CC, put(Laterality="L"), "laterality contradicts itself"),
        (R_CC, put(ViewPosition="MLO"), "view contradicts itself (CC or MLO)"),
        (
            R_CC,
            put(ViewCodeSequence=[], ViewPosition="", SeriesDescription=""),
            "no view given",
        ),
        (R_CC, put(ViewCodeSequence=[], ViewPosition="AT"), "unknown view AT"),
        (R_CC, put(PatientOrientation=["P", "F"]), "R CC contradicts Patient Orientation"),
        (R_CC, put(PatientOrientation=["L", "F"]), "R CC contradicts Patient Orientation"),
        (R_MLO, put(PatientOrientation=["P", "L"]), "R MLO contradicts Patient Orientation"),
        (R_MLO, put(PatientOrientation=["P", "FR"]), "R MLO contradicts Patient Orientation"),
        (L_MLO, put(PatientOrientation=["P", "FL"]), "L MLO contradicts Patient Orientation"),
    ],
)
def test_a_header_that_contradicts_itself_has_no_view(
    view: View, change: Change, expected: str
) -> None:
    header = mammogram(view, change)
    assert (view_of(header), why_no_view(header)) == (None, expected)


@pytest.mark.parametrize(
    ("view", "orientation"),
    [
        (R_CC, ["A", "R"]),
        (L_CC, ["A", "L"]),
        (R_CC, ["L", "P"]),
        (R_MLO, ["A", "FL"]),
        (R_MLO, ["A", "HR"]),
        (L_MLO, ["A", "F"]),
        (L_MLO, ["A", "FR"]),
        (L_MLO, ["HL", "P"]),
        (R_CC, []),
        (R_CC, ["P", ""]),
    ],
)
def test_mirrored_and_turned_images_keep_their_view(view: View, orientation: list[str]) -> None:
    assert view_of(mammogram(view, put(PatientOrientation=orientation))) == view


def film(orientation: object, side: str | None) -> Dataset:
    """Return a digitised film, whose class has no place for a view."""

    def change(header: Dataset) -> None:
        header.SOPClassUID = SECONDARY_CAPTURE
        del header.ViewCodeSequence, header.ViewPosition
        header.ImageLaterality, header.Laterality = None, side
        header.PatientOrientation = orientation

    return mammogram(R_CC, change)


AXES = ("L", "R", "P", "A", "H", "F")
WORDS = (*AXES, "FL", "FR", "HL", "HR")
SEEN_FROM_ABOVE = {("P", "L"), ("L", "A"), ("A", "R"), ("R", "P")}
"""As usual, and turned by 90, 180 and 270 degrees."""
DOWN_AND_OUT = {
    "R": {("P", "FL"), ("FL", "A"), ("A", "HR"), ("HR", "P")},
    "L": {("A", "FR"), ("FR", "P"), ("P", "HL"), ("HL", "A")},
}


@pytest.mark.parametrize("side", ["R", "L", "B", "U"])
def test_the_view_of_a_film_is_where_its_orientation_looks_to_and_else_unknown(side: str) -> None:
    header = film(None, side)
    for orientation in itertools.product(WORDS, WORDS):
        header.PatientOrientation = list(orientation)
        expected = None
        if orientation in SEEN_FROM_ABOVE and side in "RL":
            expected = View(Laterality(side), "CC")
        elif orientation in DOWN_AND_OUT.get(side, ()):
            expected = View(Laterality(side), "MLO")
        assert view_of(header) == expected, orientation


@pytest.mark.parametrize("side", ["R", "L"])
@pytest.mark.parametrize("projection", ["CC", "MLO"])
def test_films_are_read_as_generated_mammograms_are_oriented(projection: str, side: str) -> None:
    orientation = phantom.ORIENTATIONS[projection][side]
    assert view_of(film(orientation, side)) == View(Laterality(side), projection)
    assert view_of(film(projection, side)) == View(Laterality(side), projection)


@pytest.mark.parametrize(
    ("orientation", "side", "expected"),
    [
        (["P", "L"], None, "no laterality given"),
        ("CC", None, "no laterality given"),
        ("AP", "L", "no view given"),
        ([], "L", "no view given"),
        (["P", "F"], "R", "no view given"),
        (["P", "FR"], "R", "no view given"),
        (["P", "R"], "R", "no view given"),
        (["P", "P"], "R", "no view given"),
        (["P", "L", "F"], "R", "no view given"),
    ],
)
def test_a_film_that_leaves_a_choice_has_no_view(
    orientation: object, side: str | None, expected: str
) -> None:
    assert why_no_view(film(orientation, side)) == expected


def test_orientation_tells_no_view_where_the_class_or_the_object_has_another_place() -> None:
    header = film(["P", "FL"], "R")
    header.ViewPosition = "AT"
    assert why_no_view(header) == "unknown view AT"
    header = film(["P", "FL"], "R")
    header.SOPClassUID, header.SeriesDescription = MG_FOR_PRESENTATION, ""
    assert why_no_view(header) == "no view given"


def test_a_film_is_analysed_where_the_manifest_accepts_its_class(tmp_path: Path) -> None:
    header = film("MLO", "L")
    refusing = package(tmp_path / "refusing")
    accepting = package(
        tmp_path / "accepting",
        (
            f'["{MG_FOR_PRESENTATION}"]',
            f'["{MG_FOR_PRESENTATION}", "{SECONDARY_CAPTURE}"]',
        ),
    )
    assert reason(header, refusing) == "Secondary Capture image"
    assert reason(header, accepting) == ""
    header.add_new(0x7E010010, "LO", "HOLOGIC, Inc.")
    for model in (refusing, accepting):
        assert reason(header, model) == "tomosynthesis image in a private form"


PROJECTIONS = {name: codes[0] for name, codes in _PROJECTIONS.items()}
REFUSED = {name: code for name, (code, _, _) in _REFUSED_MODIFIERS.items()}
ALLOWED = {"NP": "442581004", "AC": "441752004", "IMF": "442593008", "ID": "399209000"}


@pytest.mark.parametrize("coded_as", ["", *PROJECTIONS, *REFUSED, *ALLOWED])
def test_a_view_is_analysed_only_if_nothing_in_the_header_names_another(
    coded_as: str, model: Model
) -> None:
    """Whatever stands as view code, as a modifier beside it, and as View Position."""
    header = mammogram(R_MLO)
    del header.PatientOrientation, header.SeriesDescription
    codes = {**PROJECTIONS, **REFUSED, **ALLOWED}
    view = [phantom.code(codes[coded_as], "SCT", "x")] if coded_as else []
    for modifier in ("", *REFUSED, *ALLOWED):
        beside = [phantom.code(codes[modifier], "SCT", "x")] if modifier else []
        header.ViewCodeSequence, header.ViewModifierCodeSequence = view, beside
        for position in ("", *PROJECTIONS, *REFUSED, "PA", "LL"):
            header.ViewPosition = position
            said = {coded_as, position} - {"", *ALLOWED}
            is_plain = len(said) == 1 and said <= {"CC", "MLO"} and modifier not in REFUSED
            found = reason(header, model)
            assert (found == "") == is_plain, (modifier, position, found)


def described(description: str, keyword: str = "SeriesDescription") -> Dataset:
    """Return a mammogram whose view only a description names."""
    empty = put(ViewCodeSequence=[], ViewPosition="", SeriesDescription="")
    header = mammogram(R_MLO, empty)
    setattr(header, keyword, description)
    return header


@pytest.mark.parametrize("description", ["R MLO", "RMLO", "r-mlo", "MLO_R", "Right MLO", "MLO"])
def test_a_view_that_only_a_description_names_is_analysed_and_told(
    description: str, model: Model
) -> None:
    for keyword, name in (
        ("SeriesDescription", "Series Description"),
        ("ProtocolName", "Protocol Name"),
    ):
        header = described(description, keyword)
        assert view_of(header) == R_MLO
        [selected] = selected_from([header], model).units
        assert selected.doubts == (f"View taken from {name}",)


@pytest.mark.parametrize(
    "description",
    ["R MLO SPOT", "L MLO", "XCCL", "R MLO MAG", "R CC MLO", "MLO ID", "RL MLO", "R ML", "LR MLO"],
)
def test_a_description_that_says_more_or_something_else_names_no_view(description: str) -> None:
    assert why_no_view(described(description)) == "no view given"


def test_a_description_counts_for_nothing_beside_what_is_there_for_the_view(model: Model) -> None:
    beside = mammogram(R_MLO, put(SeriesDescription="R CC"))
    assert view_of(beside) == R_MLO
    assert selected_from([beside], model).units[0].doubts == ()
    capture = described("R MLO")
    capture.SOPClassUID, capture.PatientOrientation = SECONDARY_CAPTURE, None
    assert why_no_view(capture) == "no view given"
    unknown = described("R MLO")
    unknown.ViewPosition = "XYZ"
    assert why_no_view(unknown) == "unknown view XYZ"
    elsewhere = described("R CC")  # Patient Orientation says it is not
    assert why_no_view(elsewhere) == "R CC contradicts Patient Orientation"


FACTOR = "EstimatedRadiographicMagnificationFactor"


def taken(view: View, factor: str | None, to_patient: str | None) -> Dataset:
    """Return a mammogram with a magnification factor, distances of the source, both or none."""
    geometry = {FACTOR: factor, "DistanceSourceToDetector": "660"}
    return mammogram(view, put(**geometry, DistanceSourceToPatient=to_patient))


def test_where_a_size_comes_from_is_told_unless_the_factor_says_it(
    model: Model, tmp_path: Path
) -> None:
    def doubts(*images: Dataset, of: Model = model) -> list[tuple[str, ...]]:
        return [unit.doubts for unit in selected_from(list(images), of).units]

    stated, nothing = taken(R_CC, "1.07", None), taken(L_CC, None, None)
    by_distances = taken(R_MLO, None, "615")
    from_distances = ("Magnification taken from the distances of the source",)
    assert doubts(stated) == doubts(nothing) == [()]
    assert doubts(by_distances) == [from_distances]
    assert doubts(taken(R_CC, "1.07", "615")) == [()]
    assert doubts(taken(R_CC, "1", "600")) == [
        ("Magnification factor differs from that of the distances of the source",)
    ]
    at_detector = ("Magnification not given, and the size at the detector taken",)
    assert doubts(stated, nothing, by_distances) == [(), at_detector, from_distances]
    grading = small_model(tmp_path, SHARE_OF_WHITE, output="float[1,2] density", described=CLASSES)
    assert doubts(by_distances, nothing, of=grading) == [(), ()]


def test_asking_where_a_size_comes_from_leaves_the_header_as_it_was_read(
    model: Model, tmp_path: Path
) -> None:
    """What is copied into results is copied as the bytes that came."""
    image = factories.exam(views=[R_CC])[0]
    image.DistanceSourceToDetector, image.DistanceSourceToPatient = "660.0", "615.0"
    image.save_as(tmp_path / "image.dcm", enforce_file_format=True)
    header = read_header(tmp_path / "image.dcm")
    selected_from([header], model)
    for keyword in (*SPACING_KEYWORDS[:1], FACTOR, "DistanceSourceToPatient"):
        assert isinstance(header.get_item(keyword), RawDataElement), keyword


def test_an_image_that_was_compressed_with_loss_is_analysed_and_told(model: Model) -> None:
    for change in (
        put(LossyImageCompression="01"),
        put(LossyImageCompression="00", LossyImageCompressionRatio="60"),
        in_syntax(uid.JPEGExtended12Bit),
    ):
        [selected] = selected_from([mammogram(R_CC, change)], model).units
        assert selected.doubts == ("Compressed with loss before it came",)
    lossless = mammogram(R_CC, put(LossyImageCompression="00", LossyImageCompressionRatio="1"))
    assert selected_from([lossless], model).units[0].doubts == ()
    [selected] = selected_from([mammogram(R_CC, in_syntax(uid.JPEG2000))], model).units
    assert selected.doubts == ("Perhaps compressed with loss before it came",)


@pytest.mark.parametrize("description", ["L CC", "LCC", "MG left cc", "LT_CC"])
def test_a_description_that_names_the_other_side_is_told(description: str, model: Model) -> None:
    header = mammogram(R_CC, put(ProtocolName=description))
    [selected] = selected_from([header], model).units
    assert selected.doubts == ("Protocol Name names the other side",)


@pytest.mark.parametrize("description", ["R CC", "RCC", "CC", "R/L CC", "Mammo bilateral", "L RCC"])
def test_a_description_that_names_no_side_or_both_is_no_doubt(
    description: str, model: Model
) -> None:
    header = mammogram(R_CC, put(ProtocolName=description))
    assert selected_from([header], model).units[0].doubts == ()


def test_another_ais_drawing_on_a_mammogram_is_no_digitised_film(tmp_path: Path) -> None:
    both = f'["{MG_FOR_PRESENTATION}", "{SECONDARY_CAPTURE}"]'
    film = put(SOPClassUID=SECONDARY_CAPTURE, ConversionType="WSD")
    model = package(tmp_path, (f'["{MG_FOR_PRESENTATION}"]', both))
    header = mammogram(R_CC, film)
    assert reason(header, model) == ""
    header.BurnedInAnnotation = "YES"
    assert reason(header, model) == "screen capture with burned-in annotation"


def test_view_position_may_be_in_small_letters() -> None:
    header = mammogram(L_MLO, put(ViewCodeSequence=[]))
    add("ViewPosition", "mlo")(header)
    assert view_of(header) == L_MLO


@pytest.mark.parametrize("keyword", ["ImageLaterality", "Laterality"])
@pytest.mark.parametrize("said", ["L", "l", "LEFT", "Left", " left "])
def test_a_laterality_that_has_one_reading_is_read(said: str, keyword: str) -> None:
    header = mammogram(L_CC, put(ImageLaterality=None))
    add(keyword, said)(header)
    assert view_of(header) == L_CC


@pytest.mark.parametrize(
    ("keyword", "said", "expected"),
    [
        ("BreastImplantPresent", "yes", "breast implant"),
        ("PartialView", "Yes", "partial view"),
        ("QualityControlImage", "yes", "quality control image"),
        (
            "PresentationIntentType",
            "For Processing",
            "Presentation Intent Type contradicts the SOP class",
        ),
    ],
)
def test_what_speaks_against_an_image_does_so_in_small_letters_too(
    keyword: str, said: str, expected: str, model: Model
) -> None:
    assert reason(mammogram(R_CC, add(keyword, said)), model) == expected


def test_what_speaks_for_an_image_does_so_in_small_letters_too(model: Model) -> None:
    def change(header: Dataset) -> None:
        add("Modality", "mg")(header)
        add("PresentationIntentType", "for presentation")(header)
        add("PatientOrientation", "p\\l")(header)

    header = mammogram(R_CC, change)
    assert instance(header).shown.modality == "MG"
    assert reason(header, model) == ""


def test_a_hostile_view_position_is_not_quoted() -> None:
    header = mammogram()
    header.ViewCodeSequence = []
    header.add_new("ViewPosition", "LO", "John Doe <script>")
    assert why_no_view(header) == "unknown view"


# Refusals


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (put(SOPClassUID=MG_FOR_PROCESSING), "For Processing image"),
        (put(SOPClassUID="1.2.840.10008.5.1.4.1.1.13.1.3"), "tomosynthesis image"),
        (put(SOPClassUID="1.2.840.10008.5.1.4.1.1.7"), "Secondary Capture image"),
        (put(SOPClassUID="1.2.840.10008.5.1.4.1.1.4"), "MR Image"),
        (put(SOPClassUID="1.2.3"), "object of an unknown kind"),
        (
            put(PresentationIntentType="FOR PROCESSING"),
            "Presentation Intent Type contradicts the SOP class",
        ),
        (put(QualityControlImage="YES"), "quality control image"),
        (put(QualityControlImage="BOTH"), "quality control image"),
        (put(ImageType=["DERIVED", "PRIMARY", "STEREO_SCOUT"]), "biopsy image"),
        (put(ImageType=["DERIVED", "PRIMARY", "POSTMARKER_PLUS"]), "biopsy image"),
        (put(BiopsyTargetSequence=[Dataset()]), "biopsy image"),
        (put(PaddleDescription="Biopsy 5x5"), "biopsy image"),
        (put(ProtocolName="STEREO"), "biopsy image"),
        (
            put(ImageType=["DERIVED", "PRIMARY", "POST_CONTRAST", "", "LOW_ENERGY"]),
            "contrast-enhanced image",
        ),
        (put(ContrastBolusAgent="Iohexol"), "contrast-enhanced image"),
        (put(ContrastBolusAgentSequence=[Dataset()]), "contrast-enhanced image"),
        (put(ImageType=["ORIGINAL", "PRIMARY", "TOMO_PROJ"]), "tomosynthesis projection image"),
        (put(ImageType=["DERIVED", "PRIMARY", "TOMO", "GENERATED_2D"]), "synthetic 2D image"),
        (put(ImageType=["DERIVED", "PRIMARY", "TOMO", "SLAB"]), "tomosynthesis image"),
        (put(ImageType=["DERIVED", "PRIMARY", "STEREO SCOUT"]), "biopsy image"),
        (put(PartialView="YES"), "partial view"),
        (put(PartialView="", PartialViewCodeSequence=[SOMETHING]), "partial view"),
        (put(SpecimenDescriptionSequence=[SOMETHING]), "specimen image"),
        (put(EstimatedRadiographicMagnificationFactor="1.8"), "magnification view"),
        (raw(0x00181114, "1.8\\1.8"), "magnification view"),
        (raw(0x00181114, "1,8"), "magnification factor that cannot be right"),
        (raw(0x00181114, "1e-9"), "magnification factor that cannot be right"),
        (
            put(
                EstimatedRadiographicMagnificationFactor=None,
                DistanceSourceToDetector="660",
                DistanceSourceToPatient="367",
            ),
            "magnification view",
        ),
        (
            put(DistanceSourceToDetector="660", DistanceSourceToPatient="367"),  # and factor 1
            "magnification factor and distances of the source contradict each other",
        ),
        (put(PaddleDescription="10CM MAG"), "magnification view"),
        (put(PaddleDescription="SPOT COMPRESSION"), "spot compression view"),
        (put(AnatomicRegionSequence=[LEFT_BREAST]), "laterality contradicts itself"),
        (coded("399067008", "SCT"), "unknown view code"),
        (modified("399055006", "SNOMED-CT"), "spot compression view"),
        (modified("MAG", "99GE"), "unknown view modifier"),
        (modified("R-1024A", "SRT"), "unknown view modifier"),
        (modified("R-FFFFF", "SRT"), "unknown view modifier"),
        (put(BreastImplantPresent="YES"), "breast implant"),
        (modified("399163009"), "magnification view"),
        (coded("399055006", "SCT"), "spot compression view"),
        (coded("R-40AB2", "SRT"), "axillary tissue view"),
        (put(ViewPosition="AT"), "axillary tail view"),
        (put(ViewPosition="CV"), "cleavage view"),
        (put(ViewPosition="AP"), "view contradicts itself (CC or AP)"),
        (put(ViewPosition="AP", ViewCodeSequence=[]), "unknown view AP"),
        (modified("R-102D6", "SRT"), "magnification view"),
        (modified("R-102D7", "SNM3", at_top=True), "spot compression view"),
        (modified("399110001"), "tangential view"),
        (modified("399161006"), "cleavage view"),
        (modified("399226006"), "rolled view"),
        (modified("414493004"), "rolled view"),
        (modified("127457009"), "specimen image"),
        (coded("127457009", "SCT"), "specimen image"),
        (put(ImageLaterality="B"), "both breasts in one image"),
        (put(ImageLaterality=""), "no laterality given"),
    ],
)
def test_what_is_not_a_standard_view_is_refused(
    change: Change, expected: str, model: Model
) -> None:
    assert reason(mammogram(R_CC, change), model) == expected


@pytest.mark.parametrize(
    "change",
    [
        modified("399209000"),
        modified("442581004"),
        modified("441752004"),
        put(EstimatedRadiographicMagnificationFactor="1.08"),
        put(EstimatedRadiographicMagnificationFactor="0"),
        put(PartialView="NO", PartialViewCodeSequence=[SOMETHING]),
        put(PartialView="", PartialViewCodeSequence=[Dataset(), NOTHING]),
        put(SpecimenDescriptionSequence=[NOTHING]),
        put(ViewModifierCodeSequence=[NOTHING]),
        put(PaddleDescription="STANDARD IMAGING 24X29"),
        put(
            EstimatedRadiographicMagnificationFactor=None,
            DistanceSourceToDetector="660",
            DistanceSourceToPatient="530",  # to the entrance of a thick breast
        ),
        put(DistanceSourceToDetector="660", DistanceSourceToPatient="600"),
        put(DistanceSourceToDetector="660", DistanceSourceToPatient="0"),
        put(AnatomicRegionSequence=[phantom.code("76752008", "SCT", "Breast")]),
        coded("CC-1", "99MAKER"),
        put(PaddleDescription="18X24"),
        put(PresentationIntentType=""),
        put(ImageType=["DERIVED", "PRIMARY"]),
        put(ContrastBolusAgent=""),
        put(ContrastBolusAgent="NONE"),
        put(ContrastBolusAgent="No"),
        put(ContrastBolusAgent="N/A"),
        put(ContrastBolusAgentSequence=[]),
        coded("441752004", "SCT"),
        put(BreastImplantPresent="NO"),
        put(PatientSex="M"),
        put(ProtocolName="ROUTINE"),
    ],
)
def test_what_is_a_standard_view_is_accepted(change: Change, model: Model) -> None:
    assert reason(mammogram(R_CC, change), model) == ""


def test_a_projection_the_model_was_not_made_for_is_refused(model: Model) -> None:
    header = mammogram(View(Laterality.LEFT, "XCCL"))
    assert reason(header, model) == "XCCL is not a view this model reads"


def test_implant_displaced_views_are_accepted(model: Model) -> None:
    header = mammogram(R_CC, put(BreastImplantPresent="YES"))
    modified("R-102D5", "SRT")(header)
    assert reason(header, model) == ""


def test_a_breast_has_an_implant_if_it_was_also_imaged_with_the_implant_displaced(
    model: Model, tmp_path: Path
) -> None:
    exam = factories.exam(views=[R_CC, L_CC, R_MLO, L_MLO, R_CC, R_MLO])
    for header in exam:
        header.BreastImplantPresent = ""
    for header in exam[4:]:
        modified("399209000")(header)
    right_cc, left_cc, right_mlo, left_mlo, *displaced = (str(h.SOPInstanceUID) for h in exam)
    chosen = selected_from(exam, model)
    assert {i.sop_uid for i in chosen.units} == {left_cc, left_mlo, *displaced}
    assert {r.sop_uid: r.reason for r in chosen.refused} == dict.fromkeys(
        (right_cc, right_mlo), "breast implant"
    )
    exam[0].BreastImplantPresent = "NO"
    assert right_cc in {i.sop_uid for i in selected_from(exam, model).units}
    lenient = package(tmp_path, ("[pixels]", 'implants = "analyse"\n[pixels]'))
    assert selected_from(exam, lenient).refused == ()


def test_the_manifest_decides_about_implants_and_synthetic_images(tmp_path: Path) -> None:
    lenient = package(
        tmp_path, ("[pixels]", 'implants = "analyse"\nsynthetic_2d = "analyse"\n[pixels]')
    )
    assert reason(mammogram(R_CC, put(BreastImplantPresent="YES")), lenient) == ""
    synthetic = mammogram(R_CC, put(ImageType=["DERIVED", "PRIMARY", "TOMO", "GENERATED_2D"]))
    assert reason(synthetic, lenient) == ""


def test_a_model_for_processing_refuses_presentation(tmp_path: Path) -> None:
    raw = package(tmp_path, (f'"{MG_FOR_PRESENTATION}"', f'"{MG_FOR_PROCESSING}"'))
    assert reason(mammogram(), raw) == "For Presentation image"


# Selections


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (put(ImageLaterality=""), "CC of unknown side"),
        (put(ImageLaterality="U"), "CC of unknown side"),
        (put(ImageLaterality="L", Laterality="R"), "CC of unknown side"),
        (put(ImageLaterality="", ViewPosition="MLO"), "For Presentation image"),
    ],
)
def test_of_an_image_whose_side_is_unclear_the_projection_is_named_if_it_is_clear(
    change: Callable[[Dataset], object], what: str, tmp_path: Path
) -> None:
    selection = selected_from([mammogram(R_CC, change)], package(tmp_path))
    assert [refused.what for refused in selection.refused] == [what]


def test_a_view_that_is_passed_over_is_neither_selected_nor_refused(tmp_path: Path) -> None:
    only_mlo = package(
        tmp_path, ('projections = ["CC", "MLO"]', 'projections = ["MLO"]\npassed_over = ["CC"]')
    )
    magnified = mammogram(L_CC, put(EstimatedRadiographicMagnificationFactor="1.8"))
    chosen = selected_from([mammogram(R_CC), mammogram(R_MLO), magnified], only_mlo)
    assert [i.instance.view for i in chosen.units] == [R_MLO]
    assert [r.reason for r in chosen.refused] == ["magnification view"]


def selected_from(headers: list[Dataset], model: Model) -> Selection:
    by_uid = {str(header.SOPInstanceUID): header for header in headers}
    return select([instance(header) for header in headers], by_uid, model)


def test_the_order_is_that_of_a_hanging_whatever_came_first(model: Model) -> None:
    exam = factories.exam(views=[L_MLO, R_MLO, R_CC, L_CC, R_CC])
    first, second = selected_from(exam, model), selected_from(exam[::-1], model)
    assert first == second
    assert [i.instance.view for i in first.units] == [R_CC, R_CC, L_CC, R_MLO, L_MLO]
    assert first.units[0].sop_uid < first.units[1].sop_uid
    assert first.refused == ()


def test_a_refusal_says_what_was_refused(model: Model) -> None:
    partial = mammogram(L_MLO, put(PartialView="YES"))
    tomosynthesis = mammogram(
        R_CC, put(SOPClassUID="1.2.840.10008.5.1.4.1.1.13.1.3", ImageLaterality="")
    )
    chosen = selected_from([tomosynthesis, partial], model)
    assert chosen.units == ()
    assert chosen.refused == (
        Refusal(str(partial.SOPInstanceUID), "L MLO", "partial view"),
        Refusal(str(tomosynthesis.SOPInstanceUID), "tomosynthesis image", "tomosynthesis image"),
    )


@pytest.mark.parametrize(
    ("change", "is_failure"),
    [
        (put(ViewPosition="MLO"), True),
        (put(Laterality="L"), True),
        (put(PatientOrientation=["P", "F"]), True),
        (put(PresentationIntentType="FOR PROCESSING"), True),
        (put(SOPClassUID=MG_FOR_PROCESSING), False),
        (put(PartialView="YES"), False),
        (put(ViewCodeSequence=[], ViewPosition="", SeriesDescription=""), False),
        (put(ViewPosition="MLO", SOPClassUID=MG_FOR_PROCESSING), False),
    ],
)
def test_what_contradicts_itself_should_have_been_read_what_a_rule_leaves_out_should_not(
    change: Change, is_failure: bool, model: Model
) -> None:
    [refusal] = selected_from([mammogram(R_CC, change)], model).refused
    assert refusal.is_failure == is_failure


def test_an_exam_beside_which_an_image_contradicts_itself_is_never_routine(tmp_path: Path) -> None:
    triages = triaging_package(tmp_path)
    exam = factories.exam()
    beside = mammogram(R_CC, put(ViewPosition="MLO", SOPInstanceUID="1.9"))
    levels = {}
    for name, images in (("whole", exam), ("beside", [*exam, beside])):
        chosen = selected_from(images, triages)
        number = Measurement(Code("M", "99TEST", "Malignancy score"), 3.0, PERCENT, 0, True)
        scores = {one.key: factories.unit_score(one.key, (number,)) for one in chosen.units}
        result = conclude(triages, chosen.units, chosen.refused, scores)
        assert result.triage is not None
        levels[name] = result.triage
    assert levels["whole"].level == Priority.ROUTINE
    assert levels["beside"].level == Priority.NOT_ASSESSED
    assert "not analysed or not received: " in levels["beside"].why


def test_other_modalities_are_ignored(model: Model) -> None:
    report = mammogram(R_CC, put(Modality="SR"))
    assert selected_from([report], model) == Selection((), ())


def in_scope(header: Dataset, model: Model) -> bool:
    return is_in_scope(instance(header).shown, model.manifest.input)


@pytest.mark.parametrize(
    "said",
    ["BREAST", "Breast", " breast ", "L BREAST", "MAMMA", "MAMMOGRAPHY", "AXILLA", "PHANTOM"],
)
def test_a_mammogram_may_say_in_many_words_that_it_is_of_a_breast(said: str, model: Model) -> None:
    assert in_scope(mammogram(R_CC, raw(0x0018_0015, said)), model)


@pytest.mark.parametrize("code", ["76752008", "80248007", "91470000"])
def test_the_anatomic_region_says_it_where_the_body_part_does_not(code: str, model: Model) -> None:
    region = [phantom.code(code, "SCT", "x")]
    assert in_scope(mammogram(R_CC, put(BodyPartExamined="", AnatomicRegionSequence=region)), model)


def test_a_mammogram_that_says_no_body_part_is_one_of_a_breast(model: Model) -> None:
    header = mammogram(R_CC, put(BodyPartExamined=None, AnatomicRegionSequence=[]))
    assert in_scope(header, model)
    assert len(selected_from([header], model).units) == 1


OTHER_PARTS = (
    put(BodyPartExamined="HAND", AnatomicRegionSequence=[]),
    put(BodyPartExamined="", AnatomicRegionSequence=[phantom.code("85562004", "SCT", "Hand")]),
    put(BodyPartExamined="", AnatomicRegionSequence=[phantom.code("T-D8700", "SRT", "Hand")]),
)


def without_view(header: Dataset) -> Dataset:
    put(ViewCodeSequence=[], ViewPosition="", ImageLaterality="")(header)
    header.SeriesDescription = ""
    return header


@pytest.mark.parametrize("change", [put(Modality="DX"), put(Modality="SR"), put(Modality="")])
def test_what_is_of_another_modality_is_out_of_scope_and_appears_nowhere(
    change: Change, model: Model
) -> None:
    header = mammogram(R_CC, change)
    assert not in_scope(header, model)
    assert selected_from([header], model) == Selection((), ())


@pytest.mark.parametrize("change", OTHER_PARTS)
def test_what_is_of_another_body_part_and_no_view_is_out_of_scope_and_appears_nowhere(
    change: Change, model: Model
) -> None:
    header = without_view(mammogram(R_CC, change))
    assert not in_scope(header, model)
    assert selected_from([header], model) == Selection((), ())


@pytest.mark.parametrize("change", [*OTHER_PARTS, put(BodyPartExamined="CHEST")])
def test_who_says_a_view_has_said_that_it_is_a_breast_and_the_result_tells_what_else_was_said(
    change: Change, model: Model
) -> None:
    header = mammogram(R_CC, change)
    assert in_scope(header, model)
    (unit,) = selected_from([header], model).units
    assert unit.doubts in (
        ("Body part is said to be HAND",),
        ("Body part is said to be CHEST",),
    )


@pytest.mark.parametrize("word", ["MAMA", "BRUST", "SEIN", "BORST", "BRST", "MG", "RMLO", "SENO"])
def test_words_that_nobody_here_knows_leave_no_mammogram_unanswered(
    word: str, model: Model
) -> None:
    header = mammogram(R_CC, put(BodyPartExamined=word, AnatomicRegionSequence=[]))
    assert selected_from([header], model).units[0].doubts == ()
    refused = selected_from([without_view(header)], model).refused
    assert [one.reason for one in refused] == ["no laterality given"]


def test_a_region_that_nobody_here_knows_leaves_no_mammogram_unanswered(model: Model) -> None:
    region = [phantom.code("1", "SCT", "New")]
    header = without_view(mammogram(R_CC, put(BodyPartExamined="", AnatomicRegionSequence=region)))
    assert len(selected_from([header], model).refused) == 1


def test_what_is_awaited_are_the_views_that_one_of_the_models_expects(
    tmp_path: Path, model: Model
) -> None:
    lateral = package(
        tmp_path / "lateral",
        ('projections = ["CC", "MLO"]', 'projections = ["ML"]'),
        ('["R CC", "L CC", "R MLO", "L MLO"]', '["R ML"]'),
    )
    lateral_view = View(Laterality.RIGHT, "ML")
    wanted = [model.manifest.input, lateral.manifest.input]
    assert awaited([], wanted).missing == ("R CC", "L CC", str(lateral_view), "R MLO", "L MLO")
    seen = [instance(mammogram(view)).shown for view in (L_MLO, R_CC, R_CC)]
    found = awaited(seen, wanted)
    assert (found.what, found.there) == ("views", ("R CC", "L MLO"))
    assert found.missing == ("L CC", "R ML", "R MLO")


def test_a_magnified_view_does_not_stand_for_its_view(tmp_path: Path) -> None:
    dataset = factories.exam(views=[R_CC])[0]
    path = tmp_path / "x.dcm"
    dataset.save_as(path, enforce_file_format=True)
    assert describe(read_header(path), path, "digest").is_standard
    dataset.EstimatedRadiographicMagnificationFactor = "1.8"
    dataset.save_as(path, enforce_file_format=True)
    seen = describe(read_header(path), path, "digest")
    assert (str(seen.view), seen.is_standard) == ("R CC", False)


@pytest.mark.parametrize(
    ("black", "white", "words"),
    [
        (0.3, 0.5, ""),
        (0.31, 0, "its window, VOI LUT or padding makes 31% of what it shows black"),
        (0, 0.51, "its window, VOI LUT or padding makes 51% of what it shows white"),
    ],
)
def test_a_display_that_hides_the_breast_is_told(black: float, white: float, words: str) -> None:
    hidden = Hidden(black, white)
    if not words:
        require_visible(hidden)
        return
    with pytest.raises(StudyError, match=words):
        require_visible(hidden)
