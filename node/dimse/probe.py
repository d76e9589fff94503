"""What another application entity would take from us: asked by negotiation, nothing is sent."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
)

from node.dimse.association import associate
from node.dimse.refusal import Address
from node.errors import Unsupported

CONFIRMING = {
    "commitment": str(StorageCommitmentPushModel),
    "find": str(StudyRootQueryRetrieveInformationModelFind),
}
"""The services by which `[[peers]] confirm` has results confirmed."""

_UNCOMPRESSED: list[str | UID] = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
"""What our own objects are encoded in, and what they are converted to at need."""


def accepted_kinds(to: Address, calling_ae: str, kinds: Sequence[str]) -> frozenset[str]:
    """Return those of some SOP classes that an application entity accepts from us.

    Raises DeliveryError if no association can be had.
    """
    try:
        association = associate(
            to, calling_ae, [build_context(kind, _UNCOMPRESSED) for kind in kinds]
        )
    except Unsupported:  # it takes associations, but for none of these
        return frozenset()
    try:
        return frozenset(str(context.abstract_syntax) for context in association.accepted_contexts)
    finally:
        association.release()
