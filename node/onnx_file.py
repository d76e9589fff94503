"""The bytes of an ONNX file -> whether all of the network is in them.

ONNX allows a tensor to keep its values in another file ("external data"), which ONNX Runtime looks
for in the folder it happens to be run in. The hash of a model package covers one file: what is
elsewhere could change and nobody would know.

Only as much of the format is read here (the encoding is that of Protocol Buffers) as shows where
tensors are. What is not understood is refused, not passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from node.errors import ConfigError

TENSORS: Mapping[str, Mapping[int, str]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        **dict.fromkeys((5, 10), "TensorProto"),
        **dict.fromkeys((6, 11), "GraphProto"),
        **dict.fromkeys((22, 23), "SparseTensorProto"),
    },
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TensorProto": {},
}
"""Of each kind of message the fields that hold tensors, or messages that may (onnx.proto)."""

_NAME, _EXTERNAL_DATA, _DATA_LOCATION = 8, 13, 14  # of TensorProto
_KEY, _VALUE = 1, 2  # of StringStringEntryProto, which external data are made of

_OPSET_IMPORT = 8  # of ModelProto
_DOMAIN, _VERSION = 1, 2  # of OperatorSetIdProto

_NUMBER, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
"""Wire types; the two others begin and end groups, which ONNX has none of."""
_LONGEST_NUMBER = 10
_LARGEST_KEY = (1 << 32) - 1

_Field = tuple[int, int | memoryview]
"""Its number, and its value; what it is as a number of four or eight bytes does not matter."""


_EXPORT = "export it as ONNX, with torch.onnx.export or what your framework has for that"
_PICKLED = (
    f"is a PyTorch file, in pickles, which are never loaded: they can run any code; {_EXPORT}"
)
OTHER_FILES: tuple[tuple[int, bytes, str], ...] = (
    (
        0,
        b"version https://git-lfs.github.com/spec/",
        "is a pointer of Git LFS, not the network: fetch that with `git lfs pull`; what the "
        "pointer calls oid is the SHA-256 for the manifest",
    ),
    (0, b"PK\x03\x04", _PICKLED),
    *((0, bytes((0x80, protocol)), _PICKLED) for protocol in range(2, 6)),
    (0, b"\x89HDF", f"is an HDF5 file, as Keras saves; {_EXPORT}"),
    (4, b"TFL3", f"is a TensorFlow Lite file; {_EXPORT}"),
    (4, b"ORTM", f"is in the format of ONNX Runtime itself, which may hide a part; {_EXPORT}"),
    (0, b"<", "is a web page: download the file itself"),
)
"""What is put in place of an ONNX file by mistake: where it is told from one, by what, and the
words. None of these begins a ModelProto with a field that it has."""


def refuse_other_files(path: Path, content: bytes) -> None:
    """Raise ConfigError if it can be seen that something else was saved under the name."""
    if not content:
        raise ConfigError(f"{path}: is empty; export it again, or fetch it again")
    for at, mark, words in OTHER_FILES:
        if content[at : at + len(mark)] == mark:
            raise ConfigError(f"{path}: {words}")


def refuse_external_data(path: Path, content: bytes) -> None:
    """Raise ConfigError if a tensor anywhere in an ONNX file has its values in another file."""
    try:
        found = next(_external_tensors(memoryview(content)), None)
    except ValueError as error:
        raise ConfigError(
            f"{path}: is no ONNX file, or a damaged one ({error}); export the model again"
        ) from None
    if found is None:
        return
    name, location = found
    raise ConfigError(
        f"{path}: the tensor {name} has its values in another file, {location}, which the SHA-256 "
        "of the manifest does not cover; export the model as one file, with torch.onnx.export(..., "
        f'external_data=False) or onnx.save(onnx.load("{path.name}"), "{path.name}"), and put the '
        "SHA-256 of that into the manifest"
    )


def opset_of(content: bytes) -> int | None:
    """Return the version of the operators of ONNX itself that a network uses; None if unsaid."""
    for number, value in _fields(memoryview(content)):
        if number == _OPSET_IMPORT and isinstance(value, memoryview):
            entry = dict(_fields(value))
            domain, version = entry.get(_DOMAIN, memoryview(b"")), entry.get(_VERSION)
            if isinstance(domain, memoryview) and bytes(domain) in (b"", b"ai.onnx"):
                return version if isinstance(version, int) else None
    return None


def _external_tensors(content: memoryview) -> Iterator[tuple[str, str]]:
    """Yield the names of tensors whose values are elsewhere, and of the files they are in."""
    to_read = [("ModelProto", content)]  # no recursion: a file may nest as deeply as it likes
    while to_read:
        kind, message = to_read.pop()
        fields = list(_fields(message))
        if kind == "TensorProto" and any(_is_elsewhere(field) for field in fields):
            yield _name(fields), _location(fields)
        for number, value in fields:
            inner = TENSORS[kind].get(number)
            if inner and isinstance(value, memoryview):
                to_read.append((inner, value))


def _is_elsewhere(field: _Field) -> bool:
    number, value = field
    if number == _EXTERNAL_DATA:
        return isinstance(value, memoryview)
    return number == _DATA_LOCATION and isinstance(value, int) and value != 0


def _name(fields: list[_Field]) -> str:
    return ascii(_text([value for number, value in fields if number == _NAME]))


def _location(fields: list[_Field]) -> str:
    for number, value in fields:
        if number == _EXTERNAL_DATA and isinstance(value, memoryview):
            entry = list(_fields(value))
            if _text([value for number, value in entry if number == _KEY]) == "location":
                return ascii(_text([value for number, value in entry if number == _VALUE]))
    return "whose name it does not tell"


def _text(values: list[int | memoryview]) -> str:
    texts = [bytes(value[:200]) for value in values if isinstance(value, memoryview)]
    return texts[-1].decode("utf-8", "replace") if texts else ""


def _fields(message: memoryview) -> Iterator[_Field]:
    """Yield the fields of a message; raise ValueError if it is damaged."""
    at = 0
    while at < len(message):
        key, at = _number(message, at)
        if not 8 <= key <= _LARGEST_KEY:  # others read it modulo 2**32
            raise ValueError(f"no field has the key {key}")
        value: int | memoryview
        if key & 7 == _NUMBER:
            value, at = _number(message, at)
        else:
            length, at = _length(key & 7, message, at)
            value, at = message[at : at + length], at + length
            if at > len(message):
                raise ValueError("it ends early")
        yield key >> 3, value if key & 7 in (_NUMBER, _BYTES) else 0


def _length(wire_type: int, message: memoryview, at: int) -> tuple[int, int]:
    """Return how many bytes a value has, and where they begin."""
    if wire_type == _BYTES:
        return _number(message, at)
    if wire_type == _EIGHT_BYTES:
        return 8, at
    if wire_type == _FOUR_BYTES:
        return 4, at
    raise ValueError(f"wire type {wire_type} does not occur in ONNX")


def _number(message: memoryview, at: int) -> tuple[int, int]:
    """Return a number of seven bits a byte, the lowest first, and where the next value begins."""
    number = 0
    for place, byte in enumerate(message[at : at + _LONGEST_NUMBER]):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, at + place + 1
    raise ValueError("a number does not end")
