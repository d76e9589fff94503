"""`python -m node.training.breast_mr_enhancement`: writes the package's network and manifest."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from node.training.breast_mr_enhancement.package import ENHANCEMENT_PACKAGE, write_enhancement


def main() -> None:
    """Write them where the bundled package lies, or where it is said."""
    words = argparse.ArgumentParser(prog="python -m node.training.breast_mr_enhancement")
    words.add_argument("--out", type=Path, default=Path("models") / ENHANCEMENT_PACKAGE)
    folder = words.parse_args().out
    write_enhancement(folder)
    sys.stdout.write(f"{folder}: model.onnx and manifest.toml are written\n")


if __name__ == "__main__":
    main()
