"""Why there is no association, in words that tell a person which side has to change what."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from node.dimse.addresses import place
from node.dimse.request import NO_SUCH_CALLED_AE, NO_SUCH_CALLING_AE, Rejection
from node.errors import DeliveryError

_PERMANENT = 0x01
"""The result of a rejection after which asking again would not help (PS3.8 9.3.4)."""
_REASONS = {
    (1, 1): "no reason given",
    (1, 2): "application context name not supported",
    (1, 3): "calling AE title not recognized",
    (1, 7): "called AE title not recognized",
    (2, 1): "no reason given, by its protocol layer",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}
"""By source and diagnostic (PS3.8 table 9-21); sources: 1 the application, 2 and 3 its layers."""
_NO_REASON = Rejection(_PERMANENT, 1, 1)
_TRIED_AGAIN_S = 5
"""How long at most it takes to hear why a connection cannot be had."""


@dataclass(frozen=True, slots=True)
class Address:
    """An application entity on the network."""

    ae_title: str
    host: str
    port: int
    timeout_s: float = 120

    def __str__(self) -> str:
        return f"{self.ae_title} at {place(self.host, self.port)}"


class Rejected(DeliveryError):  # noqa: N818 - a kind of answer
    """The association was rejected for good."""

    def __init__(self, words: str, rejection: Rejection) -> None:
        super().__init__(words)
        self.rejection = rejection


class ConnectionRefused(DeliveryError):  # noqa: N818 - a kind of answer
    """The machine answers, and nothing listens on that port."""


class TimedOut(DeliveryError):  # noqa: N818 - a kind of answer, or of none
    """Nothing was said within the time that there was."""


def rejected(rejection: Rejection, to: Address, calling_ae: str) -> DeliveryError:
    """Return the error of an association that was rejected."""
    reason = _REASONS.get((rejection.source, rejection.diagnostic), "an unknown reason")
    words = f"{to} rejected the association"
    if rejection.result != _PERMANENT:
        return DeliveryError(f"{words} for now: {reason}")
    meaning = {
        NO_SUCH_CALLING_AE: f"it does not know {calling_ae}",
        NO_SUCH_CALLED_AE: f"it is not called {to.ae_title}",
        _NO_REASON: f"perhaps it does not know {calling_ae}",
    }.get(rejection)
    why = f"{meaning} ({reason})" if meaning else reason
    return Rejected(f"{words}: {why}", rejection)


def unreachable(to: Address, after_s: float, timeout_s: float) -> DeliveryError:
    """Return the error of a connection that was not had, and that took `after_s` seconds."""
    why = _why_unreachable(to) if after_s < timeout_s else TimeoutError()
    if isinstance(why, TimeoutError):
        words = "does not answer: a firewall is between, or nobody has that address"
        return TimedOut(f"{to} cannot be reached: it {words} (timed out after {after_s:.0f} s)")
    if isinstance(why, ConnectionRefusedError):
        return ConnectionRefused(
            f"{to} cannot be reached: nothing listens there (connection refused)"
        )
    reason = f": {why.strerror or type(why).__name__}" if why is not None else " for a moment"
    return DeliveryError(f"{to} cannot be reached{reason}")


def _why_unreachable(to: Address) -> OSError | None:
    """Return the error of another try: pynetdicom keeps that of the first to itself."""
    try:
        with socket.create_connection((to.host, to.port), min(to.timeout_s, _TRIED_AGAIN_S)):
            return None
    except OSError as error:
        return error


def unanswered(to: Address, what: str, after_s: float, timeout_s: float) -> DeliveryError:
    """Return the error of what got no answer: the other side was silent, or went away."""
    if after_s < timeout_s:
        return DeliveryError(f"{to} broke off instead of answering {what}")
    return TimedOut(f"{to} has not answered {what} in {timeout_s:g} s (timed out)")
