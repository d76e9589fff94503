"""The OHIF Viewer: the built files of the npm package @ohif/app, kept in a cache folder.

The package is pinned by version and by the digest that npm's registry gives for it. Nothing of
it is run but the pages, in the browser.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

VERSION = "3.13.2"
SHA512 = "WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA=="
"""Base64, as in the registry's `dist.integrity`."""
CACHE = "VIEWERS_CACHE"
"""The environment variable that names another cache folder."""

CONFIGURATION = """
window.config = {
  routerBasename: '/', showStudyList: true, extensions: [], modes: [],
  maxNumberOfWebWorkers: 2, showCPUFallbackMessage: false, showErrorDetails: 'always',
  investigationalUseDialog: { option: 'never' },
  defaultDataSourceName: 'orthanc',
  dataSources: [{
    namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
    sourceName: 'orthanc',
    configuration: {
      friendlyName: 'Orthanc', name: 'orthanc',
      wadoUriRoot: location.origin + '/wado',
      qidoRoot: location.origin + '/dicom-web',
      wadoRoot: location.origin + '/dicom-web',
      qidoSupportsIncludeField: true, supportsFuzzyMatching: false, supportsWildcard: true,
      imageRendering: 'wadors', thumbnailRendering: 'wadors', enableStudyLazyLoad: true,
      omitQuotationForMultipartRequest: true, dicomUploadEnabled: false,
      bulkDataURI: { enabled: true },
    },
  }],
};
"""
"""app-config.js: what OHIF's documentation gives for Orthanc, on an origin of our own."""


def files() -> Path:
    """Return the folder of OHIF's pages; fetched once, 50 MB, or the test fails and says how."""
    folder = _cache()
    folder.mkdir(parents=True, exist_ok=True)
    unpacked = folder / f"ohif-{VERSION}"
    with (folder / "ohif.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run side by side
        if not unpacked.exists():
            _unpack(_fetch(folder), unpacked)
    return unpacked


def _cache() -> Path:
    if CACHE in os.environ:
        return Path(os.environ[CACHE])
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "dicom-ai-node"


def _fetch(folder: Path) -> Path:
    """Return the package as npm's client gets it: from the registry that it is configured for."""
    package = folder / f"ohif-app-{VERSION}.tgz"
    if not package.exists():
        npm = shutil.which("npm")
        by_hand = f"or put the result of `npm pack @ohif/app@{VERSION}` into {folder}"
        if npm is None:
            pytest.fail(f"npm is not installed: apt-get install npm, {by_hand}", pytrace=False)
        ran = subprocess.run(
            [npm, "pack", f"@ohif/app@{VERSION}", "--silent", "--pack-destination", str(folder)],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if ran.returncode != 0 or not package.exists():
            said = (ran.stderr or ran.stdout).strip()[-500:]
            pytest.fail(f"npm cannot get @ohif/app: {said}\nMend that, {by_hand}", pytrace=False)
    digest = base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode()
    if digest != SHA512:
        pytest.fail(f"{package} is not @ohif/app {VERSION}: remove it", pytrace=False)
    return package


def _unpack(package: Path, folder: Path) -> None:
    partly = folder.with_suffix(".partly")
    shutil.rmtree(partly, ignore_errors=True)
    partly.mkdir()
    subprocess.run(
        ["tar", "-xzf", package, "-C", partly, "--strip-components=2", "package/dist"],
        check=True,
        timeout=120,
    )
    partly.rename(folder)
