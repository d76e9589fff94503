"""What comes over a connection is read whole and in order, whoever reads it."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom import AE
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.association import Association

from node.receive import upper_layer
from node.receive.upper_layer import Connection, NoMessage, data_values_of

from .by_hand import RELEASE_RQ, in_pieces, pdu, value

DATA = st.builds(
    lambda content: pdu(value(0, content)),
    st.one_of(st.binary(max_size=60), st.integers(0, 5000).map(bytes)),
)
OTHER = st.builds(
    lambda kind, content: bytes([kind, 0]) + struct.pack(">L", len(content)) + content,
    st.sampled_from([1, 2, 3, 5, 6, 7]),
    st.binary(max_size=60),
)


@contextmanager
def connected() -> Iterator[tuple[socket.socket, Connection]]:
    here, there = socket.socketpair()
    with here, there:
        there.settimeout(30)
        yield here, Connection(Association(AE("NODE"), MODE_ACCEPTOR), there)


def read_all(connection: Connection) -> list[bytes]:
    """Read as we do: data ourselves, and all else as pynetdicom does, until nothing comes."""
    found = []
    while True:
        data = connection.next_data()
        if data is not None:
            found.append(bytes(data))
            continue
        head = bytes(connection.recv(6))
        if len(head) < 6:
            return found
        found.append(head + bytes(connection.recv(int.from_bytes(head[2:], "big"))))


@settings(max_examples=examples(100))
@given(
    st.lists(st.one_of(DATA, OTHER), max_size=8), st.integers(1, 4000), st.sampled_from([16, 1000])
)
def test_in_pieces_of_any_size_every_message_comes_whole_and_in_order(
    sent: list[bytes], size: int, room: int
) -> None:
    with connected() as (here, connection), pytest.MonkeyPatch.context() as patched:
        patched.setattr(upper_layer, "_ROOM_TO_KEEP", 4 * room)
        connection._room = bytearray(room)

        def send() -> None:
            for piece in in_pieces(b"".join(sent), size):
                here.sendall(piece)
            here.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        assert read_all(connection) == sent
        sender.join()


def test_a_message_that_is_put_back_is_read_again_by_pynetdicom() -> None:
    sent = [pdu(value(0, b"one")), pdu(value(2, b"two")), RELEASE_RQ]
    with connected() as (here, connection):
        here.sendall(b"".join(sent))
        here.shutdown(socket.SHUT_WR)
        assert bytes(connection.next_data() or b"") == sent[0]
        second = connection.next_data()
        assert second is not None
        assert bytes(second) == sent[1]
        connection.put_back(second)
        assert connection.ready
        assert connection.recv(len(sent[1])) == sent[1]
        assert read_all(connection) == [RELEASE_RQ]


def test_a_message_that_is_not_whole_is_left_to_pynetdicom_to_miss_the_rest() -> None:
    sent = pdu(value(0, b"one"))[:-1]
    with connected() as (here, connection):
        here.sendall(sent)
        here.shutdown(socket.SHUT_WR)
        assert connection.next_data() is None
        assert connection.recv(1000) == sent


def test_of_what_is_no_message_of_dicom_nothing_is_waited_for() -> None:
    with connected() as (here, connection):
        here.sendall(b"\x09\0\xff\xff\xff\xff")
        assert connection.next_data() is None
        assert connection.recv(6) == b"\x09\0\xff\xff\xff\xff"


def test_who_says_nothing_is_said_to_have_fallen_silent() -> None:
    with connected() as (here, connection):
        assert connection.socket is not None
        connection.socket.settimeout(0.01)
        here.sendall(b"\x04\0")
        with pytest.raises(TimeoutError):
            connection.next_data()
        assert connection.has_fallen_silent


class Clock:
    """Stands in for the module `time`: so many seconds have gone at each look."""

    def __init__(self, step_s: float) -> None:
        self._step_s = step_s
        self.now_s = 1.0

    def monotonic(self) -> float:
        self.now_s += self._step_s
        return self.now_s


def test_who_never_falls_silent_and_never_ends_a_message_is_said_to_be_too_slow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may be silent for 30 s, and a message of 5000 bytes take half a second more."""
    message = pdu(value(0, bytes(5000)))
    for step_s, is_too_slow in ((0.1, False), (20.0, True)):
        monkeypatch.setattr(upper_layer, "time", Clock(step_s))
        with connected() as (here, connection):
            connection._room = bytearray(16)  # so that it comes in parts
            here.sendall(message)
            if is_too_slow:
                with pytest.raises(TimeoutError):
                    connection.next_data()
            else:
                assert bytes(connection.next_data() or b"") == message
            assert connection.is_too_slow is is_too_slow
            assert not connection.has_fallen_silent


def test_a_message_longer_than_any_is_refused_before_it_comes() -> None:
    longest = 1 << 26
    with connected() as (here, connection):
        here.sendall(struct.pack(">BBL", 4, 0, longest + 1))
        with pytest.raises(NoMessage):
            connection.next_data()
        assert len(connection._room) <= 1 << 16


def test_who_goes_on_after_the_end_is_listened_to_for_a_while_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(1.0)
    monkeypatch.setattr(upper_layer, "time", clock)
    with connected() as (here, connection):
        connection._room = bytearray(16)
        here.sendall(bytes(1600))
        connection.discard_until(clock.now_s + 5)
        assert connection.ready
        connection.discard_until(clock.now_s + 500)
        assert not connection.ready


def test_room_that_a_long_message_took_is_given_back() -> None:
    long = pdu(value(0, bytes(3 << 20)))
    with connected() as (here, connection):
        sender = threading.Thread(target=here.sendall, args=[long + RELEASE_RQ])
        sender.start()
        assert bytes(connection.next_data() or b"") == long
        assert connection.next_data() is None
        assert connection.recv(10) == RELEASE_RQ
        sender.join()
        here.shutdown(socket.SHUT_WR)
        assert connection.next_data() is None
        assert len(connection._room) <= 1 << 16


@settings(max_examples=examples(100))
@given(
    st.lists(st.tuples(st.integers(1, 255), st.integers(0, 3), st.binary(max_size=20)), min_size=1)
)
def test_the_values_of_a_message_are_those_it_was_made_of(
    values: list[tuple[int, int, bytes]],
) -> None:
    content = pdu(*(value(control, data, context) for context, control, data in values))
    found = data_values_of(memoryview(content))
    assert found is not None
    assert [(context, control, bytes(data)) for context, control, data in found] == values


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0\0\0",
        b"\0\0\0\2\1",
        b"\0\0\0\1\1",  # no control header
        b"\0\0\0\0",
        b"\0\0\0\x09\1\2data",  # longer than what is there
        value(2, b"data") + b"\0",
    ],
)
def test_values_that_do_not_fit_are_none(body: bytes) -> None:
    assert data_values_of(memoryview(pdu(body))) is None
