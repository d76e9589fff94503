"""Images of a breast or of an exam -> what a network reads at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from pydicom import Dataset

from node.dicom.untrusted import text
from node.domains.domain import Selection
from node.manifest import ManifestUnit
from node.result import Refusal
from node.study import Instance, Unit, View

_ByRole = dict[str, list[Unit]]


def grouped(
    selection: Selection,
    wanted: ManifestUnit,
    instances: Sequence[Instance],
    headers: Mapping[str, Dataset],
) -> Selection:
    """Make units of a breast, or of the exam, of units of one image.

    The instances are those of the study, in the order in which they came.
    """
    if wanted.of == "image":
        return selection
    groups: dict[str, _ByRole] = {}
    units, refused = list[Unit](), [*selection.refused]
    for image in selection.units:
        group, role = _place(image, wanted)
        if role in wanted.roles:
            groups.setdefault(group, {}).setdefault(role, []).append(image)
        else:
            refused += _refusals([image], "has no place in what this model reads at once")
    for group, by_role in sorted(groups.items(), reverse=True):  # right before left
        if reason := _why_not_read(by_role, wanted):
            refused += _refusals(_all(by_role), reason)
            continue
        chosen = {}
        for role in wanted.roles:
            if role in by_role:
                *others, chosen[role] = _chosen_last(by_role[role], wanted, instances, headers)
                reason = f"another image of this view is read, the {wanted.repeated}"
                refused += _refusals(others, reason)
        units.append(_unit(group, chosen))
    return replace(selection, units=tuple(units), refused=tuple(refused))


def _place(image: Unit, wanted: ManifestUnit) -> tuple[str, str]:
    """Return of what an image is a part, and its role in it."""
    view = _view(image)
    if wanted.of == "exam":
        return "Exam", str(view)
    return f"{view.laterality} breast", view.projection


def _view(image: Unit) -> View:
    view = image.instance.view
    assert view is not None, "selection lets only images with a view through"
    return view


def _why_not_read(by_role: _ByRole, wanted: ManifestUnit) -> str:
    """Return why nothing of a breast or exam is read, "" if it is."""
    repeated = [role for role, images in by_role.items() if len(images) > 1]
    if repeated and wanted.repeated == "refuse":
        return f"more than one image of {', '.join(repeated)}, and this model reads one"
    missing = [role for role in wanted.roles if role not in by_role]
    if missing and wanted.missing == "refuse":
        return f"this model does not read it without {', '.join(missing)}"
    return ""


def _chosen_last(
    images: Sequence[Unit],
    wanted: ManifestUnit,
    instances: Sequence[Instance],
    headers: Mapping[str, Dataset],
) -> list[Unit]:
    """Return images of one role, the one to be read at the end."""
    came = {instance.sop_uid: number for number, instance in enumerate(instances)}
    taken = {image.sop_uid: _acquired_at(headers[image.sop_uid]) for image in images}
    is_known = all(taken.values()) and len(set(taken.values())) == len(taken)
    in_time = sorted(
        images, key=lambda image: (taken[image.sop_uid] if is_known else "", came[image.sop_uid])
    )
    return in_time if wanted.repeated == "last" else in_time[::-1]


def _acquired_at(header: Dataset) -> str:
    """Return Acquisition Date (0008,0022) and Time (0008,0032), "" unless both are said."""
    date, time = text(header, "AcquisitionDate"), text(header, "AcquisitionTime")
    return date + time if date and time else ""


def _unit(name: str, images: Mapping[str, Unit]) -> Unit:
    doubts = (f"{doubt} ({image.name})" for image in images.values() for doubt in image.doubts)
    return Unit(
        {role: image.instance for role, image in images.items()}, name, doubts=tuple(doubts)
    )


def _all(by_role: _ByRole) -> Iterator[Unit]:
    for images in by_role.values():
        yield from images


def _refusals(images: Sequence[Unit] | Iterator[Unit], reason: str) -> Iterator[Refusal]:
    for image in images:
        yield Refusal(image.sop_uid, image.name, reason)
