"""A mail, handed to the site's mail server: SMTP (RFC 5321) within TLS."""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from typing import Any

from node.config import AlarmMail
from node.errors import DeliveryError
from node.http.deadline import CutOff, cut_off_after
from node.http.trust import trusting

_ANSWERS = 2
"""`timeout_s` is of each answer; all of them may take so many times as long, for who sends a byte
now and then is never late."""


def send_mail(mail: AlarmMail, message: EmailMessage) -> str:
    """Hand a mail over; return what was amiss all the same: who of several will not get it.

    The server's certificate is verified, by `tls_ca` or what this machine trusts. Raises
    DeliveryError if nobody will get it, with words of whom and why.
    """
    with _opened(mail) as server:
        refused = server.send_message(message, mail.sender, list(mail.to))
    return f"{mail.host}:{mail.port} refuses {_in_words(refused)}" if refused else ""


def try_mail_server(mail: AlarmMail) -> None:
    """Connect and log in, and send nothing. Raises DeliveryError if that cannot be."""
    with _opened(mail) as server:
        server.noop()


@contextmanager
def _opened(mail: AlarmMail) -> Iterator[smtplib.SMTP]:
    """Let a block speak to the server; whatever is wrong is a DeliveryError."""
    with cut_off_after(_ANSWERS * mail.timeout_s) as deadline:
        is_done = False
        try:
            with _connected(mail, deadline) as server:
                if mail.user is not None and mail.password is not None:
                    server.login(mail.user, mail.password)
                yield server
                is_done = True
        except (OSError, UnicodeError) as error:  # those of TLS and of SMTP are OSErrors, too
            if is_done:  # it has the mail, whatever it says to QUIT
                return
            late = f"has not answered within {_ANSWERS * mail.timeout_s:g} s"
            why = late if deadline.is_over else _why(error, mail)
            raise DeliveryError(f"{mail.host}:{mail.port} {why}") from error


def _why(error: OSError | UnicodeError, mail: AlarmMail) -> str:
    """Return what became of a mail that nobody gets, after the name of the server."""
    match error:
        case ssl.SSLCertVerificationError():
            remedy = "tls_ca names the authority that signed it"
            words = f"has a certificate that is not trusted ({error.verify_message}); {remedy}"
        case smtplib.SMTPNotSupportedError() if mail.security == "starttls":
            words = 'offers no STARTTLS; security = "tls" is for a port that begins with TLS'
        case smtplib.SMTPRecipientsRefused():
            words = f"refuses {_in_words(error.recipients)}"
        case smtplib.SMTPAuthenticationError():
            words = f"refuses user and password ({_said(error)})"
        case smtplib.SMTPResponseException():
            words = f"answers {_said(error)}"
        case OSError():
            words = f"does not take mail ({error.strerror or error})"
        case _:
            words = f"cannot be looked up ({error})"
    return words


def _connected(mail: AlarmMail, deadline: CutOff) -> smtplib.SMTP:
    """Return a connection, within TLS if the settings want that."""

    class Plain(smtplib.SMTP):
        def _get_socket(self, *where: Any) -> socket.socket:
            found: socket.socket = super()._get_socket(*where)  # type: ignore[misc]
            deadline.watch(found)
            return found

    class Secure(smtplib.SMTP_SSL, Plain):
        """It puts TLS upon the connection of the other."""

    if mail.security == "none":
        return Plain(mail.host, mail.port, timeout=mail.timeout_s)
    trusted = trusting(mail.tls_ca)
    if mail.security == "tls":
        return Secure(mail.host, mail.port, timeout=mail.timeout_s, context=trusted)
    server = Plain(mail.host, mail.port, timeout=mail.timeout_s)
    try:
        server.starttls(context=trusted)
    except BaseException:
        server.close()
        raise
    return server


def _said(error: smtplib.SMTPResponseException) -> str:
    text = error.smtp_error
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    return f"{error.smtp_code} {' '.join(words.split())}"


def _in_words(refused: dict[str, tuple[int, bytes]]) -> str:
    return "; ".join(
        f"{address} ({code} {' '.join(text.decode('utf-8', 'replace').split())})"
        for address, (code, text) in refused.items()
    )
