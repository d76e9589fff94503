"""In the child: the image that was read last, for who asks for it once more."""

from __future__ import annotations

from pathlib import Path

from node.errors import ModelError
from node.imaging.image import Image, open_image
from node.imaging.source import FileMark, mark_of


class LastImage:
    """Decodes images, and the same one only once if it is asked for again right away.

    A picture is most often asked for of what was just scored. One image is kept, until another is
    read or `forget` is called; what lies in its file's place by then is read anew.
    """

    def __init__(self) -> None:
        self._of: tuple[Path, FileMark] | None = None
        self._image: Image | None = None

    def open(self, path: Path) -> Image:
        """Return an image as `open_image` does."""
        try:
            seen = path, mark_of(path)
        except OSError as error:
            raise ModelError(f"the image file cannot be read ({error.strerror})") from error
        if self._image is None or self._of != seen:
            self.forget()  # before there is another: memory is limited
            self._image, self._of = open_image(path), seen
        return self._image

    def forget(self) -> None:
        """Keep none: what comes next needs the memory."""
        self._of = self._image = None
