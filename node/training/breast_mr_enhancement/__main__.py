"""`python -m node.training.breast_mr_enhancement`: writes the package's network and manifest.

With `--measure` it measures the package instead and writes the tables of its card.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from node.config import bundled_models_dir
from node.manifest import CARD, Model
from node.training.breast_mr_enhancement.measuring import MeasuredBreast, measure_enhancement
from node.training.breast_mr_enhancement.package import ENHANCEMENT_PACKAGE, write_enhancement
from node.training.breast_mr_enhancement.tables import measured_tables, write_tables


def main() -> None:
    """Run from the command line."""
    words = argparse.ArgumentParser("python -m node.training.breast_mr_enhancement")
    default = bundled_models_dir() / ENHANCEMENT_PACKAGE
    words.add_argument("--out", type=Path, default=default, help="folder of the package")
    words.add_argument("--measure", action="store_true", help="measure it, and write its card")
    given = words.parse_args()
    if not given.measure:
        write_enhancement(given.out)
        sys.stdout.write(f"{given.out}: model.onnx and manifest.toml are written\n")
        return
    rows = list[MeasuredBreast]()
    for row in measure_enhancement(given.out):
        rows.append(row)
        sys.stderr.write(f"{row.of.varied}, {row.of.what}, {row.side} breast\n")
    write_tables(given.out / CARD, rows, Model(given.out).manifest.weights.sha256)
    sys.stdout.write(f"{measured_tables(rows)}\n")


if __name__ == "__main__":
    main()
