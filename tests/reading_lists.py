"""A reading list that hears HL7 over MLLP: the server and the reader are python-hl7's."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hl7
from hl7.mllp import start_hl7_server

from node import config

Answer = Callable[[hl7.Message], str | None]
"""What is answered, None for nothing."""


def acknowledging(code: str = "AA", control_id: str | None = None, more: str = "") -> Answer:
    """Return an answer of this kind, to the message or to another; `more` are segments."""

    def answer(message: hl7.Message) -> str:
        of = control_id or str(message.segment("MSH")(10))
        return f"MSH|^~\\&|RIS|HERE|||20261129||ACK^R01^ACK|1|P|2.5.1\rMSA|{code}|{of}\r{more}"

    return answer


def silent(message: hl7.Message) -> None:
    """Answer nothing."""


@dataclass
class ReadingList:
    """What heard, and what it answers."""

    answer: Answer = field(default_factory=acknowledging)
    port: int = 0
    heard: list[hl7.Message] = field(default_factory=list)
    closes: bool = False
    """It hangs up on each message instead of answering."""
    encoding: str = "utf-8"

    def settings(self, **how: Any) -> config.HL7Settings:
        """Return it as a destination of a configuration."""
        whole: dict[str, Any] = {
            "kind": "hl7",
            "name": "ris",
            "host": "localhost",
            "port": self.port,
        }
        whole |= {"models": ("breast-area",), "timeout_s": 10}
        return config.HL7Settings.model_validate(whole | how)

    def control_ids(self) -> list[str]:
        return [str(message.segment("MSH")(10)) for message in self.heard]


class _Server:
    """The server, in a thread with a loop of its own."""

    def __init__(self, it: ReadingList, context: ssl.SSLContext | None) -> None:
        self.it = it
        self.context = context
        self.loop = asyncio.new_event_loop()
        self.stop = asyncio.Event()
        self.started = threading.Event()
        self.thread = threading.Thread(target=self.run)

    async def hear(self, reader: Any, writer: Any) -> None:
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
                await self.answer(reader, writer)
        finally:
            writer.transport.abort() if self.stop.is_set() else writer.close()

    async def answer(self, reader: Any, writer: Any) -> None:
        while True:
            message = await reader.readmessage()
            self.it.heard.append(message)
            if self.it.closes:
                break
            if (said := self.it.answer(message)) is not None:
                writer.writeblock(said.encode(self.it.encoding))
                await writer.drain()

    async def serve(self) -> None:
        it = self.it
        server = await start_hl7_server(
            self.hear,
            "localhost",
            it.port,
            encoding=it.encoding,
            ssl=self.context,
            family=socket.AF_INET,
        )
        it.port = server.sockets[0].getsockname()[1]
        self.started.set()
        await self.stop.wait()
        server.close()

    def run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self.serve())
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self.loop.close()


@contextmanager
def reading_list(
    it: ReadingList | None = None, tls: tuple[Path, Path] | None = None, clients: Path | None = None
) -> Iterator[ReadingList]:
    """Run one, with TLS if it has a certificate and its key; `clients` are whom it lets in."""
    it = it or ReadingList()
    context = None
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        if clients is not None:
            context.load_verify_locations(clients)
            context.verify_mode = ssl.CERT_REQUIRED
    server = _Server(it, context)
    server.thread.start()
    assert server.started.wait(30)
    try:
        yield it
    finally:
        server.loop.call_soon_threadsafe(server.stop.set)
        server.thread.join()
