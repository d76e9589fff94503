"""What the stages of each trunk are called, which a recipe freezes up to one of; needs no torch."""

from __future__ import annotations

from collections.abc import Mapping

from node.errors import ConfigError
from node.toml_file import did_you_mean, shown

ALL, NONE = "all", "none"
"""What a recipe may freeze beside a stage: the whole trunk, or nothing."""

STAGES: Mapping[str, tuple[str, ...]] = {
    # Tan and Le 2019, table 1: stages 2 to 8 are blocks 0 to 6; the top is the last convolution.
    "efficientnet-lite0": ("stem", *(f"block {number}" for number in range(7)), "top"),
    # Szegedy et al. 2015: the stem ends at the second pooling, then come eleven mixed ones.
    "inception-v3": ("stem", *(f"mixed {number}" for number in range(11))),
}
"""From the image on."""

DEFAULT_FROZEN: Mapping[str, str] = {"efficientnet-lite0": "block 4", "inception-v3": "mixed 7"}
"""Both see one cell of 16 x 16 pixels at a time there."""


def amiss_in_frozen(trunk: str, frozen: str) -> str:
    """Return what is wrong with the stage up to which a recipe freezes a trunk; "" if nothing."""
    known = (*STAGES[trunk], ALL, NONE)
    if frozen in known:
        return ""
    return f"{trunk} has no stage {shown(frozen)}; {did_you_mean(frozen, known)}"


def frozen_stages(trunk: str, frozen: str) -> tuple[str, ...]:
    """Return the stages that do not learn, or raise ConfigError if there is no such stage."""
    if words := amiss_in_frozen(trunk, frozen):
        raise ConfigError(f"[network] frozen: {words}")
    stages = STAGES[trunk]
    if frozen in (ALL, NONE):
        return stages if frozen == ALL else ()
    return stages[: stages.index(frozen) + 1]
