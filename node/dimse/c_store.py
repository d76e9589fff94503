"""C-STORE, byte by byte: the command set of a request read, that of an answer written (PS3.7).

Strict: of what is not as the standard has it nothing is read, and it is left to pynetdicom, which
is patient, and takes a hundred times as long.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

_ELEMENT, _NUMBER, _LENGTH = struct.Struct("<HHL"), struct.Struct("<H"), struct.Struct("<L")
_PDU = struct.Struct(">BBLLBB")
_P_DATA, _WHOLE_COMMAND = 0x04, 0x03  # PS3.8 9.3.5, E.2
_BEHIND_LENGTH = 6
"""Bytes of a PDU with one value that come before it, from behind the PDU's length on."""

_GROUP_LENGTH, _SOP_CLASS, _COMMAND_FIELD, _MESSAGE_ID = 0x0000, 0x0002, 0x0100, 0x0110
_RESPONDED_TO, _PRIORITY, _DATA_SET_TYPE, _STATUS = 0x0120, 0x0700, 0x0800, 0x0900
_SOP_INSTANCE, _MOVE_ORIGINATOR, _MOVE_MESSAGE_ID = 0x1000, 0x1030, 0x1031
_NUMBERS = frozenset({_COMMAND_FIELD, _MESSAGE_ID, _PRIORITY, _DATA_SET_TYPE, _MOVE_MESSAGE_ID})
_NEEDED = frozenset(
    {_SOP_CLASS, _COMMAND_FIELD, _MESSAGE_ID, _PRIORITY, _DATA_SET_TYPE, _SOP_INSTANCE}
)
_REQUEST, _RESPONSE, _NO_DATA_SET, _PRIORITIES = 0x0001, 0x8001, 0x0101, range(3)

_UID = re.compile(rb"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*")
_LONGEST_UID = 64  # PS3.5 9.1
_AE_TITLE = re.compile(rb"(?! +\Z)[ -\[\]-~]{1,16}")


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """A C-STORE-RQ that is followed by a data set. UIDs without padding."""

    message_id: int
    sop_class: bytes
    sop_instance: bytes


def read_store_request(command: bytes) -> StoreRequest | None:
    """Return the C-STORE request that a command set is; None if it is another, or an odd one."""
    values: dict[int, bytes] = {}
    at, end, former = 0, len(command), -1
    while at < end:
        if end - at < _ELEMENT.size:
            return None
        group, element, length = _ELEMENT.unpack_from(command, at)
        at += _ELEMENT.size
        if group or element <= former or length > end - at:
            return None
        values[element] = command[at : at + length]
        at, former = at + length, element
    return _request_of(values, len(command))


def _request_of(values: dict[int, bytes], size: int) -> StoreRequest | None:
    numbers = {tag: value for tag, value in values.items() if tag in _NUMBERS}
    if not values.keys() >= _NEEDED or any(len(one) != _NUMBER.size for one in numbers.values()):
        return None
    behind = size - _ELEMENT.size - _LENGTH.size
    sop_class, sop_instance = _uid(values[_SOP_CLASS]), _uid(values[_SOP_INSTANCE])
    is_plain = (
        values.get(_GROUP_LENGTH, b"") == _LENGTH.pack(max(behind, 0))
        and values.keys() <= _NEEDED | {_GROUP_LENGTH, _MOVE_ORIGINATOR, _MOVE_MESSAGE_ID}
        and _number(values[_COMMAND_FIELD]) == _REQUEST
        and _number(values[_DATA_SET_TYPE]) != _NO_DATA_SET
        and _number(values[_PRIORITY]) in _PRIORITIES
        and _AE_TITLE.fullmatch(values.get(_MOVE_ORIGINATOR, b"ANY"))
    )
    if not is_plain or sop_class is None or sop_instance is None:
        return None
    return StoreRequest(_number(values[_MESSAGE_ID]), sop_class, sop_instance)


def _number(value: bytes) -> int:
    return int(_NUMBER.unpack(value)[0])


def _uid(value: bytes) -> bytes | None:
    uid = value[:-1] if value.endswith(b"\0") else value
    return uid if len(uid) <= _LONGEST_UID and _UID.fullmatch(uid) else None


def answering(request: StoreRequest, status: int, context_id: int) -> bytes:
    """Return the PDU (P-DATA-TF) that answers a request, the whole C-STORE-RSP in one value."""
    elements = (
        (_SOP_CLASS, _even(request.sop_class)),
        (_COMMAND_FIELD, _NUMBER.pack(_RESPONSE)),
        (_RESPONDED_TO, _NUMBER.pack(request.message_id)),
        (_DATA_SET_TYPE, _NUMBER.pack(_NO_DATA_SET)),
        (_STATUS, _NUMBER.pack(status)),
        (_SOP_INSTANCE, _even(request.sop_instance)),
    )
    behind = b"".join(_ELEMENT.pack(0, tag, len(value)) + value for tag, value in elements)
    command = _ELEMENT.pack(0, _GROUP_LENGTH, _LENGTH.size) + _LENGTH.pack(len(behind)) + behind
    size = len(command)
    head = _PDU.pack(
        _P_DATA, 0, size + _BEHIND_LENGTH, size + _BEHIND_LENGTH - 4, context_id, _WHOLE_COMMAND
    )
    return head + command


def _even(uid: bytes) -> bytes:
    return uid + b"\0" if len(uid) % 2 else uid
