"""What is said where the packages of training are missing."""

from importlib.machinery import ModuleSpec

import pytest

from node.errors import ConfigError
from node.training import group, stages


def test_missing_torch_is_said_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def without_torch(name: str) -> ModuleSpec | None:
        return None if name in ("torch", "onnx") else ModuleSpec(name, None)

    monkeypatch.setattr(group, "find_spec", without_torch)

    with pytest.raises(ConfigError, match=r"torch and onnx cannot be.*dicom-ai-node\[training\]"):
        group.require_torch()


def test_nothing_is_said_where_all_packages_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "find_spec", lambda name: ModuleSpec(name, None))

    group.require_torch()


@pytest.mark.parametrize("trunk", stages.STAGES)
def test_a_trunk_is_frozen_up_to_a_stage(trunk: str) -> None:
    frozen = stages.frozen_stages(trunk, stages.DEFAULT_FROZEN[trunk])

    assert frozen[-1] == stages.DEFAULT_FROZEN[trunk]
    assert frozen == stages.STAGES[trunk][: len(frozen)]
    assert stages.frozen_stages(trunk, "all") == stages.STAGES[trunk]
    assert stages.frozen_stages(trunk, "none") == ()


def test_an_unknown_stage_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r'has no stage "block4".*did you mean "block 4"'):
        stages.frozen_stages("efficientnet-lite0", "block4")
