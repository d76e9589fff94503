"""Orthanc with its DICOMweb plugin, which is how OHIF reads an archive."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from interop.programs import Orthanc
from ports import free_port

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


class WebArchive(Orthanc):
    """An archive that is read over DICOMweb below /dicom-web/."""

    def __init__(self, folder: Path) -> None:
        if not PLUGIN.exists():
            pytest.fail(f"{PLUGIN} is missing: apt-get install orthanc-dicomweb", pytrace=False)
        super().__init__(folder, free_port())
        path = folder / "orthanc.json"
        settings = json.loads(path.read_text("utf-8"))
        settings["Plugins"] = [str(PLUGIN)]
        settings["DicomWeb"] = {"Enable": True, "Root": "/dicom-web/", "EnableWado": True}
        path.write_text(json.dumps(settings), "utf-8")

    def store(self, objects: Iterable[bytes]) -> None:
        """Keep Part 10 files."""
        for content in objects:
            answer: dict[str, Any] = self.ask("/instances", content)
            assert answer["Status"] == "Success"
