from pathlib import Path

import numpy as np
import pytest
from small_images import mammogram, saved, unit

from node.analysis.pipeline import image_digest_of

DARK, BRIGHT = np.full((20, 10), 100, np.uint16), np.full((20, 10), 4000, np.uint16)


def test_an_image_in_the_place_of_another_has_a_digest_of_its_own(tmp_path: Path) -> None:
    path = saved(mammogram(DARK), tmp_path)
    first = image_digest_of(unit(path))
    assert image_digest_of(unit(path)) == first
    saved(mammogram(BRIGHT), tmp_path, "other.dcm").replace(path)
    second = image_digest_of(unit(path))
    assert second != first
    saved(mammogram(DARK), tmp_path, "again.dcm").replace(path)
    assert image_digest_of(unit(path)) == first


def test_an_image_that_is_gone_has_no_digest_though_it_had_one(tmp_path: Path) -> None:
    path = saved(mammogram(DARK), tmp_path)
    image_digest_of(unit(path))
    path.unlink()
    with pytest.raises(FileNotFoundError):
        image_digest_of(unit(path))
