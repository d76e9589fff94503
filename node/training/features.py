"""What the frozen stages see in each image, computed once and kept on the disk.

Kept are, of each image as it is and of some variants of it, the features after the last frozen
stage, which the later stages learn from, and those near the end of the trunk, which the head alone
learns from. Both are float16; the second are computed from the first as kept, so that the network
gives the same answers by either way, but for the rounding of the second.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from node.training.augmentation import change_of, changed, variants_of
from node.training.kept_arrays import DONE, KeptArrays, open_arrays
from node.training.networks import LearningNetwork, ScaleOfGrey
from node.training.recipe import Augmentation
from node.training.trunks import weights_digest

HEAD_FROM = {"efficientnet-lite0": "block 6", "inception-v3": "mixed 10"}
"""After this stage features are kept for the head; what follows is cheaper computed than read."""
FEATURES_BATCH = 2
"""Images at once: of more, what lies between two layers leaves a CPU's cache: twice the time."""
FLUSHED_AFTER = 32
"""So many batches may have to be looked at again after a stop."""

AnyArray = NDArray[Any]
Advance = Callable[[], None]


class ImageTensors(Protocol):
    """Images (n, channels, rows, columns), read when asked for; `examples.Tensors` are such."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Bytes, or float16."""

    def __len__(self) -> int: ...

    def __getitem__(self, which: Any) -> AnyArray: ...


@dataclass(frozen=True, slots=True)
class KeptFeatures:
    """Features after a stage."""

    array: AnyArray
    """(variants, n, channels, rows, columns), float16."""
    stage: str
    """"": of none, they are the images."""

    def batch(self, images: Sequence[int], variants: Sequence[int], device: str) -> Tensor:
        """Return the features of some images, float32, each of one variant."""
        chosen = self.array[np.asarray(variants), np.asarray(images)]
        found = torch.from_numpy(chosen).to(device).float()
        return found.contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True, slots=True)
class Features:
    """Of all examples, in their order."""

    key: str
    """Of all that they follow from."""
    early: KeptFeatures
    """After the last frozen stage."""
    late: KeptFeatures
    """For the head alone; the same if nothing but the head learns."""

    @property
    def variants(self) -> int:
        """How many there are of each image; 0 is the image as it is."""
        return int(self.late.array.shape[0])


def grey_of(dtype: np.dtype[Any]) -> ScaleOfGrey:
    """Return what is white in tensors of a type."""
    return 255 if dtype == np.uint8 else 1


def batches_to_see(images: int, augmentation: Augmentation) -> int:
    """Return how often `frozen_features` advances, if nothing was kept before."""
    return -(-images * variants_of(augmentation) // FEATURES_BATCH)


@dataclass(frozen=True, slots=True)
class _Sight:
    """What is looked at, and how."""

    network: LearningNetwork
    tensors: ImageTensors
    augmentation: Augmentation
    seed: int

    @property
    def stages(self) -> tuple[str, ...]:
        """After which features are kept: early, and late if that is another."""
        early = self.network.frozen[-1] if self.network.frozen else ""
        late = HEAD_FROM[self.network.trunk.name]
        return (early, late) if self.network.later and early != late else (late,)

    def key(self) -> str:
        """Return a digest of all that the features follow from."""
        words = [
            self.network.trunk.name,
            weights_digest(self.network.trunk.name),
            list(self.stages),
            self.augmentation.model_dump(mode="json"),
            variants_of(self.augmentation),
            self.seed,
            torch.__version__,
        ]
        digest = hashlib.sha256(json.dumps(words).encode())
        for first in range(0, len(self.tensors), FEATURES_BATCH):
            digest.update(
                np.ascontiguousarray(self.tensors[first : first + FEATURES_BATCH]).tobytes()
            )
        return digest.hexdigest()

    def images(self, rows: Sequence[int]) -> Tensor:
        """Return rows of the kept array, each an image in one variant, float32."""
        count = len(self.tensors)
        white = self.network.grey
        found = []
        for row in rows:
            variant, image = divmod(row, count)
            tensor = torch.from_numpy(self.tensors[image]).float()
            change = change_of(self.augmentation, self.seed, image, variant)
            found.append(changed(tensor, change, white))
        return torch.stack(found)

    def see(self, images: Tensor) -> Iterator[Tensor]:
        """Yield the features after each of the stages, float16."""
        trunk, after = self.network.trunk, ""
        x = images
        for stage in self.stages:
            x = between(self.network, x.float(), after, stage)
            x = x.half()
            after = stage
            yield x
        assert after in trunk.stages


def between(network: LearningNetwork, x: Tensor, after: str, until: str) -> Tensor:
    """Return features after a stage from those after an earlier one; "" are the images."""
    stages = network.trunk.stages
    if after == until:
        return x
    if after == "":
        x = network.as_colours(x)
    first = stages.index(after) + 1 if after else 0
    seen: Tensor = network.trunk(x, stages[first : stages.index(until) + 1])
    return seen


def frozen_features(
    network: LearningNetwork,
    tensors: ImageTensors,
    augmentation: Augmentation,
    seed: int,
    work: Path,
    advance: Advance = lambda: None,
) -> Features:
    """Return what the frozen stages see; what an earlier run kept is not looked at again."""
    sight = _Sight(network, tensors, augmentation, seed)
    device = device_here()
    network.to(device).eval()
    key = sight.key()
    folder = work / "features" / key[:16]
    folder.mkdir(parents=True, exist_ok=True)
    kept_before = _arrays(sight, folder, device)
    arrays = kept_before.arrays
    count = variants_of(augmentation) * len(tensors)
    with torch.inference_mode():
        for first in range(kept_before.done, count, FEATURES_BATCH):
            rows = range(first, min(first + FEATURES_BATCH, count))
            for array, seen in zip(arrays, sight.see(sight.images(rows).to(device)), strict=True):
                array[rows.start : rows.stop] = seen.cpu().numpy()
            if rows.stop % (FEATURES_BATCH * FLUSHED_AFTER) == 0 or rows.stop == count:
                for array in arrays:
                    array.flush()
                replaced(folder / DONE, str(rows.stop).encode())
            advance()
    shape = variants_of(augmentation), len(tensors)
    kept = [
        KeptFeatures(array.reshape(*shape, *array.shape[1:]), stage)
        for array, stage in zip(arrays, sight.stages, strict=True)
    ]
    return Features(key, early=kept[0], late=kept[-1])


def _arrays(sight: _Sight, folder: Path, device: str) -> KeptArrays:
    """Return where the features of each stage go, made if they are not there yet."""
    rows = variants_of(sight.augmentation) * len(sight.tensors)
    with torch.inference_mode():
        seen = list(sight.see(sight.images([0]).to(device)))
    shapes = {
        f"{stage or 'images'}.f16": (rows, *one.shape[1:])
        for stage, one in zip(sight.stages, seen, strict=True)
    }
    advice = "name another folder, or freeze more stages: [network] frozen"
    return open_arrays(folder, shapes, np.float16, "the features need", advice)


def device_here() -> str:
    """Return where networks learn: on a GPU if there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def replaced(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, whenever the machine stops."""
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
