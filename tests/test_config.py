"""The configuration file: what it may say, and how mistakes in it are told."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packages import write_package
from webhooks import SECRET

from node import config, toml_file
from node.config import Config, FolderSettings, HL7Settings, WebhookSettings, advice
from node.errors import ConfigError
from node.toml_file import Place, Section

MINIMAL = """\
[node]
ae_title = "AINODE"
state_dir = "state"

[listener]
host = "127.0.0.1"
port = 11112

[[peers]]
name = "orthanc"
ae_title = "ORTHANC"
host = "127.0.0.1"
port = 4242
sends = true
receives = "default"

[[models]]
name = "breast-area"
mode = "deliver"
"""

EXAMPLE = Path(__file__).parent.parent / "config" / "node.example.toml"


def loaded(folder: Path, *changes: tuple[str, str], text: str = MINIMAL) -> Config:
    for present, replacement in changes:
        assert present in text
        text = text.replace(present, replacement)
    path = folder / "node.toml"
    path.write_text(text, "utf-8")
    return config.load_config(path)


def problems(folder: Path, *changes: tuple[str, str], text: str = MINIMAL) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, *changes, text=text)
    prefix = f"{folder / 'node.toml'}:"
    lines = str(caught.value).splitlines()
    assert all(line.startswith(prefix) for line in lines)
    return [line.removeprefix(prefix) for line in lines]


# What it may say


def test_the_smallest_configuration_loads(tmp_path: Path) -> None:
    found = loaded(tmp_path)
    assert found.node.state_dir == tmp_path / "state"
    assert found.store_dir == tmp_path / "state" / "store"
    assert found.models_dirs == (config.bundled_models_dir(),)
    assert found.peer("orthanc").destinations == ("orthanc",)
    assert found.peer("orthanc").confirm == ("commitment", "find")
    assert found.peer("orthanc").compares_identity
    assert tuple(found.directions("orthanc")) == ("orthanc",)
    assert tuple(found.directions("nobody")) == ()
    assert advice(found) == []


def test_absolute_paths_stay_and_relative_ones_belong_to_the_file(tmp_path: Path) -> None:
    change = ('state_dir = "state"', 'state_dir = "/s"\nstore_dir = "x/y"\nmodels_dir = "m"')
    write_package(tmp_path / "m")
    found = loaded(tmp_path, change)
    assert found.node.state_dir == Path("/s")
    assert found.store_dir == tmp_path / "x" / "y"
    assert found.models_dirs == (tmp_path / "m", config.bundled_models_dir())


def test_the_ledger_is_a_file_in_the_state_folder_unless_the_configuration_names_a_database(
    tmp_path: Path,
) -> None:
    assert loaded(tmp_path).database_url == f"sqlite:///{tmp_path / 'state' / 'ledger.db'}"
    for url in (
        "postgresql://ainode@db.example.org/ainode",
        "postgresql://ainode:s%40cret@[2001:db8::1]:5433/ainode?sslmode=verify-full",
        "postgresql:///ainode?host=/run/postgresql",
        "sqlite:////srv/ledger.db",
    ):
        change = ('state_dir = "state"', f'state_dir = "state"\ndatabase = "{url}"')
        assert loaded(tmp_path, change).database_url == url


@pytest.mark.parametrize(
    "database",
    [
        '"postgres://ainode:SECRET@db/ainode"',
        '"postgresql://ainode:SECRET@db"',
        '"postgresql://ainode:SECRET@db:port/ainode"',
        '"postgresql://db/?user=ainode&password=SECRET"',
        '"mysql://ainode:SEC/RET@SECRET@db/ainode"',
        '"sqlite:///SECRET@relative.db"',
        '["postgresql://ainode:SECRET@db/ainode"]',
    ],
)
def test_a_database_that_cannot_be_is_told_without_its_password(
    database: str, tmp_path: Path
) -> None:
    change = ('state_dir = "state"', f'state_dir = "state"\ndatabase = {database}')
    (problem,) = problems(tmp_path, change)
    assert problem.startswith("4: node.database: expected ")
    assert "SEC" not in problem


def test_the_password_of_the_database_does_not_show_where_the_configuration_is_printed(
    tmp_path: Path,
) -> None:
    database = 'database = "postgresql://ainode:SECRET@db/ainode"'
    found = loaded(tmp_path, ('state_dir = "state"', f'state_dir = "state"\n{database}'))
    assert "SECRET" not in f"{found} {found!r}"


def test_results_of_a_modality_go_where_results_to_says(tmp_path: Path) -> None:
    modality = (
        '[[peers]]\nname = "room-1"\nae_title = "MG1"\nhost = "h"\nport = 104\n'
        'sends = true\nresults_to = ["orthanc"]\n'
    )
    found = loaded(tmp_path, text=MINIMAL + modality)
    assert tuple(found.directions("room-1")) == ("orthanc",)
    assert advice(found) == []


@pytest.mark.parametrize("ways", [(), ("find",), ("find", "commitment")])
def test_how_results_are_confirmed_is_a_choice_in_order(
    ways: tuple[str, ...], tmp_path: Path
) -> None:
    written = f"sends = true\ncompares_identity = false\nconfirm = {list(ways)}"
    [peer] = loaded(tmp_path, ("sends = true", written)).peers
    assert peer.confirm == ways
    assert not peer.compares_identity


def test_a_file_saved_by_notepad_loads(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode())
    assert config.load_config(path).node.ae_title == "AINODE"


# How mistakes are told


@pytest.mark.parametrize(
    ("present", "replacement", "expected"),
    [
        ("port = 11112", "prot = 11112", '7: listener.prot: unknown key, did you mean "port"?'),
        (
            "port = 11112",
            "zzz = 1",
            "7: listener.zzz: unknown key, known are: "
            "host, port, max_associations, max_pdu, idle_timeout_s",
        ),
        ("[listener]", "[listner]", '5: listner: unknown key, did you mean "listener"?'),
        (
            "port = 4242",
            "port = 99999",
            "13: peers.port: expected a number not above 65535, found 99999",
        ),
        (
            "port = 4242",
            'port = "dicom"',
            '13: peers.port: expected a whole number, found "dicom"',
        ),
        (
            'host = "127.0.0.1"\nport = 11112',
            'host = "[::]"\nport = 11112',
            "6: listener.host: expected a host name or address, without brackets: ::1, not [::1], "
            'found "[::]"',
        ),
        ("port = 4242\n", "", "9: peers.port: missing, add port = ..."),
        ("sends = true", "sends = 7", "14: peers.sends: expected true or false, found 7"),
        (
            "sends = true",
            'sends = true\naddresses = [\n  "192.0.2.0/24",\n  "pacs"\n]',
            '15: peers.addresses: expected an address or network such as "192.0.2.0/24", '
            'found "pacs"',
        ),
        (
            'ae_title = "ORTHANC"',
            'ae_title = "ORTHANC-IN-THE-CELLAR"',
            "11: peers.ae_title: expected an AE title: 1 to 16 ASCII characters, "
            'no backslash, no blank at either end, found "ORTHANC-IN-THE-CELLAR"',
        ),
        (
            "sends = true",
            'sends = true\nconfirm = ["comitment"]',
            '15: peers.confirm: expected "commitment" or "find", found "comitment"',
        ),
        (
            "sends = true",
            'sends = true\nconfirm = "find"',
            '15: peers.confirm: expected a list such as ["one", "two"], found "find"',
        ),
        (
            'name = "breast-area"',
            'name = "breast-aera"',
            f'18: models.name: no model is called "breast-aera" in {config.bundled_models_dir()} '
            '(or set [node] models_dir), '
            'did you mean "breast-area"?',
        ),
        (
            'mode = "deliver"',
            'mode = "shadwo"',
            '19: models.mode: expected "off", "shadow" or "deliver", found "shadwo"',
        ),
        (
            'mode = "deliver"',
            'mode = "deliver"\n[[models]]\nname = "breast-area"\nmode = "off"',
            '21: models.name: "breast-area" is there twice, give each its own name',
        ),
        (
            'receives = "default"',
            'results_to = ["orthnac"]',
            '15: peers.results_to: no peer is called "orthnac", did you mean "orthanc"?',
        ),
        (
            'receives = "default"',
            'results_to = ["orthanc"]',
            '15: peers.results_to: "orthanc" takes no results, add receives = "default" to it',
        ),
        (
            'receives = "default"',
            'receives = "default"\nresults_to = ["orthanc"]',
            "16: peers.results_to: results go back to this peer, which receives, or to others: "
            "keep one",
        ),
        (
            "sends = true",
            'retrieve = "move"',
            "14: peers.retrieve: by C-MOVE it sends to this node: needs sends = true, or "
            'retrieve = "get"',
        ),
        (
            'receives = "default"',
            'receives = "default"\noutputs = ["key-images"]',
            "16: peers.outputs: add one of capture, measurement-report, measurement-report-3d, "
            "encapsulated-pdf: the others say nothing where nothing was found or analysed",
        ),
        (
            'receives = "default"',
            'receives = "default"\noutputs = ["capture", "key-image"]',
            '16: peers.outputs: no kind of result object is called "key-image", '
            'did you mean "key-images"?',
        ),
        (
            'receives = "default"',
            'receives = "default"\noutputs = [1]',
            "16: peers.outputs: expected text in quotes, found 1",
        ),
        (
            'receives = "default"',
            'receives = "ohiff"',
            '15: peers.receives: no preset is called "ohiff", did you mean "ohif"?',
        ),
        (
            'state_dir = "state"',
            'state_dir = "state"\ntimezone = "Mars/Phobos"',
            '4: node.timezone: expected a time zone such as "Europe/Berlin", found "Mars/Phobos"',
        ),
        (
            'state_dir = "state"',
            "state_dir = 3",
            "3: node.state_dir: expected a path in quotes, found 3",
        ),
        (
            "port = 11112",
            "port = = 11112",
            "7: not valid TOML: Invalid value (column 8)",
        ),
        ("[[models]]", "[[peers", "17: not valid TOML: Expected ']]' at the end of an array "
         "declaration (column 8)"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_line_key_and_remedy(
    present: str, replacement: str, expected: str, tmp_path: Path
) -> None:
    assert problems(tmp_path, (present, replacement)) == [expected]


def test_all_mistakes_are_told_at_once_from_top_to_bottom(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        ('mode = "deliver"', 'mode = "on"'),
        ("port = 11112", "port = -1"),
        ("[[models]]", "[inferense]\n[[models]]"),
    )
    assert [int(line.split(":")[0]) for line in found] == [7, 17, 20]


def test_two_senders_that_cannot_be_told_apart_are_a_mistake(tmp_path: Path) -> None:
    twin = MINIMAL[MINIMAL.index("[[peers]]") : MINIMAL.index("[[models]]")]
    assert problems(tmp_path, text=MINIMAL + twin.replace('"orthanc"', '"twin"')) == [
        '22: peers.ae_title: same AE title and host as "orthanc", so that nobody knows who sends'
    ]


def test_an_empty_file_says_what_it_needs(tmp_path: Path) -> None:
    assert problems(tmp_path, text="") == ["1: node: missing, add [node]"]


def test_a_table_that_is_no_table_is_told(tmp_path: Path) -> None:
    assert problems(tmp_path, text="node = 3\npeers = 4\n") == [
        "1: node: expected a table, found 3",
        '2: peers: expected a list such as ["one", "two"], found 4',
    ]


def test_two_that_listen_have_two_ports(tmp_path: Path) -> None:
    both = MINIMAL + "[web]\nport = 11999\n[monitoring]\nport = 11999\n"
    (found,) = problems(tmp_path, text=both)
    assert found.endswith("monitoring.port: 11999 is the port of [web], give it another")
    assert loaded(tmp_path, text=both.replace("11999", "0")).monitoring is not None


def test_a_missing_file_and_another_encoding_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: cannot be read \(No such file"):
        config.load_config(tmp_path / "absent.toml")
    path = tmp_path / "node.toml"
    path.write_bytes('[node]\nae_title = "KÖLN"\n'.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"node\.toml:2: not UTF-8 text, save the file as UTF-8"):
        config.load_config(path)


def test_braces_in_a_value_are_shown_as_they_are(tmp_path: Path) -> None:
    found = problems(tmp_path, ('receives = "default"', 'results_to = ["a-b"]'), ("a-b", "a_b"))
    assert found == ['15: peers.results_to: no peer is called "a_b", known are: orthanc']
    assert "{x}" in str(toml_file.wrong([(("a",), "{x}")]))


# Folders that results are put into

FOLDER = '[[destinations]]\nkind = "folder"\nname = "research"\npath = "results"\n'


def with_folder(more: str = "") -> tuple[str, str]:
    return "[[models]]", f"{FOLDER}{more}\n[[models]]"


def test_a_folder_gets_the_results_of_all_that_send_or_of_those_it_names(tmp_path: Path) -> None:
    found = loaded(tmp_path, with_folder())
    assert found.folders[0].path == tmp_path / "results"
    default = frozenset(config.presets()["default"])
    assert found.directions("orthanc") == {"orthanc": default, "research": default}
    assert found.receivers == ("orthanc", "research")
    pictures = loaded(tmp_path, with_folder('senders = ["orthanc"]\noutputs = ["capture"]'))
    assert pictures.directions("orthanc")["research"] == {"capture"}
    assert "research" not in pictures.directions("other")


def test_a_sender_whose_results_only_a_folder_gets_needs_no_advice(tmp_path: Path) -> None:
    found = loaded(tmp_path, with_folder(), ('receives = "default"\n', ""))
    assert advice(found) == []


def test_a_folder_of_a_preset_that_names_the_level_in_lists_has_it_named(tmp_path: Path) -> None:
    assert loaded(tmp_path, with_folder('receives = "worklist"')).has_level_in_lists


# What is allowed but hardly meant


@pytest.mark.parametrize(
    ("present", "replacement", "expected"),
    [
        ("sends = true\n", "", "No peer has sends = true: no calling AE is accepted."),
        ('receives = "default"\n', "", 'The results of what peer "orthanc" sends go nowhere'),
        ("sends = true\n", "", 'Peer "orthanc" receives nothing'),
        ('sends = true\nreceives = "default"', "", 'Peer "orthanc" neither sends nor receives.'),
        ("sends = true\n", 'priority = "high"\n', 'Peer "orthanc" has a priority, which says'),
        ('[[models]]\nname = "breast-area"\nmode = "deliver"\n', "", "No model is named"),
        ('"deliver"', '"off"', "Every model is off"),
        ('"deliver"', '"shadow"', "No model has the mode deliver"),
        (
            "[[models]]",
            "[completeness]\nquiet_s = 2\n[[models]]",
            "settle_s is longer than quiet_s",
        ),
        ("[[models]]", "[delivery]\nretry_first_s = 1e9\n[[models]]", "retry_first_s is longer"),
        ("[[models]]", "[triage]\ndemonstration_may_rank = true\n[[models]]", "demonstration_may"),
    ],
)
def test_advice_names_what_is_hardly_meant(
    present: str, replacement: str, expected: str, tmp_path: Path
) -> None:
    found = advice(loaded(tmp_path, (present, replacement)))
    assert any(sentence.startswith(expected) for sentence in found), found


def test_whose_studies_are_looked_at_first_is_known_by_the_name_of_the_sender(
    tmp_path: Path,
) -> None:
    found = loaded(tmp_path, ("sends = true\n", 'sends = true\npriority = "high"\n'))
    assert [found.priority_of(name) for name in ("orthanc", "who is no more")] == ["high", "normal"]
    assert advice(found) == []


def test_a_preset_that_names_the_level_in_lists_is_told_to_reach_others_too(
    tmp_path: Path,
) -> None:
    peer = MINIMAL[MINIMAL.index("[[peers]]") : MINIMAL.index("[[models]]")]
    other = peer.replace("orthanc", "other").replace("ORTHANC", "OTHER")
    alone = loaded(tmp_path, ('"default"', '"worklist"'))
    assert alone.has_level_in_lists
    assert advice(alone) == []
    both = loaded(tmp_path, ('"default"', '"worklist"'), ("[[models]]", f"{other}[[models]]"))
    assert both.has_level_in_lists
    words = 'Peer "orthanc" wants the triage level in Series Descriptions, and gets the same'
    assert any(sentence.startswith(words) for sentence in advice(both))
    assert not loaded(tmp_path).has_level_in_lists


def test_a_demonstration_may_rank_only_where_that_is_said(tmp_path: Path) -> None:
    assert not loaded(tmp_path).triage.demonstration_may_rank


# Alarms

MAIL = """
[alarms.mail]
to = ["pacs@hospital.example"]
sender = "ai-node@hospital.example"
host = "mail.hospital.example"
"""
WEBHOOK = """
[alarms.webhook]
url = "https://alarms.hospital.example/secret-path"
secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
"""


def test_alarms_are_told_by_mail_and_webhook_where_the_configuration_names_them(
    tmp_path: Path,
) -> None:
    assert loaded(tmp_path).alarms.mail is None
    found = loaded(tmp_path, text=f'{MINIMAL}{MAIL}tls_ca = "ca.pem"\n{WEBHOOK}').alarms
    assert found.mail is not None
    assert (found.mail.port, found.mail.security) == (587, "starttls")
    assert found.mail.tls_ca == tmp_path / "ca.pem"
    assert found.webhook is not None
    assert "secret-path" not in repr(found)
    assert "whsec" not in repr(found)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ('user = "ai"\n', "password: a login needs both user and password, add this one"),
        ('password = "pass"\n', "user: a login needs both user and password, add this one"),
        (
            'user = "ai"\npassword = "pass"\nsecurity = "none"\n',
            'security: a password would be seen on its way: set security = "starttls" or "tls"',
        ),
    ],
)
def test_a_login_at_the_mail_server_is_whole_and_not_for_others_to_see(
    lines: str, problem: str, tmp_path: Path
) -> None:
    (found,) = problems(tmp_path, text=MINIMAL + MAIL + lines)
    assert problem in found
    assert '"pass"' not in found


def test_a_rule_that_is_to_be_off_is_one_that_there_is(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, text=f'{MINIMAL}[alarms]\noff = ["part"]\n')
    assert 'no rule is called "part", did you mean "part-ill"?' in found


# Reading lists

LIST = """
[[destinations]]
kind = "hl7"
name = "ris"
host = "ris.example"
port = 2575
models = ["breast-area"]
"""
PROGRAM = """
[[destinations]]
kind = "webhook"
name = "hook"
url = "https://hook.example/secret-path"
secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
models = ["breast-area"]
"""


def test_reading_lists_are_named_with_their_models(tmp_path: Path) -> None:
    assert loaded(tmp_path).lists == ()
    text = f'{MINIMAL}{LIST}tls = true\ntls_ca = "ca.pem"\n{PROGRAM}'
    ris, hook = loaded(tmp_path, text=text).lists
    assert isinstance(ris, HL7Settings)
    assert (ris.result_status, ris.character_set, ris.tls) == ("R", "UNICODE UTF-8", True)
    assert ris.tls_ca == tmp_path / "ca.pem"
    assert isinstance(hook, WebhookSettings)
    assert hook.shows == "accession"
    assert "secret-path" not in repr(hook)
    assert "whsec" not in repr(hook)


@pytest.mark.parametrize(
    ("table", "line", "problem"),
    [
        (LIST, 'senders = ["nobody"]', 'no peer that sends is called "nobody"'),
        (LIST, 'result_status = "F"', "result_status"),
        (LIST, 'result_status = "C"', "result_status"),
        (LIST, 'sending_application = "A|B"', "1 to 20 ASCII characters without"),
        (LIST, 'tls_ca = "ca.pem"', "add tls = true"),
        (LIST, 'tls_certificate = "us.pem"\ntls_key = "key.pem"', "add tls = true"),
        (LIST, 'tls = true\ntls_key = "key.pem"', "TLS needs both tls_certificate and tls_key"),
        (PROGRAM, 'shows = "all"', "shows"),
    ],
)
def test_what_a_list_cannot_be_is_said(table: str, line: str, problem: str, tmp_path: Path) -> None:
    (found,) = problems(tmp_path, text=f"{MINIMAL}{table}{line}\n")
    assert problem in found


@pytest.mark.parametrize(
    ("former", "new", "problem"),
    [
        ("https://hook", "https://ai:pass@hook", "a login before the host is not used"),
        ("whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=", "whsec_...", "at least 24 bytes"),
    ],
)
def test_where_a_program_is_and_what_it_is_sure_by_is_its_own(
    former: str, new: str, problem: str, tmp_path: Path
) -> None:
    (found,) = problems(tmp_path, text=MINIMAL + PROGRAM.replace(former, new))
    assert problem in found
    assert "pass" not in found


def test_a_list_is_told_only_of_models_that_deliver(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, text=MINIMAL.replace('"deliver"', '"shadow"') + LIST)
    assert (
        '"breast-area" has mode = "shadow": it is told of no level that is not delivered' in found
    )
    wrong_name = LIST.replace('"breast-area"', '"breast-aera"')
    (found,) = problems(tmp_path, text=MINIMAL + wrong_name)
    assert 'has the name "breast-aera", did you mean "breast-area"?' in found


def test_a_folder_is_no_peer_and_lies_outside_of_the_store(tmp_path: Path) -> None:
    folder = '[[destinations]]\nkind = "folder"\nname = "f"\npath = "{}"\n'
    (found,) = problems(tmp_path, text=MINIMAL + folder.format("state/store/results"))
    assert "destinations.path: " in found
    assert "which is the node's alone: choose another" in found
    to_folder = MINIMAL.replace('receives = "default"', 'results_to = ["f"]')
    (found,) = problems(tmp_path, text=to_folder + folder.format("results"))
    assert '"f" is no peer but a destination, which chooses by its own `senders`' in found


def test_a_list_with_a_wrong_item_is_not_also_too_short(tmp_path: Path) -> None:
    mail = '[alarms.mail]\nto = ["admin"]\nsender = "ai@example.org"\nhost = "mail.example.org"\n'
    (found,) = problems(tmp_path, text=MINIMAL + mail)
    assert "too" not in found


def test_a_webhook_is_never_open_on_the_network(tmp_path: Path) -> None:
    text = MINIMAL + PROGRAM.replace("https:", "http:")
    (found,) = problems(tmp_path, text=text)
    assert "expected https" in found
    assert "secret-path" not in found


# The example


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ('[alarms]\nwebhook = "https://x/?s=5550123"', "alarms.webhook"),
        ('[alarms.webhook]\nurl = 5550123\nsecret = "s"', "alarms.webhook.url"),
        ('[alarms.webhook]\nurl = "https://x"\nsecret = ["5550123"]', "alarms.webhook.secret"),
        ('[alarms.mail]\nhost = "h"\npassword = 5550123', "alarms.mail.password"),
        ('[[destinations]]\nkind = "webhook"\nsecret = ["5550123"]', "destinations.secret"),
        ('[[destinations]]\nkind = "webhook"\nurl = "ftp://5550123"', "destinations.url"),
    ],
)
def test_what_may_be_a_secret_is_not_said_whatever_is_wrong_with_it(
    tmp_path: Path, table: str, key: str
) -> None:
    path = tmp_path / "node.toml"
    path.write_text(f'[node]\nae_title = "A"\nstate_dir = "s"\n{table}\n')
    with pytest.raises(ConfigError) as error:
        config.load_config(path)
    assert f"{key}: expected " in str(error.value)
    assert "5550123" not in str(error.value)


def uncommented(text: str) -> str:
    """Return the example with every optional table and setting switched on."""
    pattern = r"^# ([a-z_]+ = |    \"|\]$|\[\[?[a-z._]+\]\]?$)"
    return re.sub(pattern, r"\1", text, flags=re.MULTILINE)


def sections(schema: type[Section] = Config, place: Place = ()) -> dict[Place, type[Section]]:
    found: dict[Place, type[Section]] = {place: schema} if place else {}
    for name, field in schema.model_fields.items():
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, Section):
                found |= sections(kind, (*place, name))
    return found


def tables_of_example() -> dict[str, dict[str, Any]]:
    tables = tomllib.loads(uncommented(EXAMPLE.read_text("utf-8")))
    return {
        name: {key: value for part in table for key, value in part.items()}
        if isinstance(table, list)
        else table
        for name, table in tables.items()
    }


def destinations_of_example() -> dict[str, dict[str, Any]]:
    """Return each kind of destination with its settings, switched on."""
    tables = tomllib.loads(uncommented(EXAMPLE.read_text("utf-8")))
    return {table["kind"]: table for table in tables["destinations"]}


def test_the_example_mentions_every_setting_of_each_kind_of_destination() -> None:
    found = destinations_of_example()
    kinds: dict[str, type[Section]] = {"folder": FolderSettings}
    kinds |= {"hl7": HL7Settings, "webhook": WebhookSettings}
    for kind, schema in kinds.items():
        assert set(found[kind]) == set(schema.model_fields), kind


def test_the_example_shows_the_defaults_of_destinations() -> None:
    kinds: dict[str, type[Section]] = {"hl7": HL7Settings, "webhook": WebhookSettings}
    for kind, schema in kinds.items():
        for key, field in schema.model_fields.items():
            if not field.is_required() and field.default not in (None, ()):
                assert destinations_of_example()[kind][key] == field.default, (kind, key)


def table_at(place: Place) -> dict[str, Any]:
    found = tables_of_example()
    for key in place:
        found = found[str(key)]
    return found


def test_the_example_loads_and_needs_no_advice() -> None:
    found = config.load_config(EXAMPLE)
    assert tuple(found.directions("mammo-room-1")) == ("pacs",)
    assert [sentence for sentence in advice(found) if "No model has the mode" not in sentence] == []


def test_the_example_mentions_every_setting_of_every_table() -> None:
    for place, schema in sections().items():
        assert set(table_at(place)) == set(schema.model_fields), place


def test_the_example_shows_the_defaults(tmp_path: Path) -> None:
    text = EXAMPLE.read_text("utf-8")
    for place, schema in sections().items():
        for key, field in schema.model_fields.items():
            shown = re.search(rf"^# {key} = ", text, re.MULTILINE)
            if field.is_required() or not shown or field.default in (None, ()):
                continue
            default = list(field.default) if isinstance(field.default, tuple) else field.default
            if key in table_at(place):
                assert table_at(place)[key] == default, (place, key)
    for line in text.splitlines():
        assert len(line) <= 100
    here = ("/srv/ai-node/models", str(config.bundled_models_dir()))
    delivering = uncommented(text).replace('mode = "shadow"', 'mode = "deliver"')  # for the lists
    assert delivering.count("whsec_...") == 2  # that everybody knows none which could be used
    delivering = delivering.replace("whsec_...", SECRET).replace("tls = false", "tls = true")
    loaded(tmp_path, here, text=delivering)


# Line numbers

bare = st.text("abcXYZ019_-", min_size=1, max_size=4)
quoted = st.text("ab .=#[]{}'\n\t\\\"é", max_size=4)


@st.composite
def written_keys(draw: st.DrawFn) -> tuple[str, str]:
    """Return a key, and how a file may write it."""
    if draw(st.booleans()):
        key = draw(bare)
        return key, key
    key = draw(quoted)
    if draw(st.booleans()) and not set(key) & set("'\n"):
        return key, f"'{key}'"
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t"}
    return key, '"' + "".join(escapes.get(letter, letter) for letter in key) + '"'


VALUES = st.sampled_from(
    [
        "1",
        "1.5e3",
        "1979-05-27T07:32:00Z",
        "true",
        '"a = # \\" [b]"',
        "'[x]\\'",
        '"""\n[t]\nk = 1\\""" \n"""',
        '""""quoted""""',
        "'''\n[t]\n# '' \nk = 1\n'''",
        "[]",
        "[ # ]\n  [1, 2],\n  'a=b', # c\n]",
        "{}",
        '{ a = 1, "b=c" = [ { d = "}" } ] }',
    ]
)


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, dict[Place, int]]:
    """Return a valid TOML text and the line of every table and key in it."""
    text = ""
    lines: dict[Place, int] = {}
    names = draw(st.lists(written_keys(), max_size=5, unique_by=lambda written: written[0]))
    for i, (name, written) in enumerate(names):
        is_array = draw(st.booleans())
        for n in range(draw(st.integers(1, 3)) if is_array else 1):
            text += draw(st.sampled_from(["", "\n", "  # [x]\n", "\t"]))
            place: Place = (name, n) if is_array else (name,)
            lines.setdefault((name,), text.count("\n") + 1)
            lines[place] = text.count("\n") + 1
            text += f"[[ {written} ]] # y = 1\n" if is_array else f"[{written}]\n"
            keys = draw(st.lists(written_keys(), max_size=4, unique_by=lambda pair: pair[0]))
            for key, written_key in keys:
                lines[(*place, key)] = text.count("\n") + 1
                text += f"{written_key} = {draw(VALUES)}\n"
            if draw(st.booleans()):
                lines[(*place, "sub", "deep")] = text.count("\n") + 1
                lines[(*place, "sub")] = text.count("\n") + 1
                lines[(*place, "sub", "deep", f"k{i}")] = text.count("\n") + 2
                lines[(*place, "sub", "deep", f"k{i}", "x")] = text.count("\n") + 2
                text += f"[{written}.sub . deep]\nk{i} . x = 1\n"
    return text, lines


def places(value: object, place: Place = ()) -> set[Place]:
    found = {place} if place else set()
    if isinstance(value, dict):
        return found.union(*(places(part, (*place, key)) for key, part in value.items()))
    if isinstance(value, list):
        return found.union(*(places(part, (*place, i)) for i, part in enumerate(value)))
    return found


@given(document=documents())
def test_line_numbers_agree_with_tomllib(document: tuple[str, dict[Place, int]]) -> None:
    text, expected = document
    found = toml_file.line_numbers(text)
    assert found == expected
    assert set(found) <= places(tomllib.loads(text))


@given(text=st.text("ab=.[]{}'\"#\\\n 1,", max_size=60))
def test_line_numbers_of_any_valid_file_are_of_keys_that_tomllib_finds(text: str) -> None:
    try:
        expected = places(tomllib.loads(text))
    except tomllib.TOMLDecodeError:
        return
    assert set(toml_file.line_numbers(text)) <= expected
