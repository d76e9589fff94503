"""Alarms by mail within TLS, and by a signed webhook, to programs that are somebody else's."""

from __future__ import annotations

import json
import ssl
from pathlib import Path

import pytest
from mailboxes import LOGIN, Mailbox, mail_server, words_in
from ports import free_port
from standardwebhooks import Webhook
from typer.testing import CliRunner
from webhooks import SECRET, listening

from node import cli
from node.alarms.certificates import ReceiverCertificates, end_of, ends_in_file
from node.alarms.channels import MailChannel, WebhookChannel
from node.alarms.telling import telling_of_test
from node.config import AlarmMail, AlarmSettings, AlarmWebhook, Config
from node.config import Node as NodeSettings
from node.errors import DeliveryError

from .tls import make_certificate

pytestmark = pytest.mark.interop
TEST = telling_of_test("an-id", 1_764_000_000.0)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


def channel(port: int, **mail: object) -> MailChannel:
    wanted = {"to": ("a@b.example",), "sender": "ai-node@b.example", "host": "localhost"}
    settings = AlarmMail.model_validate(wanted | {"port": port, "timeout_s": 10} | mail)
    node = NodeSettings.model_validate({"ae_title": "AINODE", "state_dir": "unused"})
    return MailChannel(Config(node=node, alarms=AlarmSettings(mail=settings)), settings)


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_mail_goes_within_tls_to_a_server_whose_certificate_is_trusted(
    security: str, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    with mail_server(**{security: pair}) as box:  # type: ignore[arg-type]
        with pytest.raises(DeliveryError, match="has a certificate that is not trusted"):
            channel(box.port, security=security).tell(TEST)
        trusting = channel(box.port, security=security, tls_ca=pair[0])
        trusting.reach()
        assert trusting.tell(TEST) == ""
    assert box.are_in_tls == [True]
    other = make_certificate(tmp_path, "other")
    with mail_server(**{security: other}) as box:  # type: ignore[arg-type]
        mistaken = channel(box.port, security=security, tls_ca=other[0])
        with pytest.raises(DeliveryError, match="Hostname mismatch"):
            mistaken.tell(TEST)
    assert box.mails == []


def test_a_server_that_asks_for_a_login_gets_it_within_tls_alone(pair: tuple[Path, Path]) -> None:
    with mail_server(starttls=pair, has_login=True) as box:
        user, password = LOGIN
        right = channel(box.port, tls_ca=pair[0], user=user, password=password)
        assert right.tell(TEST) == ""
        right.reach()
        wrong = channel(box.port, tls_ca=pair[0], user=user, password="another")
        with pytest.raises(DeliveryError, match="refuses user and password"):
            wrong.reach()
        with pytest.raises(DeliveryError) as caught:
            wrong.tell(TEST)
        nobody = channel(box.port, tls_ca=pair[0])
        with pytest.raises(DeliveryError, match=r"answers 530 5\.7\.0 Authentication required"):
            nobody.tell(TEST)
    assert "refuses user and password (535 5.7.8" in str(caught.value)
    assert "another" not in str(caught.value)
    assert len(box.mails) == 1


def test_the_command_tests_every_channel_and_says_what_became_of_it(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    path = tmp_path / "node.toml"
    with (
        mail_server(starttls=pair) as box,
        listening(tls=pair) as program,
    ):
        path.write_text(
            f"""
[node]
ae_title = "AINODE"
state_dir = "state"
[alarms.mail]
to = ["pacs@hospital.example"]
sender = "ai-node@hospital.example"
host = "localhost"
port = {box.port}
tls_ca = "{pair[0]}"
[alarms.webhook]
url = "{program.url}"
secret = "{SECRET}"
tls_ca = "{pair[0]}"
""",
            "utf-8",
        )
        found = CliRunner().invoke(cli.app, ["alarm", "test", "--config", str(path)])
        assert found.exit_code == 0, found.output
        assert found.output == (
            f"mail: told pacs@hospital.example by localhost:{box.port}\n"
            f"webhook: told localhost:{program.port}\n"
        )
        program.status = 500
        failed = CliRunner().invoke(cli.app, ["alarm", "test", "--config", str(path)])
    assert failed.exit_code == 1
    assert f"mail: told pacs@hospital.example by localhost:{box.port}\n" in failed.output
    assert f"webhook: not told: localhost:{program.port} answered with HTTP status 500" in (
        failed.output
    )
    assert "nothing is wrong" in words_in(box.mails[0])
    heard = program.heard[0]
    said = Webhook(SECRET).verify(heard.body, dict(heard.headers))
    assert said["type"] == "alarm.test"
    assert json.loads(heard.body)["data"]["node"]["ae_title"] == "AINODE"


def test_a_webhook_is_reached_by_a_tls_that_can_be_trusted(pair: tuple[Path, Path]) -> None:
    node = NodeSettings.model_validate({"ae_title": "AINODE", "state_dir": "unused"})
    with listening(tls=pair) as program:
        for ca in (pair[0], None):
            webhook = AlarmWebhook(url=program.url, secret=SECRET, tls_ca=ca)
            channel = WebhookChannel(Config(node=node), webhook)
            if ca is not None:
                channel.reach()
                continue
            with pytest.raises(DeliveryError, match=r"no trusted TLS .+ \(self-signed cert"):
                channel.reach()
    assert program.heard == []


def test_when_certificates_end_is_read_from_files_and_from_what_servers_show(
    pair: tuple[Path, Path],
) -> None:
    with pair[0].open() as file:
        der = ssl.PEM_cert_to_DER_cert(file.read())
    in_file = ends_in_file(pair[0])
    assert in_file is not None
    assert in_file.ends_at == end_of(der)
    box = Mailbox(free_port())
    with mail_server(box, tls=pair), listening(tls=pair) as program:
        settings = AlarmSettings(
            mail=channel(box.port, security="tls").mail,
            webhook=AlarmWebhook(url=program.url, secret=SECRET),
        )
        node = NodeSettings.model_validate({"ae_title": "AINODE", "state_dir": "unused"})
        receivers = ReceiverCertificates()
        watched_node = Config(node=node, alarms=settings)
        assert dict(receivers.ends(watched_node)) == {}, "they are asked meanwhile"
        receivers.wait(10)
        shown = dict(receivers.ends(watched_node))
    assert shown == {"[alarms.mail]": in_file, "[alarms.webhook]": in_file}
    again = dict(receivers.ends(watched_node))
    assert again == shown, "it is not asked again so soon, and nobody is there any more"
