"""Tests of what learns need the packages of the group `training`: `make test-training`."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("torch") else ["torch_test_*.py"]
