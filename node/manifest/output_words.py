"""What can be said of an output of any kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from node import result
from node.manifest.words import GivenName, GrownSection, ManifestCode
from node.toml_file import Section

if TYPE_CHECKING:
    from node.manifest.outputs import HeatMapOutput

About = Literal["image", "breast", "exam", "R breast", "L breast"]
ImageShape = tuple[int, ...]
"""Of what the network gets of one image, without the batch axis: (channels, height, width), or
(n,) if it is a vector."""
TensorShape = tuple[int | None, ...]
"""None where any size will do."""
Places = Literal["", "regions", "boxes", "warmth", "solids"]


class Combination(Section):
    """How what is said of images becomes what is said of breasts and of the exam."""

    breast: Literal["highest", "mean", "mean of views", "none"] | None = None
    """mean of views: of the mean of its CC images, the mean of its MLO images, ... the mean."""
    exam: Literal["highest", "mean", "none"] | None = None
    """Of its breasts; of its images where breast = "none"."""


class OutputWords(GrownSection):
    """What can be said of an output of any kind."""

    LATER: ClassVar[frozenset[str]] = frozenset({"name", "about"})

    name: GivenName = ""
    """What other tables and the evaluation call it; without the word its kind."""
    about: About | None = None
    """What it is said of, if not of all that the network reads at once."""

    @property
    def places(self) -> Places:
        """What it says of where something is."""
        return ""

    @property
    def looks_for(self) -> tuple[result.Code, ...]:
        """What it detects: nothing with a place, if it does not say."""
        return ()

    @property
    def warmth(self) -> HeatMapOutput | None:
        """The map of where the network looked, if there is one."""
        return None

    @property
    def codes(self) -> tuple[ManifestCode, ...]:
        """The concepts of its numbers, of the whole of what it is about."""
        return ()

    @property
    def combines(self) -> Combination | None:
        """How it is combined, None if it is of a kind that is not."""
        return None
