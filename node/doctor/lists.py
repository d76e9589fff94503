"""Checks of who is told of triage levels: whether they could be. Nothing is sent to anybody."""

from __future__ import annotations

from collections.abc import Iterator

from node.config import Config, HL7Settings, WebhookSettings
from node.deliver.messages.connecting import connected_to
from node.deliver.messages.mllp import connect_mllp
from node.dimse.addresses import place
from node.doctor.verdict import Verdict, failed, ok, warning
from node.errors import DeliveryError
from node.http.signed_post import host_and_port, speaks_tls

_ANSWER_WITHIN_S = 10.0
_REMEDY = (
    "See that it runs and listens there, and that every firewall between lets this machine to it. "
    "Where TLS fails, tls_ca has to be the authority that signed its certificate, and host the "
    "name that stands in that."
)


def check_lists(config: Config) -> Iterator[Verdict]:
    """Connect to each reading list and program, with TLS where that is set."""
    for settings in config.lists:
        what = f"destination {settings.name}"
        try:
            words = _connect(settings)
        except DeliveryError as error:
            yield failed(what, str(error), _REMEDY)
            continue
        yield ok(what, f"{words}; told of the levels of {', '.join(settings.models)}")
        if isinstance(settings, HL7Settings) and not settings.tls and not _is_here(settings.host):
            doubt = "names and patient IDs go to it without TLS, for anybody on the way to read"
            yield warning(what, doubt, "If it offers TLS, set tls = true for it.")


def _connect(settings: HL7Settings | WebhookSettings) -> str:
    """Connect, and hang up; return in words to what. Raises DeliveryError if that fails."""
    if isinstance(settings, HL7Settings):
        quickly = min(settings.timeout_s, _ANSWER_WITHIN_S)
        connect_mllp(settings.model_copy(update={"timeout_s": quickly})).close()
        how = "with TLS" if settings.tls else "without TLS"
        return f"{place(settings.host, settings.port)} takes connections, {how}"
    quickly = min(settings.timeout_s, _ANSWER_WITHIN_S)
    connected_to(settings.url, timeout_s=quickly, tls_ca=settings.tls_ca).close()
    how = "with TLS" if speaks_tls(settings.url) else "without TLS, on this machine"
    return f"{host_and_port(settings.url)} takes connections, {how}"


def _is_here(host: str) -> bool:
    return host in ("127.0.0.1", "::1", "localhost")
