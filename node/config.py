"""node.toml -> Config: read once, checked whole, frozen, passed down."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from node import toml_file
from node.alarm_rules import ALARM_RULES
from node.errors import DeliveryError
from node.kinds import KINDS
from node.logs.lines import LogForm
from node.toml_file import Place, Section, did_you_mean, matching, shown, wrong


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f'expected a time zone such as "Europe/Berlin", found "{name}"') from error
    return name


def _network(address: str) -> str:
    try:
        ipaddress.ip_network(address, strict=False)
    except ValueError as error:
        raise ValueError(
            f'expected an address or network such as "192.0.2.0/24", found "{address}"'
        ) from error
    return address


def _database(url: str) -> str:
    if not (_is_server(url) or url.startswith("sqlite:////")):
        raise ValueError(
            'expected "postgresql://USER@HOST/DATABASE" (reserved characters in it as %XX), or for '
            f'one machine "sqlite:////ABSOLUTE/PATH", found {shown(url)}'
        )
    return url


def _is_server(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme == "postgresql" and parts.port != 0 and len(parts.path) > 1
    except ValueError:  # the port is no number
        return False


def _viewer(url: str) -> str:
    try:
        parts = urlsplit(url.replace("{study_uid}", "1.2"))
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_address = False
    if not is_address or url.count("{study_uid}") != 1:
        raise ValueError(
            'expected an address with {study_uid} in it once, such as "https://pacs.example/viewer'
            f'?StudyInstanceUIDs={{study_uid}}", found "{url}"'
        )
    return url


def _webhook(url: str) -> str:
    try:
        parts = urlsplit(url)
        scheme, host, has_login = parts.scheme, parts.hostname, "@" in parts.netloc
    except ValueError:
        scheme, host, has_login = "", None, False
    # It may hold a secret, so it is not said.
    if scheme not in ("http", "https") or not host:
        raise ValueError('expected an address such as "https://ris.example/ai"')
    if has_login:
        raise ValueError("a login before the host is not used, take it out: the signature says who")
    if scheme == "http" and host not in ("127.0.0.1", "::1", "localhost"):
        raise ValueError("expected https: by http anybody on the way could read it")
    return url


_KEY = "import base64, os; print('whsec_' + base64.b64encode(os.urandom(32)).decode())"


def _secret(text: str) -> str:
    try:
        is_key = text.startswith("whsec_") and len(base64.b64decode(text[6:], validate=True)) >= 24
    except ValueError:
        is_key = False
    if not is_key:
        raise ValueError(
            'expected "whsec_" and at least 24 bytes in base64, as this prints: '
            f'python3 -c "{_KEY}"'
        )
    return text


def _alarm_rule(name: str) -> str:
    if name not in ALARM_RULES:
        raise ValueError(f'no rule is called "{name}", {did_you_mean(name, ALARM_RULES)}')
    return name


def _preset(name: str) -> str:
    if name not in presets():
        raise ValueError(f'no preset is called "{name}", {did_you_mean(name, presets())}')
    return name


def _kind(name: str) -> str:
    if name not in KINDS:
        problem = f'no kind of result object is called "{name}"'
        raise ValueError(f"{problem}, {did_you_mean(name, KINDS)}")
    return name


AETitle = Annotated[
    str,
    matching(
        r"(?=.{1,16}$)[!-\[\]-~]([ -\[\]-~]*[!-\[\]-~])?",
        "an AE title: 1 to 16 ASCII characters, no backslash, no blank at either end",
    ),
]
"""PS3.5 6.2."""
PeerName = Annotated[
    str,
    matching(
        r"[A-Za-z0-9][A-Za-z0-9_-]{0,47}",
        "a name: at most 48 letters, digits, hyphens and underscores",
    ),
]
Host = Annotated[
    str, matching(r"[^\s\[\]]+", "a host name or address, without brackets: ::1, not [::1]")
]
Network = Annotated[str, AfterValidator(_network)]
Zone = Annotated[str, AfterValidator(_zone)]
ViewerURL = Annotated[str, AfterValidator(_viewer)]
DatabaseURL = Annotated[str, AfterValidator(_database)]
ConfirmBy = Literal["commitment", "find"]
CompressedBy = Literal["jpeg-ls", "jpeg-2000", "rle", "deflate"]
"""Transfer syntaxes that lose nothing (`dimse.lossless`)."""
OutputKind = Annotated[str, AfterValidator(_kind)]
"""A kind of result object, one of `kinds.KINDS`."""
PresetName = Annotated[str, AfterValidator(_preset)]
HL7Name = Annotated[
    str,
    matching(
        r"(?=.{1,20}$)[!-%'-\[\]_-{}]([ -%'-\[\]_-{}]*[!-%'-\[\]_-{}])?",
        "1 to 20 ASCII characters without | ^ & ~ \\ and without a blank at either end",
    ),
]
"""A namespace ID (HD.1, HL7 v2.5.1 2.A.33)."""
Secret = Annotated[str, AfterValidator(_secret)]
"""The key of a signature (Standard Webhooks)."""
MailAddress = Annotated[
    str,
    matching(r"[!-?A-~]{1,64}@[A-Za-z0-9.-]{1,255}", "an address such as pacs@hospital.example"),
]
WebhookURL = Annotated[str, AfterValidator(_webhook)]
AlarmRule = Annotated[str, AfterValidator(_alarm_rule)]
"""One of `alarm_rules.ALARM_RULES`."""
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Days = Annotated[float, Field(gt=0, le=36_500, allow_inf_nan=False)]


class Node(Section):
    """Who we are, and where we keep things."""

    ae_title: AETitle
    state_dir: Path
    """Ledger, locks and temporary files; local disk. Relative to the configuration file."""
    store_dir: Path | None = None
    """Received and result objects; default: inside state_dir. Nodes of one ledger share it."""
    database: Annotated[DatabaseURL | None, Field(repr=False)] = None  # it may hold a password
    """The ledger: `postgresql://...` or `sqlite:////...`; default: a SQLite file in state_dir."""
    dead_after_s: Annotated[float, Field(ge=3, le=3600, allow_inf_nan=False)] = 30
    """A node whose heartbeat is older is taken for dead; the same on all nodes of one ledger."""
    models_dir: Path | None = None
    """Your own model packages, beside those that come with the node; of one name yours is used."""
    timezone: Zone | None = None
    """IANA name; for studies that do not say their time zone. Default: the machine's."""
    min_free_mb: Annotated[int, Field(ge=0)] = 2048
    """Below this free space on the store's disk C-STORE answers 0xA700 (out of resources)."""

    @property
    def least_free(self) -> int:
        """min_free_mb in bytes."""
        return self.min_free_mb << 20


