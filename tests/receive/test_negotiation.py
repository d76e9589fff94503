"""Which kinds of object may come, and what is said of those that cannot."""

from __future__ import annotations

import pytest
from pydicom._uid_dict import UID_dictionary
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom import build_context
from pynetdicom.sop_class import _STORAGE_CLASSES, Verification  # type: ignore[attr-defined]

from node.receive.negotiation import acceptable, is_storage, what_was_not_accepted

PRIVATE = "1.2.826.0.1.3680043.8.498.4711.1"
JPIP = "1.2.840.10008.1.2.4.94"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"


@pytest.mark.parametrize(
    "uid",
    [
        *_STORAGE_CLASSES.values(),
        PRIVATE,
        "1.2.840.10008.5.1.4.1.1.66.7",  # newer than pynetdicom's list
        "1.2.840.10008.5.1.4.1.1.999.1",  # nobody's yet
        "1.2.840.10008.5.1.4.1.1.6",  # Ultrasound Image Storage (Retired)
        "1.2.840.10008.5.1.4.1.1.40",  # registered without a name
        "1.2.840.10008.5.1.4.1.1.601.1",  # of DICONDE
        "1.2.840.10008.5.1.4.38.1",  # Hanging Protocol Storage
    ],
)
def test_every_kind_of_object_may_come(uid: str) -> None:
    assert is_storage(uid)
    assert [one.abstract_syntax for one in acceptable([build_context(uid)])] == [uid]


@pytest.mark.parametrize(
    "uid",
    [
        FIND,
        "1.2.840.10008.1.3.10",  # Media Storage Directory Storage
        "1.2.840.10008.1.20.2",  # Storage Commitment Pull Model
        "1.2.840.10008.4.2",  # the Storage Service Class itself
        "1.2.840.10008.5.1.4.1.1.201.1.1",  # an instance
        "1.2.840.10008.5.1.1.9",  # Basic Grayscale Print Management Meta SOP Class
        "1.2.840.10008.3.1.2.3.3",  # Modality Performed Procedure Step
        ExplicitVRLittleEndian,
    ],
)
def test_what_is_registered_as_something_else_is_not_storage(uid: str) -> None:
    assert not is_storage(uid)
    assert acceptable([build_context(uid)]) == []


def test_all_that_the_standard_registers_is_storage_by_its_name_or_not() -> None:
    """Whoever adds a kind to the registry by another name is seen here."""
    stored = {uid for uid in UID_dictionary if is_storage(uid)}
    assert stored >= set(_STORAGE_CLASSES.values()) & UID_dictionary.keys()
    for uid in stored:
        assert "Storage" in UID(uid).name or UID(uid).name == ""
        assert UID(uid).type == "SOP Class"


def test_of_one_abstract_syntax_in_several_contexts_one_answer_is_given() -> None:
    proposed = [build_context(PRIVATE, ImplicitVRLittleEndian), build_context(PRIVATE)]
    assert len(acceptable([*proposed, build_context(Verification)])) == 2


def test_what_is_accepted_for_one_peer_is_not_changed_by_another() -> None:
    first, second = acceptable([build_context(PRIVATE), build_context("1.2.3")])
    assert (first.abstract_syntax, second.abstract_syntax) == (PRIVATE, "1.2.3")
    assert Verification not in (first.abstract_syntax, second.abstract_syntax)


def test_what_has_no_transfer_syntax_in_common_is_named() -> None:
    context = build_context("1.2.840.10008.5.1.4.1.1.1.2", ["1.2.3.4", JPIP])
    other = build_context(FIND)
    context.context_id, context.result = 1, 4
    other.context_id, other.result = 3, 3
    assert list(what_was_not_accepted([context, other], [context, other])) == [
        "Digital Mammography X-Ray Image Storage - For Presentation (1.2.840.10008.5.1.4.1.1.1.2)"
        " in 1.2.3.4, JPIP Referenced (1.2.840.10008.1.2.4.94)"
    ]
