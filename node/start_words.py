"""What a node says of itself when it starts, a line for each thing, for who reads the log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from node.config import AlarmSettings, Config, HL7Settings, Peer, WebhookSettings
from node.dimse.addresses import place
from node.http.signed_post import host_and_port
from node.ledger import Role, Unfinished
from node.manifest import Model
from node.site import levels_in_words


def start_words(config: Config, role: Role, models: Mapping[str, Model]) -> Iterator[str]:
    """Yield who the node is, what it runs, and whom it talks to."""
    ours = config.node.ae_title
    where = place(config.listener.host, config.listener.port)
    yield {
        Role.ALL: f"{ours}, which is to listen on {where} and to work",
        Role.LISTENER: f"{ours}, which is to listen on {where} and leaves the work to others",
        Role.WORKER: f"{ours}, which works and does not listen",
    }[role]
    if config.monitoring is not None:
        yield f"Monitoring on {place(config.monitoring.host, config.monitoring.port)}"
    if not config.models:
        yield "No model"
    for chosen in config.models:
        model = models.get(chosen.name)
        version = f" {model.identity.version}" if model else ""
        levels = levels_in_words(model) if model else ""
        line = f"Model {chosen.name}{version}, mode {chosen.mode}"
        yield f"{line}: {levels}" if levels else line
    for peer in config.peers:
        at = place(peer.host, peer.port)
        yield f"Peer {peer.name}, {peer.ae_title} at {at}: {_role_in_words(peer)}"
    yield from who_else_is_told(config)


def who_else_is_told(config: Config) -> Iterator[str]:
    """Yield who gets results, levels or alarms and is no peer."""
    for one in config.lists:
        of = f" of {', '.join(one.senders)}" if one.senders else ""
        told = f"is told of the levels of {', '.join(one.models)}{of}"
        yield f"Destination {one.name}, {_at(one)}: {told}"
    for folder in config.folders:
        of = f" of {', '.join(folder.senders)}" if folder.senders else ""
        yield f'Folder {folder.name}, {folder.path}: gets results ("{folder.receives}"){of}'
    yield f"Alarms are told {_told_of_alarms(config.alarms)}"


def _told_of_alarms(alarms: AlarmSettings) -> str:
    ways = [] if alarms.mail is None else [f"by mail to {', '.join(alarms.mail.to)}"]
    ways += [] if alarms.webhook is None else ["by a webhook"]
    return " and ".join(ways) or "to nobody; `ai-node status` and the page show them"


def _at(one: HL7Settings | WebhookSettings) -> str:
    if isinstance(one, HL7Settings):
        tls = " with TLS" if one.tls else ""
        return f"HL7 at {place(one.host, one.port)}{tls}"
    return f"webhook at {host_and_port(one.url)}"


def _role_in_words(peer: Peer) -> str:
    roles = []
    if peer.sends:
        roles.append("sends")
    if peer.receives:
        roles.append(f'gets results ("{peer.receives}")')
    if peer.results_to:
        roles.append(f"results of its studies go to {', '.join(peer.results_to)}")
    if peer.commits:
        roles.append("may ask what is kept")
    return ", ".join(roles) or "neither sends nor gets results"


def unfinished_words(left: Unfinished) -> str:
    """Return what a former process left, and this one or others go on with."""
    if left.is_nothing:
        return "Nothing is left to take up"
    return (
        f"Unfinished from before: studies being received {left.receiving}, queued {left.queued}, "
        f"in analysis {left.running}; deliveries {left.deliveries}"
    )