class ListenerSettings(Section):
    """The socket that studies come to."""

    host: Host = "0.0.0.0"  # noqa: S104 - a PACS must be able to reach us
    port: Port = 11112
    max_associations: Annotated[int, Field(ge=1)] = 50
    """Of peers, at a time; each peer may have one beyond it."""
    max_pdu: Annotated[int, Field(ge=4096)] = 262_144
    idle_timeout_s: Seconds = 60
    """An association that says nothing for this long is aborted."""


class Preset(Section):
    """A file of config/presets: what a kind of destination is sent."""

    outputs: Annotated[tuple[OutputKind, ...], Field(min_length=1)]
    series_description_level: bool = False
    """Series Descriptions begin with the triage level, but for routine: "AI URGENT ..."."""


class Peer(Section):
    """An application entity we know."""

    name: PeerName
    ae_title: AETitle
    host: Host
    port: Port
    addresses: tuple[Network, ...] = ()
    """Other addresses or networks (CIDR) it may send from."""
    sends: bool = False
    """Its studies are accepted."""
    receives: PresetName | None = None
    """The preset by which results are sent to it; results of its own studies go back to it."""
    outputs: tuple[OutputKind, ...] = ()
    """For a peer that receives: kinds of object in place of those of its preset."""
    results_to: tuple[PeerName, ...] = ()
    """For a peer that takes no results: the peers that get the results of its studies."""
    captures: tuple[CompressedBy, ...] = ("jpeg-ls", "rle")
    """For a peer that receives: how captures may be compressed without loss on their way, the first
    that it accepts; () = never."""
    confirm: tuple[ConfirmBy, ...] = ("commitment", "find")
    """How a result that was accepted is confirmed: the first that the peer offers; () = accepted
    is enough, shown as unconfirmed."""
    compares_identity: bool = True
    """Before each send, ask it by C-FIND whose study it is; a mismatch holds the study."""
    commits: bool = False
    """It may ask by storage commitment whether we keep what was sent, and is answered. It may
    delete its own then: read docs/storage-commitment.md before."""
    priority: Literal["high", "normal", "low"] = "normal"
    """Whose studies models that triage look at first, while nothing else is known of a study."""
    retrieve: Literal["get", "move"] | None = None
    """How removed images of its studies are asked back from it: by C-GET or C-MOVE. None: they are
    not, and a study that needs them waits for a person."""
    timeout_s: Seconds = 120
    """How long we wait for an answer from it."""

    @property
    def destinations(self) -> tuple[str, ...]:
        """The names of the peers that get the results of its studies."""
        return (self.name,) if self.receives else self.results_to

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of object it is sent."""
        if self.receives is None:
            return ()
        return self.outputs or presets()[self.receives]

    @property
    def has_level_in_lists(self) -> bool:
        """Whether its preset wants the triage level in Series Descriptions."""
        return self.receives is not None and has_level_in_lists(self.receives)


class FolderSettings(Section):
    """A folder that result objects are put into as files."""

    kind: Literal["folder"]
    name: PeerName
    path: Path
    """Relative to the configuration file."""
    senders: tuple[PeerName, ...] = ()
    """Whose studies' results it gets; () = those of all that send."""
    receives: PresetName = "default"
    outputs: tuple[OutputKind, ...] = ()
    """Kinds of object in place of those of its preset."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of object that are put into it."""
        return self.outputs or presets()[self.receives]


