"""C-STORE to another application entity, object by object as its bytes lie on disk.

One presentation context per (SOP class, transfer syntax), so that nothing is converted on
the way, unless the other side takes nothing but the default transfer syntax. It says of each
object: sent, refused for good, or try again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydicom import dcmread
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, ImplicitVRLittleEndian
from pynetdicom import _config, build_context
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from node.dicom.untrusted import failing_as
from node.dimse.association import Address, NothingAccepted, associate, is_for_good
from node.dimse.status import SUCCESS
from node.errors import DeliveryError

log = logging.getLogger(__name__)

_config.STORE_SEND_CHUNKED_DATASET = True  # bytes from the file, not parsed and written anew

_PAIRS_PER_ASSOCIATION = 64
"""Two contexts each; PS3.8 9.3.2.2: there are 128, the odd numbers below 256."""

_DUPLICATE = 0x0111
"""Duplicate SOP Instance (PS3.7 C.5.7): it is there already."""


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
    objects: Sequence[Path], to: Address, calling_ae: str, before_each: Callable[[], None]
) -> Iterator[SendOutcome]:
    """Do the same, and yield each outcome as soon as it is known.

    What `before_each` raises ends it there, the association released.
    """
    has_begun = False
    for part in _by_contexts([_describe(path) for path in objects]):
        try:
            for outcome in _send_part(part, to, calling_ae, before_each):
                has_begun = True
                yield outcome
        except DeliveryError as error:
            if not has_begun:
                raise
            yield from (SendOutcome(item.path, "queued", str(error)) for item in part)


def _send_part(
    objects: Sequence[_Object], to: Address, calling_ae: str, before_each: Callable[[], None]
) -> Iterator[SendOutcome]:
    try:
        association = associate(to, calling_ae, _contexts(objects))
    except NothingAccepted as error:
        state: State = "refused" if error.is_for_good else "queued"
        yield from (SendOutcome(item.path, state, str(error)) for item in objects)
        return
    is_over = False
    try:
        for item in objects:
            # pynetdicom calls an aborted association established for a moment longer, and who
            # sends within it waits the whole time-out for an answer.
            is_over = is_over or not association.is_established
            if is_over:
                yield _ended(item, to)
                continue
            before_each()
            outcome = _send_one(association, item, to)
            is_over = outcome.is_silence
            yield outcome
    finally:
        if not is_over and association.is_established:
            association.release()


def _describe(path: Path) -> _Object:
    with failing_as(f"{path}: its file meta information cannot be read"):
        meta = read_file_meta_info(path)
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


def _contexts(objects: Sequence[_Object]) -> list[PresentationContext]:
    pairs = dict.fromkeys((o.sop_class, o.syntax) for o in objects)
    # PS3.5 10.1: whoever offers an uncompressed syntax offers the default one too.
    default = {(o.sop_class, str(ImplicitVRLittleEndian)): None for o in objects if _is_plain(o)}
    return [build_context(sop_class, syntax) for sop_class, syntax in pairs | default]


def _is_plain(item: _Object) -> bool:
    return not UID(item.syntax).is_compressed


def _send_one(association: Association, item: _Object, to: Address) -> SendOutcome:
    accepted = {
        (str(context.abstract_syntax), str(syntax))
        for context in association.accepted_contexts
        for syntax in context.transfer_syntax
    }
    as_it_is = (item.sop_class, item.syntax) in accepted
    default = (item.sop_class, str(ImplicitVRLittleEndian)) in accepted
    if not as_it_is and not (default and _is_plain(item)):
        kind = UID(item.sop_class).name
        words = f"{to.ae_title} accepts no {kind} in {UID(item.syntax).name}"
        rejected = [c for c in association.rejected_contexts if c.abstract_syntax == item.sop_class]
        state: State = "refused" if all(map(is_for_good, rejected)) else "queued"
        return SendOutcome(item.path, state, words)
    try:
        status = association.send_c_store(item.path if as_it_is else dcmread(item.path))
    except (ValueError, AttributeError, RuntimeError, OSError) as error:
        log.warning("Could not send %s: %s", item.sop_uid, type(error).__name__)
        return SendOutcome(item.path, "queued", f"could not be sent: {type(error).__name__}")
    return _judge(item, getattr(status, "Status", None), to)


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
    return SendOutcome(item.path, state, f"{to.ae_title} answered 0x{status:04X}")
