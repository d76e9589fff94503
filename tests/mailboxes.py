"""A mail server of the site's, which is somebody else's program, and what came there."""

from __future__ import annotations

import email
import email.policy
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from ports import free_port

LOGIN = ("ai-node", "pass word")


@dataclass
class Mailbox:
    """What came, and how; and what is answered."""

    port: int
    refuses: tuple[str, ...] = ()
    """Addresses that nobody has there."""
    answer: str = "250 OK"
    farewell: str = "221 Bye"
    mails: list[EmailMessage] = field(default_factory=list)
    envelopes: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    are_in_tls: list[bool] = field(default_factory=list)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's word
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refuses:
            return "550 5.1.1 nobody is called so"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 - aiosmtpd's word
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        if self.answer.startswith("250"):
            mail = email.message_from_bytes(content, policy=email.policy.default)
            assert isinstance(mail, EmailMessage)
            self.mails.append(mail)
            self.envelopes.append((str(envelope.mail_from), tuple(map(str, envelope.rcpt_tos))))
            transport = server.transport
            assert transport is not None
            self.are_in_tls.append(transport.get_extra_info("ssl_object") is not None)
        return self.answer

    async def handle_QUIT(  # noqa: N802 - aiosmtpd's word
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        return self.farewell


@contextmanager
def mail_server(
    box: Mailbox | None = None,
    *,
    starttls: tuple[Path, Path] | None = None,
    tls: tuple[Path, Path] | None = None,
    has_login: bool = False,
) -> Iterator[Mailbox]:
    """Run a mail server; with TLS if there is a certificate and its key."""
    it = box or Mailbox(free_port())
    how: dict[str, Any] = {}
    if starttls is not None:
        how |= {"tls_context": _context(starttls), "require_starttls": True}
    if tls is not None:
        how["ssl_context"] = _context(tls)
    if has_login:
        how |= {"authenticator": _authenticate, "auth_required": True}
    controller = Controller(it, hostname="127.0.0.1", port=it.port, **how)
    controller.start()
    try:
        yield it
    finally:
        controller.stop()


def _context(pair: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    return context


def _authenticate(
    server: SMTP, session: Session, envelope: Envelope, mechanism: str, login: object
) -> AuthResult:
    assert isinstance(login, LoginPassword)
    said = (login.login.decode(), login.password.decode())
    return AuthResult(success=said == LOGIN, handled=said == LOGIN)


def words_in(mail: EmailMessage) -> str:
    """Return the text of a mail."""
    body = mail.get_body(("plain",))
    assert isinstance(body, EmailMessage)
    return str(body.get_content())