class HL7Settings(Section):
    """A reading list that is told triage levels by HL7 v2.5.1 messages (ORU^R01 over MLLP)."""

    kind: Literal["hl7"]
    name: PeerName
    host: Host
    port: Annotated[int, Field(ge=1, le=65535)]
    models: Annotated[tuple[str, ...], Field(min_length=1)]
    """Whose levels are told; each must be there with mode = "deliver"."""
    senders: tuple[PeerName, ...] = ()
    """Of whose studies; () = of all that send."""
    result_status: Literal["R", "P"] = "R"
    """OBR-25 and OBX-11: R, stored and not yet verified; P, preliminary (HL7 tables 0123, 0085)."""
    sending_application: HL7Name = "AI-NODE"
    sending_facility: HL7Name | None = None
    receiving_application: HL7Name | None = None
    receiving_facility: HL7Name | None = None
    assigning_authority: HL7Name | None = None
    """PID-3.4 of a patient whose study names no Issuer of Patient ID."""
    character_set: Literal["UNICODE UTF-8", "8859/1", "ASCII"] = "UNICODE UTF-8"
    """MSH-18."""
    tls: bool = False
    tls_ca: Path | None = None
    """PEM; None: the certificates that this machine trusts. Relative to the configuration file."""
    tls_certificate: Path | None = None
    """Our own, where the receiver asks for one."""
    tls_key: Path | None = None
    timeout_s: Seconds = 30


class WebhookSettings(Section):
    """A program of the site that is told triage levels as signed JSON by HTTP."""

    kind: Literal["webhook"]
    name: PeerName
    url: Annotated[WebhookURL, Field(repr=False)]  # it may hold a secret
    secret: Annotated[Secret, Field(repr=False)]
    """What the signature is made with (Standard Webhooks): "whsec_" and base64."""
    models: Annotated[tuple[str, ...], Field(min_length=1)]
    senders: tuple[PeerName, ...] = ()
    shows: Literal["nothing", "accession", "patient"] = "accession"
    """What it is told that says whose a study is."""
    tls_ca: Path | None = None
    timeout_s: Seconds = 30


AnyDestination = Annotated[
    FolderSettings | HL7Settings | WebhookSettings, Field(discriminator="kind")
]


class ChosenModel(Section):
    """A model and what is done with its results."""

    name: str
    mode: Literal["off", "shadow", "deliver"]
    """off: not run; shadow: run and stored, nothing sent; deliver: sent."""
    urgent: Annotated[str, Field(min_length=1)] | None = None
    """Of the model's operating points the one from which on a study is urgent here; None: the one
    that its package names."""
    soon: str | None = None
    """The one from which on it is soon, "" for no such level; None: as its package says."""


class TriageSettings(Section):
    """Which models may say how soon a study should be read."""

    demonstration_may_rank: bool = False
    """A demonstration model's level counts as that of a model made for patients: to show how
    triage looks, never where patients are read."""


class Completeness(Section):
    """When is a study complete."""

    ended_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0
    """Quiet time once every expected view or phase is there and no association that brought images
    of the study is open."""
    settle_s: Seconds = 3
    """Quiet time once every expected view or phase is there, while an association is open."""
    quiet_s: Seconds = 60
    """Quiet time without open association when views or phases are missing."""
    final_s: Seconds = 1800
    """After this long, whatever is there is analysed."""


class Intake(Section):
    """Which studies are kept and listed, but analysed only if a person asks.

    Patterns are of whole values, whatever the case: "*" stands for any text, "?" for any
    character, "[0-9]" for one of several.
    """

    max_study_age_days: Annotated[int, Field(ge=0)] = 90
    """By Study Date; 0 is any age, and a study without a date that can be read is not old.

    Triage is for studies nobody has read yet. No reading room is 90 days behind, and most of
    what is older is a prior (one to three years old, at a short-term follow-up six months) or
    part of a migration.
    """
    test_patients: tuple[str, ...] = (
        *("TEST", "TEST[0-9]*", "TEST-[0-9]*", "TEST[_ ]*", "*[_ ]TEST", "TESTPATIENT*", "ZZTEST*"),
        *("ZZZTEST*", "DUMMY", "DUMMY[_ ]*", "QC", "QC[_ ]*", "QUALITY CONTROL*", "CALIBRATION*"),
        *("PHANTOM", "PHANTOM[-_ 0-9]*", "*[-_ ]PHANTOM", "FANTOM", "FANTOM[-_ 0-9]*"),
    )
    """Patterns of Patient ID and of each component of Patient's Name.

    None of the default ones is a name people have, such as Tester or Testa.
    """
    shared_patient_ids: tuple[str, ...] = (
        *("0", "X", "XX", "XXX", "-", ".", "[?]", "ID", "NA", "N/A", "NULL", "NONE", "NO ID"),
        *("NOID", "UNKNOWN", "ANON", "ANONYM", "ANONYMOUS", "ANONYMIZED", "ANONYMISED"),
    )
    """Patterns of Patient IDs that stand for nobody; "0" is any number of zeros.

    Whole words only: "ANON-0012" is one patient's pseudonym, and "UNKNOWN-1" somebody who was
    brought in without papers.
    """


