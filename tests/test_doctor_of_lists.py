"""Doctor connects to who is told of triage levels, and sends nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from ports import free_port
from reading_lists import ReadingList, reading_list
from webhooks import SECRET, listening

from node import config
from node.doctor.lists import check_lists
from node.doctor.verdict import Verdict


def verdicts(*lists: config.HL7Settings | config.WebhookSettings) -> list[Verdict]:
    settings = config.Config(
        node=config.Node(ae_title="AINODE", state_dir=Path("unused")),
        models=(config.ChosenModel(name="breast-area", mode="deliver"),),
        destinations=lists,
    )
    return list(check_lists(settings))


def hook(url: str) -> config.WebhookSettings:
    return config.WebhookSettings(
        kind="webhook", name="hook", url=url, secret=SECRET, models=("breast-area",)
    )


def test_who_takes_connections_is_well_and_hears_nothing() -> None:
    with reading_list() as ris, listening() as program:
        found = verdicts(ris.settings(), hook(program.url))
    assert [(one.what, one.state) for one in found] == [
        ("destination ris", "ok"),
        ("destination hook", "ok"),
    ]
    assert found[0].words == (
        f"localhost:{ris.port} takes connections, without TLS; told of the levels of breast-area"
    )
    assert not ris.heard
    assert not program.heard


def test_who_is_not_there_is_said_with_what_to_do() -> None:
    port = free_port()
    url = f"https://localhost:{port}/secret-path"
    found = verdicts(ReadingList(port=port).settings(), hook(url))
    assert [one.state for one in found] == ["failed", "failed"]
    for one in found:
        assert one.words == f"localhost:{port} cannot be reached: Connection refused"
        assert "firewall" in one.remedy
        assert "secret" not in one.words


def test_who_speaks_no_tls_where_it_is_set_is_said(tmp_path: Path) -> None:
    with reading_list() as ris:
        settings = ris.settings(tls=True)
        (found,) = verdicts(settings)
        (other,) = verdicts(settings.model_copy(update={"tls_ca": tmp_path / "none.pem"}))
    assert found.state == other.state == "failed"
    assert "no trusted TLS connection" in found.words
    assert "none.pem: cannot be used for TLS" in other.words


def test_patients_names_on_an_open_line_are_a_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    with reading_list() as ris:
        monkeypatch.setattr("node.doctor.lists._is_here", lambda host: False)
        well, doubt = verdicts(ris.settings())
    assert (well.state, doubt.state) == ("ok", "warning")
    assert "without TLS" in doubt.words
