"""The beginning of a package of which the network reads volumes: phases of a breast MRI."""

from __future__ import annotations

import re
from dataclasses import replace

from node.errors import ConfigError
from node.inference.onnx import Graph, GraphTensor
from node.manifest.inputs import BY_TIME, REGION
from node.packages.draft import ManifestDraft, Reads, as_list
from node.toml_file import quoted

_SIZE = (64, 128, 256)
"""Slices, rows and columns where the graph takes any."""
_MANY = 20
"""Phases that a dynamic series may have; more channels than this are something else."""


def reads_phases(graph: Graph) -> Reads:
    """Guess which phases a network of five axes reads; raise ConfigError where it can be none."""
    regions = [one for one in graph.inputs if one.name.lower() == REGION]
    phases = [one for one in graph.inputs if one not in regions]
    if not phases:
        raise ConfigError(f"it reads {regions[0].name!r} alone: a phase is missing")
    first = phases[0]
    if any(one.shape[1:] != first.shape[1:] for one in phases) or any(
        one.shape[2:] != first.shape[2:] for one in regions
    ):
        named = " and ".join(f"{one.name!r} of {_sizes(one)}" for one in graph.inputs)
        raise ConfigError(
            f"it has inputs {named}: volumes of one size, one phase each, can be guessed; of "
            'others write the manifest yourself, as models/README.md, "Volumes", tells'
        )
    count, channels, *size = first.shape
    if len(phases) > 1 and (count not in (1, None) or channels not in (1, None)):
        raise ConfigError(
            f"it has {len(phases)} inputs of several volumes each: give each phase an input, "
            "or join all of them in one, along the channels"
        )
    of_region = tuple((one.name, (REGION,), "") for one in regions)
    of_phase = (1, *(known or usual for known, usual in zip(size, _SIZE, strict=True)))
    if len(phases) == 1:
        joined, join = _joined(first)
        roles = _roles(joined)
        one_input = (first.name, roles, join if joined > 1 else "")
        return Reads("exam", roles, (one_input, *of_region), of_phase, is_sure=False)
    named_so = tuple(_role_of(one.name) for one in phases)
    is_sure = all(named_so) and len(set(named_so)) == len(named_so)
    roles = named_so if is_sure else _roles(len(phases))
    pairs = zip(phases, roles, strict=True)
    each = tuple((one.name, (role,), "") for one, role in pairs)
    return Reads("exam", roles, (*each, *of_region), of_phase, is_sure)


def _role_of(name: str) -> str:
    """Return the phase that an input is called after, "" if it is after none."""
    found = _NAMED.fullmatch(name.lower())
    if found is None:
        return ""
    return f"post {int(found['number'])}" if found["number"] else name.lower()


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


_NAMED = re.compile(r"pre|early|late|post[-_ ]?(?P<number>[1-9][0-9]?)")

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


def write_phases(draft: ManifestDraft, reads: Reads, *, marks: bool = False) -> None:
    """Write what a model of phases reads, and what is made of each.

    `marks`: whether it answers with solids, which lie on the slices of "pre".
    """
    needs_pre = marks or any(REGION in roles for _, roles, _ in reads.inputs)
    if needs_pre and "pre" not in reads.roles:
        reads = replace(reads, roles=("pre", *reads.roles))
    _write_input(draft, reads)
    _write_pixels(draft, reads)


def _write_input(draft: ManifestDraft, reads: Reads) -> None:
    draft.write("[input]")
    draft.ask("Dynamic series of breast MRI? Volumes of anything else are not read.")
    draft.write('modality = "MR"')
    draft.ask("MR Image, Enhanced MR Image, Legacy Converted Enhanced MR Image: as many as work.")
    classes = ("1.2.840.10008.5.1.4.1.1.4", *_ENHANCED)
    draft.write(f"sop_classes = {as_list(classes)}")
    _write_how_many(draft, reads)
    draft.write("", "[unit]", 'of = "exam"')
    if not reads.is_sure:
        draft.ask('Which phases does it read? "pre" is before contrast, "post 1" the first after.')
    draft.write(f"roles = {as_list(reads.roles)}", *_OTHER_ROLES)
    _write_moments(draft, reads)
    draft.ask("If one of these is missing: refuse, or blank (the network gets zeros)?")
    draft.write('missing = "refuse"')
    draft.write(
        '# optional = ["late"]    # read without it alone: zeros there, the report says why'
    )
    draft.write("# most_displaced_mm = 2.0    # an exam in which the body moved more is refused")
    for tensor, roles, join in reads.inputs:
        draft.write("", "[[inputs]]", f"tensor = {quoted(tensor)}")
        if roles == (REGION,):
            draft.ask(
                "Is this where the breasts are: 0 outside, 1 right, 2 left, 3 skin, 4 chest wall?"
            )
        elif not reads.is_sure:
            draft.ask("Which phase is this, or in which order are these? The graph does not tell.")
        draft.write(f"roles = {as_list(roles)}", *([f'join = "{join}"'] if join else []))


_OTHER_ROLES = (
    '# Others are told by time, "early" and "late", each with its moment as below, or are',
    '# "each post": every phase after contrast in turn, the network answers once for each.',
)
_MOMENTS = {
    "early": "{ middle_s = 150, within_s = 60 }",
    "late": "{ middle_s = 450, within_s = 120 }",
}


def _write_how_many(draft: ManifestDraft, reads: Reads) -> None:
    if any(role in BY_TIME for role in reads.roles):
        draft.write("# expected_phases = 6    # where every exam has so many: a sooner result")
        return
    draft.ask("How many phases has a complete exam, the one before contrast counted?")
    last = max((int(one[5:]) for one in reads.roles if one.startswith("post ")), default=1)
    draft.write(f"expected_phases = {last + 1}")


def _write_moments(draft: ManifestDraft, reads: Reads) -> None:
    """Write when phases that are told by time are acquired; of others in comments how to."""
    if any(role in BY_TIME for role in reads.roles):
        draft.ask("How many seconds after the injection is the middle of each, and within which?")
    for role, moment in _MOMENTS.items():
        draft.write(f"{'' if role in reads.roles else '# '}{role} = {moment}")


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
