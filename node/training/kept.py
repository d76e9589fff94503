"""What was made of images, in a folder: a file of tensors and one of lines that say of which.

Both only grow. What was cut short, by a stop in the middle of an image, is dropped when they are
opened again.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from node.errors import ConfigError

KeptArray = NDArray[Any]
"""Of images, uint8 or float16, shape (n, channels, height, width)."""
REDUCED_PX = 32
Reduction = NDArray[np.float32]
"""An image made small, shape (REDUCED_PX, REDUCED_PX)."""
_TENSORS, _LINES = "tensors.bin", "images.jsonl"


@dataclass(frozen=True, slots=True)
class KeptImage:
    """What is known of an image that was read."""

    pixel_digest: str = ""
    place: int | None = None
    """Of its tensor; None: the node gives it to no network."""
    reduced: str = ""
    """Its reduction, float16 in Base64."""
    reason: str = ""
    """Why the node gives it to no network."""

    @property
    def reduction(self) -> Reduction:
        """The image made small."""
        values = np.frombuffer(base64.b64decode(self.reduced), "<f2")
        return values.reshape(REDUCED_PX, REDUCED_PX).astype(np.float32)


def in_base64(reduction: Reduction) -> str:
    """Return a reduction as a line holds it."""
    return base64.b64encode(reduction.astype("<f2").tobytes()).decode("ascii")


class KeptImages:
    """The images in a folder, by a key that says all that they depend on."""

    def __init__(self, folder: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._folder = folder
        self._shape = shape
        self._dtype = dtype
        self._bytes = int(np.prod(shape)) * dtype.itemsize
        self._known = dict[str, KeptImage]()
        self._places = 0
        self._has_failed = False
        """Whether a tensor may be there in part: what is written behind it would be misplaced."""
        self._lock = Lock()
        with self._saying_where():
            folder.mkdir(parents=True, exist_ok=True)
            self._tensors = (folder / _TENSORS).open("a+b")
            self._lines = (folder / _LINES).open("a+b")
            self._load()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for file in (self._tensors, self._lines):
            # What could not be written is tried again here, and was told.
            with contextlib.suppress(OSError) if self._has_failed else contextlib.nullcontext():
                file.close()

    def _load(self) -> None:
        """Read the lines, up to the first that is not whole or has no tensor."""
        there = self._tensors.seek(0, 2) // self._bytes
        self._lines.seek(0)
        end = 0
        for line in self._lines:
            try:
                key, values = json.loads(line)
                image = KeptImage(**values)
            except (ValueError, TypeError):
                break
            is_whole = line.endswith(b"\n") and (image.place is None or image.place < there)
            if not is_whole:
                break
            self._known[key] = image
            self._places += image.place is not None
            end += len(line)
        self._lines.truncate(end)
        self._tensors.truncate(self._places * self._bytes)

    def find(self, key: str) -> KeptImage | None:
        """Return what was kept before."""
        return self._known.get(key)

    def record(self, key: str, image: KeptImage, tensor: KeptArray | None) -> None:
        """Keep an image, or those of a study; its place is given here."""
        with self._lock, self._saying_where():
            if self._has_failed:
                raise ConfigError(f"{self._folder}: could not be written to; train again")
            if tensor is not None:
                assert (tensor.shape, tensor.dtype) == (self._shape, self._dtype)
                self._tensors.write(np.ascontiguousarray(tensor).tobytes())
                self._tensors.flush()
                image = replace(image, place=self._places)
                self._places += 1
            self._lines.write(json.dumps([key, asdict(image)]).encode() + b"\n")
            self._lines.flush()
            self._known[key] = image

    @property
    def per_row(self) -> int:
        """How many images are kept of a row: 1, or those of a study."""
        return self._shape[0] if len(self._shape) == 4 else 1

    def tensors(self) -> KeptArray:
        """Return all images, as they lie on the disk."""
        shape = (self._places * self.per_row, *self._shape[-3:])
        if not self._places:
            return np.zeros(shape, self._dtype)
        return np.memmap(self._folder / _TENSORS, self._dtype, "r", shape=shape)

    @contextlib.contextmanager
    def _saying_where(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._has_failed = True
            raise ConfigError(f"{self._folder}: cannot be used ({error.strerror})") from error