Provider = Literal["cpu", "cuda", "openvino", "directml"]


class InferenceSettings(Section):
    """The child processes that decode and run."""

    processes: Annotated[int, Field(ge=1)] = 1
    threads: Annotated[int, Field(ge=1)] = 2
    """Threads of each ONNX Runtime session."""
    deadline_s: Seconds = 120
    """One image may take this long; then the child is killed."""
    memory_mb: Annotated[int, Field(ge=512)] = 4096
    """Address space one child may use."""
    scores_early: bool = True
    """Each image is scored as it comes, so that after the last one only that is left."""
    provider: Provider = "cpu"
    """What the networks run on: an execution provider of ONNX Runtime, which must be installed."""


class RetentionSettings(Section):
    """How long what nobody is owed any more is kept; without a number of days: for ever.

    Days count from when the last object of a study came.
    """

    images_days: Days | None = None
    """Received images of studies that are done."""
    results_days: Days | None = None
    """Result objects that are where they belong."""
    records_days: Days | None = None
    """All else of a study whose images and results are removed, but for a small record."""
    out_of_scope_days: Days | None = None
    """Studies that no model reads."""
    excluded_days: Days | None = None
    """What is excluded by itself: old studies, test patients, shared IDs."""
    neighbours_days: Days | None = None
    """Of studies that are done, what no model reads."""
    unreadable_days: Days | None = None
    """What was put aside: unreadable, contradicting, and files without a row."""
    clean_from_percent: Annotated[float, Field(gt=0, lt=100)] | None = None
    """From so much of the store's disk in use on, what nobody is owed goes before its days are
    over, the oldest first, but for results."""
    refuse_from_percent: Annotated[float, Field(gt=0, lt=100)] | None = None
    """From so much in use on C-STORE answers 0xA700 (out of resources), as at `min_free_mb`."""
    ask_back_within_s: Seconds = 86_400
    """How long a peer is asked for removed images before their study is held."""


class LogSettings(Section):
    """What the log looks like."""

    format: LogForm = "text"
    """text: lines for people; json: an object a line, for programs."""


class Delivery(Section):
    """How results are sent, and how long we keep trying."""

    retry_first_s: Seconds = 30
    retry_max_s: Seconds = 3600
    """The delay doubles from the first to this."""
    deliver_within_s: Seconds = 259_200
    """After this long a delivery is given up, shown as dead, and can be re-sent by hand."""
    commitment_wait_s: Seconds = 3600
    """How long to wait for a storage commitment report before asking again."""


OPEN_DAYS = 7.0
"""For how long a study stands where its level puts it, unless a site's page says otherwise."""


class WebSettings(Section):
    """The page for people: the reading list, each study, and how the node is."""

    host: Host = "127.0.0.1"
    """Beyond this machine only with users, and with TLS of its own or behind a named proxy."""
    port: Port = 11180
    names: tuple[Host, ...] = ()
    """What it may be called in addresses, beside `host`: "ai-node.hospital.example"."""
    shows: Literal["nothing", "accession", "patient"] = "accession"
    """What may be seen, searched and downloaded that says whose a study is."""
    viewer: ViewerURL | None = None
    """The address of a study in the site's viewer, with {study_uid} in it."""
    open_days: Annotated[float, Field(gt=0, le=3650, allow_inf_nan=False)] = OPEN_DAYS
    """A study that nobody has marked as read leaves the reading list this long after its last
    image, and is no longer first in `ai-node studies`."""
    refresh_s: Annotated[float, Field(ge=2, le=3600, allow_inf_nan=False)] = 15
    """How often a page renews itself."""
    session_hours: Annotated[float, Field(gt=0, le=720, allow_inf_nan=False)] = 12
    """How long a login lasts."""
    tls_certificate: Path | None = None
    """PEM, with the chain. Relative to the configuration file, as is its key."""
    tls_key: Path | None = None
    proxies: tuple[Network, ...] = ()
    """The addresses or networks of proxies that end TLS in front of it, and are believed about
    whom they speak for."""


class MonitoringSettings(Section):
    """Where load balancers and Prometheus ask: /health and /metrics, without patient data."""

    host: Host = "127.0.0.1"
    port: Port = 11181


class AlarmWebhook(Section):
    """A program of the site that is told of alarms as signed JSON by HTTP."""

    url: Annotated[WebhookURL, Field(repr=False)]  # it may hold a secret
    secret: Annotated[Secret, Field(repr=False)]
    """What the signature is made with (Standard Webhooks): "whsec_" and base64."""
    tls_ca: Path | None = None
    timeout_s: Seconds = 30


class AlarmMail(Section):
    """People who are told of alarms by mail."""

    to: Annotated[tuple[MailAddress, ...], Field(min_length=1)]
    sender: MailAddress
    host: Host
    port: Annotated[int, Field(ge=1, le=65535)] = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str | None = None
    password: Annotated[str | None, Field(repr=False)] = None
    tls_ca: Path | None = None
    timeout_s: Seconds = 30


