"""The beginning of a package of which the network reads volumes: phases of a breast MRI."""

from __future__ import annotations

from node.errors import ConfigError
from node.inference.onnx import Graph, GraphTensor
from node.packages.draft import ManifestDraft, Reads, as_list
from node.toml_file import quoted

_SIZE = (64, 128, 256)
"""Slices, rows and columns where the graph takes any."""
_MANY = 20
"""Phases that a dynamic series may have; more channels than this are something else."""


def reads_phases(graph: Graph) -> Reads:
    """Guess which phases a network of five axes reads; raise ConfigError where it can be none."""
    first = graph.inputs[0]
    if any(one.shape[1:] != first.shape[1:] for one in graph.inputs):
        named = " and ".join(f"{one.name!r} of {_sizes(one)}" for one in graph.inputs)
        raise ConfigError(
            f"it has inputs {named}: volumes of one size, one phase each, can be guessed; of "
            'others write the manifest yourself, as models/README.md, "Volumes", tells'
        )
    count, channels, *size = first.shape
    if len(graph.inputs) > 1 and (count not in (1, None) or channels not in (1, None)):
        raise ConfigError(
            f"it has {len(graph.inputs)} inputs of several volumes each: give each phase an input, "
            "or join all of them in one, along the channels"
        )
    joined, join = _joined(first) if len(graph.inputs) == 1 else (len(graph.inputs), "")
    roles = _roles(joined)
    of_phase = (1, *(known or usual for known, usual in zip(size, _SIZE, strict=True)))
    if len(graph.inputs) == 1:
        one_input = (first.name, roles, join if joined > 1 else "")
        return Reads("exam", roles, (one_input,), of_phase, is_sure=False)
    pairs = zip(graph.inputs, roles, strict=True)
    each = tuple((one.name, (role,), "") for one, role in pairs)
    return Reads("exam", roles, each, of_phase, is_sure=False)


def _joined(one: GraphTensor) -> tuple[int, str]:
    """Return how many phases one input holds, and along which axis."""
    count, channels = one.shape[:2]
    if count not in (1, None):
        if channels not in (1, None) or count > _MANY:
            raise ConfigError(f"input {one.name!r} is of {_sizes(one)}: {_HOW}")
        return count, "batch"
    if channels is not None and channels > _MANY:
        raise ConfigError(f"input {one.name!r} is of {_sizes(one)}: {_HOW}")
    return channels or 2, "channels"


_HOW = (
    "expected [1, phases, slices, rows, columns] or [phases, 1, slices, rows, columns]; with "
    "channels last begin the graph with a Transpose"
)


def _roles(count: int) -> tuple[str, ...]:
    """Return the phase before contrast and as many after it; of one alone one after it."""
    if count == 1:
        return ("post 1",)
    return ("pre", *(f"post {number}" for number in range(1, count)))


def _sizes(one: GraphTensor) -> str:
    return " x ".join("any" if size is None else str(size) for size in one.shape)


def write_phases(draft: ManifestDraft, reads: Reads) -> None:
    """Write what a model of phases reads, and what is made of each."""
    _write_input(draft, reads)
    _write_pixels(draft, reads)


def _write_input(draft: ManifestDraft, reads: Reads) -> None:
    draft.write("[input]")
    draft.ask("Dynamic series of breast MRI? Volumes of anything else are not read.")
    draft.write('modality = "MR"')
    draft.ask("MR Image, Enhanced MR Image, Legacy Converted Enhanced MR Image: as many as work.")
    classes = ("1.2.840.10008.5.1.4.1.1.4", *_ENHANCED)
    draft.write(f"sop_classes = {as_list(classes)}")
    draft.ask("How many phases has a complete exam, the one before contrast counted?")
    draft.write(f"expected_phases = {max(2, len(reads.roles) + ('pre' not in reads.roles))}")
    draft.write("", "[unit]", 'of = "exam"')
    draft.ask('Which phases does it read? "pre" is before contrast, "post 1" the first after it.')
    draft.write(f"roles = {as_list(reads.roles)}")
    draft.ask("If one of these is missing: refuse, or blank (the network gets zeros)?")
    draft.write('missing = "refuse"')
    for tensor, roles, join in reads.inputs:
        draft.write("", "[[inputs]]", f"tensor = {quoted(tensor)}")
        draft.ask("Which phase is this, or in which order are these? The graph does not tell.")
        draft.write(f"roles = {as_list(roles)}", *([f'join = "{join}"'] if join else []))


_ENHANCED = ("1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.4")


def _write_pixels(draft: ManifestDraft, reads: Reads) -> None:
    _, slices, rows, columns = reads.of_image
    draft.write("", "[[pixels]]", 'op = "signal"', "", "[[pixels]]", 'op = "orient"')
    draft.ask("Where are slices, rows and columns counted to? HPL: to the head, back and left.")
    draft.write('axes = "HPL"', "", "[[pixels]]", 'op = "spacing"')
    draft.ask("How many mm apart were slices, rows and columns in training? Else without it.")
    draft.write("mm = [2.0, 1.0, 1.0]", "", "[[pixels]]", 'op = "percentiles"')
    draft.ask("Scaled by two percentiles? Or by z-score or normalise in place of this table.")
    draft.write("low = 1", "high = 99")
    of_pre = "pre" in reads.roles
    draft.ask("By those of pre for all phases, so that uptake stays, or of each for itself?")
    draft.write(f'of = "{"pre" if of_pre else "each"}"', "", "[[pixels]]", 'op = "size"')
    draft.ask("Cut, or filled up with 0, about the middle to this size: as in training?")
    draft.write(f"slices = {slices}", f"rows = {rows}", f"columns = {columns}", "fill = 0.0")
