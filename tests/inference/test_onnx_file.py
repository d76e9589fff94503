"""All of a network is in the file that was hashed, or it is not loaded."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import AttributeProto, FunctionProto, GraphProto, NodeProto, TensorProto
from small_models import declared
from small_models import model as small_model

from node.errors import ConfigError
from node.onnx_file import TENSORS, refuse_external_data, refuse_other_files

PATH = Path("models/small/model.onnx")


def is_refused(content: bytes) -> bool:
    """Return whether a file is refused for external data."""
    try:
        refuse_external_data(PATH, content)
    except ConfigError as error:
        return "in another file" in str(error)
    return False


def is_external_for_onnx(message: Any) -> bool:
    """Return the same by ONNX's own reader, which knows all fields there are."""
    if isinstance(message, TensorProto):
        return bool(message.external_data) or message.data_location != TensorProto.DEFAULT
    return any(
        is_external_for_onnx(one)
        for field, value in message.ListFields()
        if field.message_type is not None
        for one in (value if field.is_repeated else [value])
    )


def tensor(location: str = "") -> TensorProto:
    made = onnx.numpy_helper.from_array(np.ones(3, np.float32), "weights of it")
    if location:
        onnx.external_data_helper.set_external_data(made, location)
        made.ClearField("raw_data")
    return made


def in_node(attribute: AttributeProto) -> NodeProto:
    return NodeProto(op_type="Constant", attribute=[attribute])


def in_graph(**parts: Any) -> bytes:
    return bytes(onnx.ModelProto(graph=GraphProto(**parts)).SerializeToString())


def in_attribute(**parts: Any) -> bytes:
    return in_graph(node=[in_node(AttributeProto(name="value", **parts))])


OUTSIDE = tensor("model.onnx.data")
SPARSE = onnx.SparseTensorProto(values=OUTSIDE)
INNER = GraphProto(initializer=[OUTSIDE])
FUNCTION = FunctionProto(node=[in_node(AttributeProto(t=OUTSIDE))])
TRAINING = onnx.TrainingInfoProto(algorithm=INNER)

PLACES = {
    "initializer": in_graph(initializer=[tensor(), OUTSIDE]),
    "sparse initializer": in_graph(sparse_initializer=[SPARSE]),
    "indices of one": in_graph(
        sparse_initializer=[onnx.SparseTensorProto(values=tensor(), indices=OUTSIDE)]
    ),
    "attribute": in_attribute(t=OUTSIDE),
    "attribute of many": in_attribute(tensors=[tensor(), OUTSIDE]),
    "sparse attribute": in_attribute(sparse_tensor=SPARSE),
    "sparse attribute of many": in_attribute(sparse_tensors=[SPARSE]),
    "branch": in_attribute(g=INNER),
    "branches": in_attribute(graphs=[GraphProto(), INNER]),
    "function": onnx.ModelProto(functions=[FUNCTION]).SerializeToString(),
    "default of a function": onnx.ModelProto(
        functions=[FunctionProto(attribute_proto=[AttributeProto(t=OUTSIDE)])]
    ).SerializeToString(),
    "training": onnx.ModelProto(training_info=[TRAINING]).SerializeToString(),
}


