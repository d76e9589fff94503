"""C-STORE to another application entity, object by object as its bytes lie on disk.

One presentation context per (SOP class, transfer syntax), so that nothing is converted on
the way, unless the other side takes nothing but the default transfer syntax: then the structure
changes, and no value (`dimse.default_syntax`); or takes captures compressed (`dimse.lossless`),
and if it refuses one all the same it gets them as they are. It says of each object: sent, refused
for good, or try again.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pynetdicom.association
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ImplicitVRLittleEndian
from pynetdicom import _config, build_context
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from node.config import CompressedBy
from node.dicom.part10 import data_set_begins_at, open_part10
from node.dicom.untrusted import failing_as
from node.dimse.association import NothingAccepted, associate, is_for_good
from node.dimse.compressing import CompressedAhead, ToCompress
from node.dimse.default_syntax import in_default_syntax
from node.dimse.lossless import is_compressible, syntax_of
from node.dimse.refusal import Address
from node.dimse.status import SUCCESS
from node.errors import DeliveryError, Unreadable

log = logging.getLogger(__name__)

_config.STORE_SEND_CHUNKED_DATASET = True  # bytes from the file, not parsed and written anew


def _split(path: Path) -> tuple[FileMetaDataset, int]:
    """Return the file meta information, and where the data set begins that is sent."""
    with path.open("rb") as file:
        meta = open_part10(file).meta
        file.seek(0)
        return meta, data_set_begins_at(file)


# Its own takes what a data set begins with for file meta information, if it is of group 0002, and
# sends the rest in the transfer syntax that this names.
setattr(pynetdicom.association, "split_dataset", _split)  # noqa: B010 - for mypy

_PAIRS_PER_ASSOCIATION = 62
"""Two contexts each, and those of compressed captures; PS3.8 9.3.2.2: there are 128, the odd
numbers below 256."""

_DUPLICATE = 0x0111
"""Duplicate SOP Instance (PS3.7 C.5.7): it is there already."""


_OUT_OF_RESOURCES = range(0xA700, 0xA800)
"""PS3.4 Table B.2-1: it has no room, in whatever transfer syntax an object comes."""

_SOP_CLASS_NOT_SUPPORTED = 0x0122
"""PS3.7 C.5.6: accepted as a context, and then not."""

State = Literal["sent", "refused", "queued"]


@dataclass(frozen=True, slots=True)
class SendOutcome:
    """What became of one object: the status the other side gave, in words."""

    path: Path
    state: State
    """queued: not taken this time, worth another try."""
    words: str = ""
    status: int | None = None
    """As the other side gave it."""
    is_silence: bool = False
    """There was no answer: the association is over."""


@dataclass(frozen=True, slots=True)
class _Object:
    path: Path
    sop_class: str
    sop_uid: str
    syntax: str


def send(
    objects: Sequence[Path],
    to: Address,
    calling_ae: str,
    on_sent: Callable[[SendOutcome], None] = lambda outcome: None,
) -> list[SendOutcome]:
    """Send Part 10 files over one association (more only if they need over 128 contexts).

    Raises DeliveryError if no association can be had; whatever goes wrong later is told by
    the outcomes, one per object in the order given. `on_sent` is told of each at once.
    """
    outcomes: dict[Path, SendOutcome] = {}
    for outcome in send_each(objects, to, calling_ae, lambda: None):
        outcomes[outcome.path] = outcome
        on_sent(outcome)
    return [outcomes[path] for path in objects]


def send_each(
    objects: Sequence[Path],
    to: Address,
    calling_ae: str,
    before_each: Callable[[], None],
    lossless: Sequence[CompressedBy] = (),
) -> Iterator[SendOutcome]:
    """Do the same, and yield each outcome as soon as it is known.

    Captures go in the first of `lossless` that is accepted, as they are if none is. What
    `before_each` raises ends it there, the association released.
    """
    has_begun = False
    for part in _by_contexts([_describe(path) for path in objects]):
        try:
            for outcome in _send_part(part, to, calling_ae, before_each, lossless):
                has_begun = True
                yield outcome
        except DeliveryError as error:
            if not has_begun:
                raise
            yield from (SendOutcome(item.path, "queued", str(error)) for item in part)


def _send_part(
    objects: Sequence[_Object],
    to: Address,
    calling_ae: str,
    before_each: Callable[[], None],
    lossless: Sequence[CompressedBy],
) -> Iterator[SendOutcome]:
    try:
        association = associate(to, calling_ae, _contexts(objects, lossless))
    except NothingAccepted as error:
        state: State = "refused" if error.is_for_good else "queued"
        yield from (SendOutcome(item.path, state, str(error)) for item in objects)
        return
    is_over = False
    ahead: CompressedAhead | None = None
    try:
        ahead = CompressedAhead(_ways_to_compress(objects, _accepted(association), lossless))
        for item in objects:
            # pynetdicom calls an aborted association established for a moment longer, and who
            # sends within it waits the whole time-out for an answer.
            is_over = is_over or not association.is_established
            if is_over:
                yield _ended(item, to)
                continue
            before_each()
            outcome = _send_one(association, item, to, ahead)
            is_over = outcome.is_silence
            yield outcome
    finally:
        if ahead is not None:
            ahead.close()
        if not is_over and association.is_established:
            association.release()


def _describe(path: Path) -> _Object:
    with failing_as(words := f"{path}: its file meta information cannot be read"):
        try:
            meta, _ = _split(path)
        except Unreadable as error:
            raise Unreadable(words) from error
        return _Object(
            path,
            str(meta.MediaStorageSOPClassUID),
            str(meta.MediaStorageSOPInstanceUID),
            str(meta.TransferSyntaxUID),
        )


def _by_contexts(objects: Sequence[_Object]) -> list[list[_Object]]:
    """Divide the objects so that each part needs no more contexts than an association has."""
    pairs = list(dict.fromkeys((o.sop_class, o.syntax) for o in objects))
    parts = [
        set(pairs[start : start + _PAIRS_PER_ASSOCIATION])
        for start in range(0, len(pairs), _PAIRS_PER_ASSOCIATION)
    ]
    return [[o for o in objects if (o.sop_class, o.syntax) in part] for part in parts]


def _contexts(
    objects: Sequence[_Object], lossless: Sequence[CompressedBy]
) -> list[PresentationContext]:
    pairs = dict.fromkeys((o.sop_class, o.syntax) for o in objects)
    # PS3.5 10.1: whoever offers an uncompressed syntax offers the default one too.
    default = {(o.sop_class, str(ImplicitVRLittleEndian)): None for o in objects if _is_plain(o)}
    compressed = {
        (o.sop_class, syntax_of(name)): None
        for o in objects
        if is_compressible(o.sop_class, o.syntax)
        for name in lossless
    }
    every = pairs | default | compressed
    return [build_context(sop_class, syntax) for sop_class, syntax in every]


def _is_plain(item: _Object) -> bool:
    return not UID(item.syntax).is_compressed


def _accepted(association: Association) -> set[tuple[str, str]]:
    """Return the pairs of SOP class and transfer syntax that the other side takes."""
    return {
        (str(context.abstract_syntax), str(syntax))
        for context in association.accepted_contexts
        for syntax in context.transfer_syntax
    }


def _send_one(
    association: Association, item: _Object, to: Address, ahead: CompressedAhead
) -> SendOutcome:
    accepted = _accepted(association)
    as_it_is = (item.sop_class, item.syntax) in accepted
    default = (item.sop_class, str(ImplicitVRLittleEndian)) in accepted
    takes_it_otherwise = as_it_is or (default and _is_plain(item))
    if not ahead.has(item.path) and not takes_it_otherwise:
        kind = UID(item.sop_class).name
        words = f"{to.ae_title} accepts no {kind} in {UID(item.syntax).name}"
        rejected = [c for c in association.rejected_contexts if c.abstract_syntax == item.sop_class]
        state: State = "refused" if all(map(is_for_good, rejected)) else "queued"
        return SendOutcome(item.path, state, words)
    try:
        compressed = outcome = _sent_compressed(association, item, to, ahead)
        if (compressed is None or _refuses(compressed)) and takes_it_otherwise:
            with contextlib.ExitStack() as stack:
                file = item.path if as_it_is else stack.enter_context(_converted(item))
                outcome = _stored(association, item, file, to)
            if compressed is not None and outcome.state == "sent":  # it refuses that way alone
                ahead.stop()
                _say_refused(to, compressed)
        return outcome or _only_compressed(item, to)
    except Unreadable as error:
        words = f"{to.ae_title} takes Implicit VR alone, to which it cannot be converted: {error}"
        return SendOutcome(item.path, "refused", words)
    except (ValueError, AttributeError, RuntimeError, OSError) as error:
        log.warning("Could not send %s: %s", item.sop_uid, type(error).__name__)
        return SendOutcome(item.path, "queued", f"could not be sent: {type(error).__name__}")


def _only_compressed(item: _Object, to: Address) -> SendOutcome:
    words = f"{to.ae_title} accepts captures compressed alone, and this one cannot be"
    return SendOutcome(item.path, "queued", words)


def _sent_compressed(
    association: Association, item: _Object, to: Address, ahead: CompressedAhead
) -> SendOutcome | None:
    """Return what became of a capture that goes compressed; None if it does not."""
    with contextlib.ExitStack() as stack:
        file = ahead.compressed(item.path, stack)
        return None if file is None else _stored(association, item, file, to)


def _converted(item: _Object) -> AbstractContextManager[Path]:
    return in_default_syntax(item.path, item.sop_class, item.sop_uid, item.syntax)


def _stored(association: Association, item: _Object, file: Path, to: Address) -> SendOutcome:
    """Send an object, as it is or as another file of it, and return what became of it."""
    status = association.send_c_store(file)
    return _judge(item, getattr(status, "Status", None), to)


def _refuses(outcome: SendOutcome) -> bool:
    """Whether an object was not taken, and not for want of room."""
    status = outcome.status
    return outcome.state != "sent" and status is not None and status not in _OUT_OF_RESOURCES


_told_of: set[str] = set()
"""The peers of whom it was said that they refuse what they have accepted."""


def _say_refused(to: Address, outcome: SendOutcome) -> None:
    if to.ae_title not in _told_of:
        _told_of.add(to.ae_title)
        words = "%s accepts captures compressed, and then refuses them (%s): they are sent as they"
        words += " are. Leave that way out of `captures` of this peer. It is said once"
        log.warning(words, to.ae_title, outcome.words)


def _ways_to_compress(
    objects: Iterable[_Object],
    accepted: Collection[tuple[str, str]],
    lossless: Sequence[CompressedBy],
) -> Iterator[ToCompress]:
    for item in objects:
        if is_compressible(item.sop_class, item.syntax):
            taken = (way for way in lossless if (item.sop_class, syntax_of(way)) in accepted)
            for way in itertools.islice(taken, 1):
                yield ToCompress(item.path, item.sop_uid, way)


def _ended(item: _Object, to: Address) -> SendOutcome:
    return SendOutcome(item.path, "queued", f"{to.ae_title} ended the association")


def _judge(item: _Object, status: int | None, to: Address) -> SendOutcome:
    if status is None:
        return SendOutcome(item.path, "queued", f"{to.ae_title} gave no answer", is_silence=True)
    # PS3.4 B.2.3: 0xBxxx are warnings, the object is stored.
    if status == SUCCESS:
        return SendOutcome(item.path, "sent")
    if status == _DUPLICATE or 0xB000 <= status <= 0xBFFF:
        return SendOutcome(item.path, "sent", f"stored with warning 0x{status:04X}")
    state: State = "refused" if status == _SOP_CLASS_NOT_SUPPORTED else "queued"
    return SendOutcome(item.path, state, f"{to.ae_title} answered 0x{status:04X}", status)
