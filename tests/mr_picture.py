"""The picture of docs/breast-mr.md: the decisive slices of the demonstration's MRI, smaller.

PYTHONPATH=.:tests .venv/bin/python tests/mr_picture.py docs/breast-mr.png
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image
from pydicom import dcmread

from node.config import bundled_models_dir
from node.manifest import load_model
from node.offline import analyse_folder
from node.trial import mri

SIZE = (1024, 768)
COLOURS = 256


def draw(target: Path) -> None:
    """Analyse the exam as `ai-node analyse` does, and keep that capture."""
    model = load_model("breast-mr-enhancement", bundled_models_dir())
    with tempfile.TemporaryDirectory() as folder:
        exam = mri.write_mri(Path(folder) / "exams", "picture")
        paths = [path for _, burst in exam.bursts for path in burst]
        (study,) = analyse_folder(paths, Path(folder) / "out", model, lambda: None).studies
        written = map(dcmread, study.written)
        (page,) = [d for d in written if mri.PAGES[2] in str(d.get("DerivationDescription"))]
    picture = Image.fromarray(page.pixel_array).resize(SIZE, Image.Resampling.LANCZOS)
    # An octree keeps the few coloured pixels among the grey; without dithering noise costs nothing.
    few = picture.quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    few.save(target, optimize=True)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