@pytest.mark.parametrize("place", PLACES)
def test_external_data_are_refused_wherever_they_are(place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        refuse_external_data(PATH, PLACES[place])
    told = str(caught.value)
    assert told.startswith(
        f"{PATH}: the tensor 'weights of it' has its values in another file, 'model.onnx.data', "
    )
    assert "external_data=False" in told


def test_a_place_without_a_word_of_where_it_is_counts_too() -> None:
    only_said = tensor()
    only_said.data_location = TensorProto.EXTERNAL
    assert is_refused(in_graph(initializer=[only_said]))
    only_told = tensor("elsewhere")
    only_told.data_location = TensorProto.DEFAULT
    assert is_refused(in_graph(initializer=[only_told]))


def test_a_network_in_one_file_is_not_refused() -> None:
    explicit = tensor()
    explicit.data_location = TensorProto.DEFAULT
    refuse_external_data(PATH, in_graph(initializer=[tensor(), explicit]))
    refuse_external_data(PATH, b"")


def test_every_field_that_may_hold_a_tensor_is_known() -> None:
    """When ONNX gets a new one, this says so."""
    kinds: dict[str, Any] = {}
    to_see = [onnx.ModelProto.DESCRIPTOR]
    while to_see:
        kind = to_see.pop()
        if kind.name not in kinds:
            kinds[kind.name] = kind
            to_see += [field.message_type for field in kind.fields if field.message_type]
    holding = {"TensorProto"}
    while more := {
        name
        for name, kind in kinds.items()
        if name not in holding
        and any(field.message_type and field.message_type.name in holding for field in kind.fields)
    }:
        holding |= more
    assert {
        name: {
            field.number: field.message_type.name
            for field in kinds[name].fields
            if field.message_type and field.message_type.name in holding
        }
        for name in holding
    } == TENSORS


def test_a_message_in_a_message_in_a_message_and_so_on_is_read_to_the_end() -> None:
    def wrapped(number: int, content: bytes) -> bytes:
        length, digits = len(content), bytearray()
        while length >= 0x80:
            digits.append(length & 0x7F | 0x80)
            length >>= 7
        return bytes([number << 3 | 2, *digits, length]) + content

    content: bytes = INNER.SerializeToString()
    for _ in range(3000):
        content = wrapped(1, wrapped(5, wrapped(6, content)))
    assert is_refused(wrapped(7, content))


@pytest.mark.parametrize(
    "content",
    [
        b"not ONNX",
        b"\x08",  # a number that is not there
        b"\x08" + b"\xff" * 11,  # one that is too long
        b"\x3a\x05\x00",  # ends early
        b"\x3b\x3c",  # a group
        b"\x02\x00",  # the field 0
        b"\xbd\x80\x80\x80\x10" + bytes(4),  # a key that others read modulo 2**32
    ],
)
def test_what_is_not_understood_is_refused(content: bytes) -> None:
    with pytest.raises(ConfigError, match="is no ONNX file, or a damaged one"):
        refuse_external_data(PATH, content)


tensors = st.builds(tensor, st.sampled_from(["", "", "", "outside"]))
sparse = st.builds(onnx.SparseTensorProto, values=tensors, indices=tensors)


def few(of: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(of, max_size=2)


graphs: st.SearchStrategy[GraphProto] = st.deferred(
    lambda: st.builds(
        GraphProto, node=few(nodes), initializer=few(tensors), sparse_initializer=few(sparse)
    )
)
attributes = st.one_of(
    st.builds(AttributeProto, i=st.integers(-5, 5), floats=st.just([1.0, 2.0]), s=st.binary()),
    st.builds(AttributeProto, t=tensors, tensors=few(tensors)),
    st.builds(AttributeProto, sparse_tensor=sparse, sparse_tensors=few(sparse)),
    st.builds(AttributeProto, g=graphs, graphs=few(graphs)),
)
nodes: st.SearchStrategy[NodeProto] = st.builds(
    NodeProto, attribute=few(attributes), doc_string=st.text(max_size=5)
)
models = st.builds(
    onnx.ModelProto,
    ir_version=st.integers(0, 1 << 62),
    graph=graphs,
    functions=few(st.builds(FunctionProto, node=few(nodes), attribute_proto=few(attributes))),
    training_info=few(st.builds(onnx.TrainingInfoProto, initialization=graphs, algorithm=graphs)),
)


@settings(max_examples=examples(50))
@given(model=models)
def test_whatever_the_network_looks_like_it_finds_what_onnx_finds(model: onnx.ModelProto) -> None:
    assert is_refused(model.SerializeToString()) == is_external_for_onnx(model)


@settings(max_examples=examples(300))
@given(
    place=st.sampled_from(sorted(PLACES)),
    changes=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4
    ),
)
def test_nothing_that_onnx_reads_as_external_passes_for_another_file(
    place: str, changes: list[tuple[float, int]]
) -> None:
    content = bytearray(PLACES[place])
    for at, byte in changes:
        content[int(at * len(content))] = byte
    try:
        is_external = is_external_for_onnx(onnx.ModelProto.FromString(bytes(content)))
    except Exception:  # noqa: BLE001 - protobuf's, which has no types
        is_external = False
    if is_external:
        with pytest.raises(ConfigError):
            refuse_external_data(PATH, bytes(content))
    else:
        is_refused(bytes(content))  # or not: it answers


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
            "is a pointer of Git LFS, not the network: fetch that with `git lfs pull`",
        ),
        (b"PK\x03\x04\0\0\0\0archive/data.pkl", "is a PyTorch file, in pickles, which are never"),
        (pickle.dumps({"weights": 1}, protocol=2), "is a PyTorch file, in pickles, which are"),
        (pickle.dumps({"weights": 1}, protocol=4), "is a PyTorch file, in pickles, which are"),
        (pickle.dumps({"weights": 1}, protocol=5), "is a PyTorch file, in pickles, which are"),
        (b"\x89HDF\r\n\x1a\n", "is an HDF5 file, as Keras saves; export it as ONNX"),
        (b"\x1c\0\0\0TFL3\0\0", "is a TensorFlow Lite file; export it as ONNX"),
        (b"\x1c\0\0\0ORTM\0\0", "is in the format of ONNX Runtime itself"),
        (b"<!DOCTYPE html><html>", "is a web page: download the file itself"),
    ],
)
def test_what_was_put_in_place_of_a_network_by_mistake_is_called_what_it_is(
    content: bytes, words: str, tmp_path: Path
) -> None:
    package = small_model(tmp_path)
    package.weights_path.write_bytes(content)
    for opened in (package, declared(package.folder)):  # its hash in the manifest, or not
        with pytest.raises(ConfigError, match=re.escape(f"model.onnx: {words}")):
            opened.verify_weights()


@given(models)
def test_no_network_is_taken_for_something_else(network: onnx.ModelProto) -> None:
    refuse_other_files(PATH, network.SerializeToString())
