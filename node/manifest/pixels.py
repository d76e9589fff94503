"""From stored values to what the network gets of an image."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from node.toml_file import Section


class Pixels(Section):
    """From stored values to the network's input; named operations, in this order."""

    grey: Literal["voi", "stored"]
    """voi: the first VOI LUT or window; stored: values as stored. MONOCHROME1 is inverted."""
    orientation: Literal["as stored", "chest wall left"]
    """chest wall left: mirrored if needed so that the chest wall is on the left edge."""
    height: Annotated[int, Field(ge=8, le=8192)]
    width: Annotated[int, Field(ge=8, le=8192)]
    fit: Literal["pad", "stretch"]
    """pad: keep the aspect ratio, fill the right and bottom with background."""
    scale: Literal["0..1"]
    """0..1: background to the brightest value the grey values can take."""
    channels: Literal[1, 3] = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what is made of one image, without the batch axis: channels, height, width."""
        return self.channels, self.height, self.width