class AlarmSettings(Section):
    """Who is told when something is wrong, and from when on it is."""

    webhook: AlarmWebhook | None = None
    mail: AlarmMail | None = None
    shows: Literal["nothing", "accession", "patient"] = "nothing"
    """What is told of whose study it is, beside its Study Instance UID."""
    off: tuple[AlarmRule, ...] = ()
    """Rules that nobody wants to be told of."""
    urgent_within_s: Seconds = 300
    """An urgent result is confirmed by its destination, or acknowledged by its receiver, within
    this time after it was found."""
    no_triage_hours: Annotated[float, Field(gt=0, le=720, allow_inf_nan=False)] = 4
    """Images in the scope of a model that triages come, and it has judged no study for so long."""
    failing_minutes: Annotated[float, Field(gt=0, le=10080, allow_inf_nan=False)] = 30
    """A destination has lacked results for so long."""
    certificate_days: Annotated[int, Field(ge=1, le=365)] = 21
    """A certificate that is ours, or a receiver's, ends within so many days."""
    clock_seconds: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] = 30
    """The clocks of this machine and of the database differ by more."""
    reminder_hours: Annotated[float, Field(ge=1, le=720, allow_inf_nan=False)] = 24
    """An alarm that lasts is told again after so long."""


class Config(Section):
    """The whole file."""

    node: Node
    listener: ListenerSettings = ListenerSettings()
    peers: tuple[Peer, ...] = ()
    destinations: tuple[AnyDestination, ...] = ()
    """What gets results, or is told of them, and is no application entity."""
    models: tuple[ChosenModel, ...] = ()
    completeness: Completeness = Completeness()
    intake: Intake = Intake()
    inference: InferenceSettings = InferenceSettings()
    delivery: Delivery = Delivery()
    retention: RetentionSettings = RetentionSettings()
    triage: TriageSettings = TriageSettings()
    web: WebSettings | None = None
    """None: there is no page."""
    monitoring: MonitoringSettings | None = None
    """None: nobody is answered."""
    logs: LogSettings = LogSettings()
    alarms: AlarmSettings = AlarmSettings()

    @model_validator(mode="after")
    def _tables_agree(self) -> Self:
        problems = [
            *self._doubled_names(),
            *self._impossible_outputs(),
            *self._impossible_results(),
            *self._impossible_destinations(),
            *self._doubled_senders(),
            *self._impossible_commitments(),
            *self._impossible_retrieval(),
            *self._impossible_retention(),
            *self._half_of_tls(),
            *self._unused_tls(),
            *self._impossible_login(),
            *self._shared_ports(),
        ]
        if problems:
            raise wrong(problems)
        return self

    def _doubled_names(self) -> Iterator[tuple[Place, str]]:
        for table, names in (
            ("peers", [peer.name for peer in self.peers]),
            ("destinations", [one.name for one in self.destinations]),
            ("models", [model.name for model in self.models]),
        ):
            for i, name in enumerate(names):
                if name in names[:i]:
                    yield (table, i, "name"), f'"{name}" is there twice, give each its own name'
        peers = {peer.name for peer in self.peers}
        for i, one in enumerate(self.destinations):
            if one.name in peers:
                yield ("destinations", i, "name"), f'a peer is called "{one.name}", take another'

    def _impossible_destinations(self) -> Iterator[tuple[Place, str]]:
        senders = [peer.name for peer in self.peers if peer.sends]
        modes = {model.name: model.mode for model in self.models}
        for i, one in enumerate(self.destinations):
            place = ("destinations", i)
            for name in one.senders:
                if name not in senders:
                    problem = f'no peer that sends is called "{name}"'
                    yield (*place, "senders"), f"{problem}, {did_you_mean(name, senders)}"
            if isinstance(one, FolderSettings):
                continue
            for name in one.models:
                if name not in modes:
                    problem = f'no table [[models]] has the name "{name}"'
                    yield (*place, "models"), f"{problem}, {did_you_mean(name, modes)}"
                elif modes[name] != "deliver":
                    problem = f'"{name}" has mode = "{modes[name]}": it is told of no level'
                    remedy = 'that is not delivered, set mode = "deliver" or leave it out'
                    yield (*place, "models"), f"{problem} {remedy}"

    def _impossible_outputs(self) -> Iterator[tuple[Place, str]]:
        answering = [name for name, kind in KINDS.items() if kind.always_answers]
        for i, peer in enumerate(self.peers):
            if peer.outputs and not set(peer.outputs) & set(answering):
                words = f"add one of {', '.join(answering)}: the others say nothing where"
                yield ("peers", i, "outputs"), f"{words} nothing was found or analysed"
            if peer.outputs and not peer.receives:
                yield ("peers", i, "outputs"), 'add receives = "default": it takes no results yet'

    def _impossible_results(self) -> Iterator[tuple[Place, str]]:
        takes = {peer.name: peer.receives is not None for peer in self.peers}
        others = [one.name for one in self.destinations]
        for i, peer in enumerate(self.peers):
            place = ("peers", i, "results_to")
            if peer.receives and peer.results_to:
                yield place, "results go back to this peer, which receives, or to others: keep one"
            if len(set(peer.results_to)) < len(peer.results_to):
                yield place, "a peer is named twice, name each once"
            for name in peer.results_to:
                if name in others:
                    words = "which chooses by its own `senders` whose studies it is for"
                    yield place, f'"{name}" is no peer but a destination, {words}: leave it out'
                elif name not in takes:
                    yield place, f'no peer is called "{name}", {did_you_mean(name, takes)}'
                elif not takes[name]:
                    yield place, f'"{name}" takes no results, add receives = "default" to it'

    def _impossible_retention(self) -> Iterator[tuple[Place, str]]:
        kept = self.retention
        if kept.records_days is not None:
            for name in ("images_days", "results_days"):
                days = getattr(kept, name)
                if days is None:
                    yield (
                        ("retention", "records_days"),
                        f"records go after what they speak of: give {name}, or leave this out",
                    )
                elif days > kept.records_days:
                    yield (
                        ("retention", "records_days"),
                        f"records go after what they speak of: at least {name}, {days:g}",
                    )
        begin, refuse = kept.clean_from_percent, kept.refuse_from_percent
        if begin is not None and refuse is not None and begin >= refuse:
            yield (
                ("retention", "clean_from_percent"),
                f"cleaning begins before objects are refused: less than {refuse:g}",
            )

    def _impossible_retrieval(self) -> Iterator[tuple[Place, str]]:
        for i, peer in enumerate(self.peers):
            if peer.retrieve == "move" and not peer.sends:
                yield (
                    ("peers", i, "retrieve"),
                    'by C-MOVE it sends to this node: needs sends = true, or retrieve = "get"',
                )

    def _impossible_commitments(self) -> Iterator[tuple[Place, str]]:
        for i, peer in enumerate(self.peers):
            if peer.commits and not peer.sends:
                yield ("peers", i, "commits"), "add sends = true: what it does not send is not kept"

    def _doubled_senders(self) -> Iterator[tuple[Place, str]]:
        seen: dict[tuple[str, str], str] = {}
        for i, peer in enumerate(self.peers):
            if not peer.sends:
                continue
            other = seen.setdefault((peer.ae_title, peer.host), peer.name)
            if other != peer.name:
                problem = f'same AE title and host as "{other}", so that nobody knows who sends'
                yield ("peers", i, "ae_title"), problem

    def _shared_ports(self) -> Iterator[tuple[Place, str]]:
        taken = {self.listener.port: "listener"}
        for name, server in (("web", self.web), ("monitoring", self.monitoring)):
            if server is None or server.port == 0:  # 0: any that is free
                continue
            if other := taken.get(server.port):
                yield (name, "port"), f"{server.port} is the port of [{other}], give it another"
            taken[server.port] = name

    def _half_of_tls(self) -> Iterator[tuple[Place, str]]:
        found: list[tuple[Place, WebSettings | HL7Settings]] = []
        if self.web is not None:
            found.append((("web",), self.web))
        for i, receiver in enumerate(self.destinations):
            if isinstance(receiver, HL7Settings):
                found.append((("destinations", i), receiver))
        for place, one in found:
            if (one.tls_certificate is None) != (one.tls_key is None):
                missing = "tls_key" if one.tls_key is None else "tls_certificate"
                words = "TLS needs both tls_certificate and tls_key, add this one"
                yield (*place, missing), words

    def _unused_tls(self) -> Iterator[tuple[Place, str]]:
        """Yield who is told in clear, though somebody took care of certificates."""
        for i, one in enumerate(self.destinations):
            if not isinstance(one, HL7Settings) or one.tls:
                continue
            files = {"tls_ca": one.tls_ca, "tls_certificate": one.tls_certificate}
            files["tls_key"] = one.tls_key
            for name in [name for name, path in files.items() if path is not None][:1]:
                words = "add tls = true: without it patients' names go in clear, and this is unused"
                yield ("destinations", i, name), words

    def _impossible_login(self) -> Iterator[tuple[Place, str]]:
        mail = self.alarms.mail
        if mail is None:
            return
        place = ("alarms", "mail")
        if (mail.user is None) != (mail.password is None):
            missing = "user" if mail.user is None else "password"
            yield (*place, missing), "a login needs both user and password, add this one"
        if mail.password is not None and mail.security == "none":
            words = 'a password would be seen on its way: set security = "starttls" or "tls"'
            yield (*place, "security"), words

    @property
    def store_dir(self) -> Path:
        """Where objects lie."""
        return self.node.store_dir or self.node.state_dir / "store"

    @property
    def database_url(self) -> str:
        """Where ledger and queue lie; it may hold a password."""
        return self.node.database or f"sqlite:///{self.node.state_dir / 'ledger.db'}"

    @property
    def models_dirs(self) -> tuple[Path, ...]:
        """Where model packages are looked for: the site's own folder first, then what we bring."""
        return _looked_into(self.node.models_dir)

    @property
    def open_days(self) -> float:
        """How long after its last image a study stands in lists where its level puts it."""
        return OPEN_DAYS if self.web is None else self.web.open_days

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of object that somebody is sent; those of the default preset if nobody is."""
        wanted = [kind for peer in self.peers for kind in peer.kinds]
        wanted += [kind for folder in self.folders for kind in folder.kinds]
        return tuple(dict.fromkeys(wanted)) or presets()["default"]

    @property
    def folders(self) -> tuple[FolderSettings, ...]:
        """The destinations that are folders."""
        return tuple(one for one in self.destinations if isinstance(one, FolderSettings))

    @property
    def lists(self) -> tuple[HL7Settings | WebhookSettings, ...]:
        """The reading lists, and programs, that are told triage levels."""
        return tuple(one for one in self.destinations if not isinstance(one, FolderSettings))

    @property
    def receivers(self) -> tuple[str, ...]:
        """The names of all that are sent results, or told of them."""
        peers = [peer.name for peer in self.peers if peer.receives]
        return (*peers, *(one.name for one in self.destinations))

    @property
    def has_level_in_lists(self) -> bool:
        """Whether somebody wants the triage level in Series Descriptions: then all get it.

        The objects of a study are made once, whoever gets them.
        """
        presets_of_folders = (folder.receives for folder in self.folders)
        return any(peer.has_level_in_lists for peer in self.peers) or any(
            map(has_level_in_lists, presets_of_folders)
        )

    def peer(self, name: str) -> Peer:
        """Return a peer by name; DeliveryError if there is none, as after a change of this file."""
        for peer in self.peers:
            if peer.name == name:
                return peer
        raise DeliveryError(f"no peer is called {name} any more")

    def priority_of(self, sender: str) -> Literal["high", "normal", "low"]:
        """Return how soon a sender's studies are looked at, while nothing else is known of them."""
        found = (peer.priority for peer in self.peers if peer.name == sender)
        return next(found, "normal")

    def directions(self, sender: str) -> dict[str, frozenset[str]]:
        """Return who gets the results of a sender's studies, by name, and which kinds of object."""
        names = next((peer.destinations for peer in self.peers if peer.name == sender), ())
        found = {name: frozenset(self.peer(name).kinds) for name in names}
        for folder in self.folders:
            if not folder.senders or sender in folder.senders:
                found[folder.name] = frozenset(folder.kinds)
        return found


