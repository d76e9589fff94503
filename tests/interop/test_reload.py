"""SIGHUP while a modality sends, while studies are analysed, and while results wait to be sent."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from ports import free_port
from pydicom import dcmread

from node.config import bundled_models_dir

from .conftest import Started
from .programs import MODALITY_AE, Node, StoreScp, peer, settings, wait_for

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]

EXAMS = 6
RESULTS = 6
"""A report, a summary, and four marked views."""


def put_package(folder: Path, version: str) -> None:
    """Put a version of the model "mine" into a folder, as breast-area but for its name."""
    package = folder / "mine"
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(bundled_models_dir() / "breast-area", package)
    manifest = package / "manifest.toml"
    text = manifest.read_text("utf-8")
    device = 10**12 + sum(int(one) * 1000**n for n, one in enumerate(version.split(".")))
    for key, value in {"name": "mine", "version": version, "device_uid": f"2.25.{device}"}.items():
        text = re.sub(rf'(?m)^{key} = ".*"$', f'{key} = "{value}"', text)
    manifest.write_text(text, "utf-8")


def with_own_model(text: str) -> str:
    """Return a configuration whose model is "mine", in the folder "models" beside it."""
    return text.replace('"breast-area"', '"mine"').replace(
        "[node]", '[node]\nmodels_dir = "models"'
    )


def test_nothing_is_lost_and_nothing_doubled_however_often_it_reloads(
    tmp_path: Path, pacs: StoreScp, started: Started, exam: Callable[[str], list[Path]]
) -> None:
    port = free_port()
    modality = peer("modality", MODALITY_AE, 104, sends=True, results_to=["pacs"])
    text = with_own_model(settings(port, modality, peer("pacs", pacs.ae_title, pacs.port)))
    node = Node(tmp_path / "node", port, text)
    put_package(node.folder / "models", "1.0.0")
    started(node)
    exams = [exam(f"reloaded {number}") for number in range(EXAMS)]
    studies = [str(dcmread(paths[0]).StudyInstanceUID) for paths in exams]
    sending = [node.send_in_background(*paths) for paths in exams]
    for number in range(1, EXAMS):
        put_package(node.folder / "models", f"1.0.{number}")
        other = peer(f"other-{number}", f"OTHER{number}", free_port())
        node.config.write_text(text + other, "utf-8")
        words = f"Changed: peer other-{number} is new"
        _hup(node)
        node.wait_until(words, lambda words=words: words in node.says())  # type: ignore[misc]
    assert [one.wait(120) for one in sending] == [0] * EXAMS
    node.config.write_text(text, "utf-8")

    def all_done() -> bool:
        told = node.studies()
        return {told[uid]["state"] for uid in studies if uid in told} == {"done"} and len(
            told
        ) == EXAMS

    wait_for("every study to be done", all_done)
    received = pacs.wait_for(EXAMS * RESULTS)
    assert len({one.SOPInstanceUID for one in received}) == len(received) == EXAMS * RESULTS
    assert sorted({str(one.StudyInstanceUID) for one in received}) == sorted(studies)
    assert {study["version"] for study in node.studies().values()} == {1}


def _hup(node: Node) -> None:
    assert node._process is not None
    node._process.send_signal(signal.SIGHUP)
