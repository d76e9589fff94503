"""The table of labelled images: what it says, and how it says that something is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from node.errors import ConfigError
from node.evaluation.labels import LabelTable, read_labels
from node.study import Laterality

HEAD = "path,patient,side,view,label"


def read(tmp_path: Path, text: str | bytes, *names: str) -> LabelTable:
    for name in names or ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"")
    path = tmp_path / "labels.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_labels(path, tmp_path)


def problems(tmp_path: Path, text: str | bytes) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        read(tmp_path, text)
    return [line.replace(f"{tmp_path}/", "") for line in str(raised.value).split("\n")]


def test_a_row_says_what_an_image_is(tmp_path: Path) -> None:
    text = f"{HEAD},device,bits,spacing_mm,chest_wall,exam,inverted\n"
    text += "a.png,P1,r,mlo,1,X,12,0.07,LEFT,2019,True\n"
    (row,) = read(tmp_path, text).rows
    assert row.path == tmp_path / "a.png"
    assert (row.line, row.patient, row.label, row.exam) == (2, "P1", "1", "2019")
    assert (row.side, row.projection) == (Laterality.RIGHT, "MLO")
    assert (row.bits, row.spacing_mm, row.chest_wall) == (12, 0.07, "left")
    assert row.is_inverted
    assert row.columns["device"] == "X"


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbfpath,patient,label\r\na.png,P1,1\r\n",
        b"path;patient;label\na.png;P1;1\n",
        b"path\tpatient\tlabel\na.png\tP1\t1\n",
        b"\n Path , PATIENT,Label\n\n,,\na.png , P1, 1",
        b'path,patient,label\n"a.png","P1","1"\n',
    ],
)
def test_what_spreadsheets_write_is_read(text: bytes, tmp_path: Path) -> None:
    (row,) = read(tmp_path, text).rows
    assert (row.path.name, row.patient, row.label) == ("a.png", "P1", "1")


def test_lines_are_those_that_an_editor_shows(tmp_path: Path) -> None:
    text = 'path,patient,label,said\n\na.png,P1,1,"two\nlines"\nb.png,P1,0,\n'
    assert [row.line for row in read(tmp_path, text).rows] == [3, 5]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("path,patient\na.png,1\n", r"labels.csv:1: no column label; known are: path, patient"),
        (
            "path,pateint,label\na.png,P,1\n",
            r'labels.csv:1: no column patient; did you mean "pateint"',
        ),
        ("path,path,patient,label\n", r"labels.csv:1: two columns are called path"),
        (f"{HEAD}\n", r"labels.csv: there is no row below"),
        ("", r"labels.csv: is empty; begin with a line such as path,patient,label,side,view$"),
        (f"{HEAD}\na.png,P1,R,CC\n", r"labels.csv:2: expected 5 cells, found 4"),
        (f"{HEAD}\na.png,P1,B,CC,1\n", r'labels.csv:2: side: expected R or L, found "B"'),
        (f"{HEAD}\na.png,P1,R,CCC,1\n", r'labels.csv:2: view: expected one of CC, MLO.* "CCC"'),
        (f"{HEAD}\na.png,,R,CC,1\n", r"labels.csv:2: patient: expected whose image it is"),
        (f"{HEAD}\na.png,P1,R,CC,\n", r"labels.csv:2: label: expected 0 or 1, or a name"),
        (f"{HEAD}\n,P1,R,CC,1\n", r"labels.csv:2: path: expected an image below"),
        (f"{HEAD}\nc.png,P1,R,CC,1\n", r"labels.csv:2: path: there is no file c.png"),
        (f"{HEAD}\na.png,P1,R,CC,1\n./a.png,P1,R,CC,1\n", r":3: path: the same file as in line 2"),
        (
            f"{HEAD},bits\na.png,P1,R,CC,1,8\n",
            r"bits: expected how many bits of 16 are used, 9 to 16",
        ),
        (
            f"{HEAD},spacing_mm\na.png,P1,R,CC,1,70\n",
            r"spacing_mm: expected the size of a pixel in mm",
        ),
        (
            f"{HEAD},chest_wall\na.png,P1,R,CC,1,up\n",
            r'chest_wall: expected left or right, found "up"',
        ),
        (b"path,patient,label\n\xff,P,1\n", r"labels.csv: not UTF-8 text, save it as CSV in UTF-8"),
        (
            f"{HEAD},inverted\na.png,P1,R,CC,1,maybe\n",
            r'inverted: expected 1 if 0 is white, else 0, found "maybe"',
        ),
        (f'{HEAD}\n"a.png"x,"P1\n', r"expected 5 cells|not CSV"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(
    text: str | bytes, expected: str, tmp_path: Path
) -> None:
    (problem,) = problems(tmp_path, text)
    assert re.search(expected, problem), problem


def test_all_that_is_wrong_is_said_at_once_but_not_endlessly(tmp_path: Path) -> None:
    rows = "".join(f"a{n}.png,P,X,CC,1\n" for n in range(30))
    found = problems(tmp_path, f"{HEAD}\n{rows}")
    assert found[0] == "labels.csv:2: path: there is no file a0.png"
    assert found[1].startswith("labels.csv:2: side: ")
    assert found[-1] == "and 40 more"


def test_a_table_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.csv: cannot be read"):
        read_labels(tmp_path / "none.csv", tmp_path)