def presets() -> dict[str, tuple[str, ...]]:
    """Return what each preset sends, by its name."""
    return {name: preset.outputs for name, preset in _presets().items()}


def has_level_in_lists(preset: str) -> bool:
    """Return whether a preset wants the triage level in Series Descriptions."""
    return _presets()[preset].series_description_level


@cache
def _presets() -> dict[str, Preset]:
    folder = _bundled("presets", "config/presets")
    return {path.stem: toml_file.load(path, Preset) for path in sorted(folder.glob("*.toml"))}


def load_config(path: Path) -> Config:
    """Read and check a configuration file; paths in it are relative to its folder."""
    base = path.resolve().parent
    config = toml_file.load(
        path,
        Config,
        problems_of=lambda found: (
            *_unknown_models(found, base),
            *_folders_in_the_store(found, base),
        ),
    )
    alarms = config.alarms
    return config.model_copy(
        update={
            "node": _located(config.node, base),
            "web": config.web and _located(config.web, base),
            "destinations": tuple(_located(one, base) for one in config.destinations),
            "alarms": alarms.model_copy(
                update={
                    "webhook": alarms.webhook and _located(alarms.webhook, base),
                    "mail": alarms.mail and _located(alarms.mail, base),
                }
            ),
        }
    )


def load_node_alone(path: Path) -> Config | None:
    """Read where a node keeps things from a file that may be wrong elsewhere; None if there, too.

    To look at the node that still works by what the file said before, and for nothing else.
    """
    node = toml_file.load_table(path, "node", Node)
    return None if node is None else Config(node=_located(node, path.resolve().parent))


