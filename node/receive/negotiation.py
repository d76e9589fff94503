"""1 Receive: which kinds of object a peer may send, and in which transfer syntax.

Whatever a sender proposes is accepted but for what PS3.6 has registered as something else than
storage: a private class, or one that is newer than this release, is an object of a study like
others, and a sender that is refused one of them leaves out all that follow.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from functools import cache

from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    MediaStorageDirectoryStorage,
    RLELossless,
)
from pynetdicom import (
    ALL_TRANSFER_SYNTAXES,
    build_context,
)
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    Verification,
)

_FIRST_CHOICES = (
    ExplicitVRLittleEndian,
    JPEGLosslessSV1,
    JPEGLossless,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    HTJ2KLossless,
)
_NOT_OFFERED = (
    ImplicitVRLittleEndian,  # put last
    *("1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.95"),  # JPIP: the pixels stay elsewhere
    *("1.2.840.10008.1.2.4.204", "1.2.840.10008.1.2.4.205"),
)
TRANSFER_SYNTAXES: tuple[UID, ...] = (
    *_FIRST_CHOICES,
    *(UID(s) for s in ALL_TRANSFER_SYNTAXES if s not in (*_FIRST_CHOICES, *_NOT_OFFERED)),
    ImplicitVRLittleEndian,
)
"""Of what a sender offers the first here is taken: lossless before lossy, and Implicit VR last,
because it loses the VR of private attributes."""

_SYNTAXES_NOT_SUPPORTED = 4  # PS3.8 9.3.3.2


def is_storage(abstract_syntax: str) -> bool:
    """Whether objects of this kind may come by C-STORE: not if PS3.6 says that it is another.

    The registry says no more than "SOP Class"; all that are stored have Storage in their names.
    Two are registered without any name, and were storage. DICOMDIR is on media only.
    """
    known = UID(abstract_syntax)
    if not known.type:
        return known.is_valid
    is_stored = "Storage" in known.name and "Storage Commitment" not in known.name
    is_of_objects = known.type == "SOP Class" and (is_stored or not known.name)
    return is_of_objects and known != MediaStorageDirectoryStorage


def acceptable(
    proposed: Iterable[PresentationContext], commitment: PresentationContext | None = None
) -> list[PresentationContext]:
    """Return what is accepted of what a peer proposes, as pynetdicom wants to be told.

    `commitment`: how storage commitment is, if it is.
    """
    services = {str(Verification): build_context(Verification)}
    if commitment is not None:
        services[str(commitment.abstract_syntax)] = commitment
    abstract_syntaxes = dict.fromkeys(UID(one.abstract_syntax or "") for one in proposed)
    accepted = []
    for abstract_syntax in abstract_syntaxes:
        if abstract_syntax in services:
            accepted.append(services[abstract_syntax])
        elif is_storage(abstract_syntax):
            context = copy.copy(_any_storage())
            context.abstract_syntax = abstract_syntax
            accepted.append(context)
    return accepted


def what_was_not_accepted(
    proposed: Iterable[PresentationContext], rejected: Iterable[PresentationContext]
) -> Iterator[str]:
    """Yield by name the kinds of object that cannot come, as no transfer syntax is in common."""
    offered = {one.context_id: one.transfer_syntax for one in proposed}
    for context in rejected:
        if context.result == _SYNTAXES_NOT_SUPPORTED:
            syntaxes = ", ".join(_name(uid) for uid in offered.get(context.context_id, ()))
            yield f"{_name(UID(context.abstract_syntax or ''))} in {syntaxes}"


def class_in_words(abstract_syntax: str) -> str:
    """Return what a class is called, for the log: whatever is no UID could say anything."""
    uid = UID(abstract_syntax)
    return _name(uid) if uid.is_valid else "a class without a valid UID"


def _name(uid: UID) -> str:
    return str(uid) if uid.name in ("", uid) else f"{uid.name} ({uid})"


@cache
def _any_storage() -> PresentationContext:
    """Return a context to copy; pynetdicom takes its time over thousands of UIDs."""
    return build_context(Verification, list(TRANSFER_SYNTAXES))