_Located = TypeVar("_Located", bound=Section)


def _located(section: _Located, base: Path) -> _Located:
    """Return a table with its paths, which are relative to the file's folder, made absolute."""
    paths = {
        name: base / value
        for name in type(section).model_fields
        if isinstance(value := getattr(section, name), Path)
    }
    return section.model_copy(update=paths)


def _unknown_models(config: Config, base: Path) -> Iterator[tuple[Place, str]]:
    own = config.node.models_dir
    folders = _looked_into(base / own if own else None)
    known = sorted({name for folder in folders for name in names_of_models(folder)})
    for i, model in enumerate(config.models):
        if model.mode != "off" and model.name not in known:
            problem = f'no model is called "{model.name}" in {" or ".join(map(str, folders))}'
            problem += " (or set [node] models_dir)"
            yield ("models", i, "name"), f"{problem}, {did_you_mean(model.name, known)}"


def _folders_in_the_store(config: Config, base: Path) -> Iterator[tuple[Place, str]]:
    store = (base / config.store_dir).resolve()
    for i, one in enumerate(config.destinations):
        if isinstance(one, FolderSettings) and (base / one.path).resolve().is_relative_to(store):
            words = f"it is inside the store, {store}, which is the node's alone: choose another"
            yield ("destinations", i, "path"), words


def _looked_into(own: Path | None) -> tuple[Path, ...]:
    folders = (bundled_models_dir(),) if own is None else (own, bundled_models_dir())
    return tuple(dict.fromkeys(folders))


class _ModelsDir(Section):
    model_config = ConfigDict(extra="ignore", frozen=True)

    models_dir: Path | None = None


class _WhereModelsAre(Section):
    model_config = ConfigDict(extra="ignore", frozen=True)

    node: _ModelsDir = _ModelsDir()


def models_dirs_here(config: Path) -> tuple[Path, ...]:
    """Return where packages are looked for by a configuration, if it is there.

    Nothing else of it is read: who wants to know which models there are may have to mend it.
    """
    if not config.is_file():
        return _looked_into(None)
    own = toml_file.load(config, _WhereModelsAre).node.models_dir
    return _looked_into(config.resolve().parent / own if own else None)


def names_of_models(models_dir: Path) -> list[str]:
    """Return the names of the model packages in a folder."""
    return sorted(path.parent.name for path in models_dir.glob("*/manifest.toml"))


def bundled_models_dir() -> Path:
    """Return the folder of the models that come with the node: in the wheel, or the repository."""
    return _bundled("models", "models")


def example_path() -> Path:
    """Return the configuration that explains every setting."""
    return _bundled("node.example.toml", "config/node.example.toml")


def _bundled(in_wheel: str, in_repository: str) -> Path:
    package = Path(__file__).parent
    path = package / in_wheel
    return path if path.exists() else package.parent / in_repository


WHAT_COMMITS_MEANS = (
    "may delete its images once this node says that it keeps them (commits = true): "
    "read docs/storage-commitment.md"
)


def advice(config: Config) -> list[str]:
    """Return what is allowed but hardly meant, one sentence each."""
    return [
        *_advice_on_peers(config),
        *_advice_on_lists(config),
        *_advice_on_models(config),
        *_advice_on_times(config),
    ]


def _advice_on_peers(config: Config) -> Iterator[str]:
    if not any(peer.sends for peer in config.peers):
        yield "No peer has sends = true: no calling AE is accepted."
    reached = {name for peer in config.peers if peer.sends for name in peer.destinations}
    for peer in config.peers:
        if peer.sends and not config.directions(peer.name):
            told = [one.name for one in config.lists if not one.senders or peer.name in one.senders]
            but = f" (levels are told to {', '.join(told)})" if told else ""
            yield (
                f'The results of what peer "{peer.name}" sends go nowhere{but}: '
                'give it receives = "default", or results_to with the names of others.'
            )
        if peer.receives and peer.name not in reached:
            yield (
                f'Peer "{peer.name}" receives nothing: it does not send, '
                "and no peer that sends names it in results_to."
            )
        if not peer.sends and not peer.receives:
            yield f'Peer "{peer.name}" neither sends nor receives.'
        if peer.priority != "normal" and not peer.sends:
            yield f'Peer "{peer.name}" has a priority, which says nothing: it does not send.'
        if peer.commits:
            yield f'Peer "{peer.name}" {WHAT_COMMITS_MEANS}.'


def _advice_on_lists(config: Config) -> Iterator[str]:
    wanted = [f'"{peer.name}"' for peer in config.peers if peer.has_level_in_lists]
    others = [f'"{p.name}"' for p in config.peers if p.receives and not p.has_level_in_lists]
    if wanted and others:
        yield (
            f"Peer {', '.join(wanted)} wants the triage level in Series Descriptions, and gets the "
            f"same objects as {', '.join(others)}, where it is seen, too."
        )


def _advice_on_models(config: Config) -> Iterator[str]:
    if config.triage.demonstration_may_rank:
        yield (
            "demonstration_may_rank = true: a demonstration model, which has learnt nothing of "
            "disease, may call a study urgent; leave it out where patients are read."
        )
    modes = {model.mode for model in config.models}
    if not config.models:
        yield "No model is named: nothing is analysed."
    elif modes == {"off"}:
        yield "Every model is off: nothing is analysed."
    elif "deliver" not in modes:
        yield "No model has the mode deliver: results are kept here and sent to nobody."


def _advice_on_times(config: Config) -> Iterator[str]:
    for shorter, longer, table in (
        ("ended_s", "settle_s", config.completeness),
        ("settle_s", "quiet_s", config.completeness),
        ("quiet_s", "final_s", config.completeness),
        ("retry_first_s", "retry_max_s", config.delivery),
        ("retry_max_s", "deliver_within_s", config.delivery),
    ):
        if getattr(table, shorter) > getattr(table, longer):
            yield f"{shorter} is longer than {longer}, which therefore comes first."
