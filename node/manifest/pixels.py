"""How a model's input is prepared: operations, in the order in which a manifest has them.

The exact arithmetic of each stands in models/README.md, section "Pixels"; `node.imaging.operations`
does it. The one table `[pixels]` of older manifests says the same in fewer words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PlainSerializer, PlainValidator, TypeAdapter, model_validator

from node.manifest.voxels import (
    OF_VOLUMES,
    Mip,
    OrientAxes,
    Percentiles,
    RelativeEnhancement,
    Signal,
    Slices,
    Subtract,
    VolumeSize,
    VoxelSpacing,
    Whole,
    amiss_in_voxels,
    without,
)
from node.manifest.words import GrownSection, Projection
from node.toml_file import Place, Section, shown, wrong

InputSide = Annotated[int, Field(ge=8, le=8192)]
"""Rows or columns of a network's input."""


class Pixels(Section):
    """From stored values to the network's input, as one table: grey, mirror, resize, channels."""

    grey: Literal["voi", "stored"]
    """voi: the first VOI LUT or window; stored: values as stored. MONOCHROME1 is inverted."""
    orientation: Literal["as stored", "chest wall left"]
    """chest wall left: mirrored if needed so that the chest wall is on the left edge."""
    height: InputSide
    width: InputSide
    fit: Literal["pad", "stretch"]
    """pad: keep the aspect ratio, fill the right and bottom with background."""
    scale: Literal["0..1"]
    """0..1: background to the brightest value the grey values can take."""
    channels: Literal[1, 3] = 1


class GreyValues(Section):
    """What a number of the image is; brighter is denser, and padding is 0."""

    op: Literal["grey"]
    values: Literal["voi", "stored"]
    """voi: as displayed, by the first VOI LUT or window; stored: as stored, from the lowest that
    can be stored."""
    scale: Literal["none", "2^bits-1", "range of voi"]
    """Of stored: none, 0 to 2^Bits Stored - 1; or divided by that. Of voi: its range is 0 to 1."""

    @model_validator(mode="after")
    def _scale_is_one_of_these_values(self) -> Self:
        if (self.values == "voi") != (self.scale == "range of voi"):
            known = '"range of voi"' if self.values == "voi" else '"none" or "2^bits-1"'
            words = f'of values = "{self.values}" expected {known}, found "{self.scale}"'
            raise wrong([(("scale",), words)])
        return self


class Crop(Section):
    """Cut out the box around the largest region of pixels above a threshold."""

    op: Literal["crop"]
    to: Literal["largest component"]
    threshold: float = 0
    """A pixel above it is no background; in the grey values of this place in the list."""
    neighbours: Literal[4, 8] = 4
    """Whether pixels that touch at a corner alone are of one region (8)."""
    erosion_px: Annotated[int, Field(ge=0, le=500)] = 0
    """Before regions are looked for, each loses what is not farther than this from its background
    and from the image's edge, in steps to the side, up and down; the box then gets it back."""
    margin_px: Annotated[int, Field(ge=0, le=8192)] = 0
    """By this the box is widened to each side, as far as the image goes."""
    margin_at_chest_wall_px: Annotated[int, Field(ge=0, le=8192)] | None = None
    """At the chest wall's side; as without the word, like the others."""


WithoutOrientation = Literal["laterality", "pixels"]
"""What tells where the chest wall is, of an image without Patient Orientation (0020,0020)."""


class Mirror(GrownSection):
    """Turn left and right, if the chest wall is not where it is wanted."""

    op: Literal["mirror"]
    chest_wall: Literal["left", "right"]
    without_orientation: WithoutOrientation = "laterality"
    """laterality: left of a left breast, as acquired; pixels: at the edge with more tissue."""

    LATER = frozenset({"without_orientation"})


Along = Literal["top", "centre", "bottom"]
Across = Literal["left", "centre", "right"]


class Placing(Section):
    """Lay the image into a window without resizing it; it is filled up, or cut."""

    op: Literal["place"]
    height: InputSide
    width: InputSide
    rows: Along = "top"
    """Where the rows of a lower image come to lie."""
    rows_of: dict[Projection, Along] = Field(default_factory=dict)
    """The same of some projections: { CC = "centre" }."""
    columns: Across = "left"
    centre: tuple[Annotated[float, Field(ge=0, le=1)], Annotated[float, Field(ge=0, le=1)]] = (
        0.5,
        0.5,
    )
    """Of a larger image: around which point the window lies, in shares of its rows and columns; it
    is moved so far that it lies on the image."""
    fill: float = 0


class Resize(Section):
    """Bring the image to a size."""

    op: Literal["resize"]
    height: InputSide
    width: InputSide
    fit: Literal["stretch", "pad"]
    """pad: keep the aspect ratio, and fill up."""
    filter: Literal["nearest", "box", "bilinear", "bicubic", "lanczos"]
    antialias: bool
    """Whether the filter is as wide as the reduction."""
    align: Literal["corner", "centre"] = "corner"
    """Where the image lies with fit = "pad": top left, or in the middle."""
    fill: float = 0

    @model_validator(mode="after")
    def _filter_exists(self) -> Self:
        words = {
            ("nearest", True): 'filter = "nearest" has no antialias; false, or take "box"',
            ("box", False): 'filter = "box" without antialias is "nearest"',
            ("lanczos", False): 'filter = "lanczos" has only antialias = true',
        }.get((self.filter, self.antialias))
        if words is not None:
            raise wrong([(("antialias",), words)])
        return self


class Quantise(Section):
    """Make whole numbers, 0 to 2^bits - 1."""

    op: Literal["quantise"]
    bits: Annotated[int, Field(ge=1, le=16)]
    of: Annotated[float, Field(gt=0)]
    """The grey value that becomes 2^bits - 1; 0 stays 0."""
    rounding: Literal["nearest", "down"]


class Rank(Section):
    """Grey values by their rank among those of the breast: above 0, to 1; the rest is 0."""

    op: Literal["rank"]
    within: Literal["largest component", "above threshold"]
    threshold: float = 0
    neighbours: Literal[4, 8] = 4
    ties: Literal["average", "lowest", "highest"] = "average"
    """Which of their ranks equal values get."""


class Histogram(Section):
    """A vector: which share of the pixels is in each bin of the image's own range."""

    op: Literal["histogram"]
    bins: Annotated[int, Field(ge=2, le=4096)]


class Normalise(Section):
    """Subtract a number, then divide by one: one of each for all channels, or one a channel."""

    op: Literal["normalise"]
    subtract: tuple[float, ...]
    divide: tuple[Annotated[float, Field(gt=0)], ...]


class ZScore(GrownSection):
    """Subtract the mean of all pixels, filled-up ones too, and divide by their deviation."""

    LATER = frozenset({"over"})

    op: Literal["z-score"]
    least_deviation: Annotated[float, Field(gt=0)] = 1e-5
    """What is divided by if the standard deviation (of the population) is smaller."""
    over: Whole = "volume"
    """Of a volume: mean and deviation are those of all voxels, or of the breasts'."""


class Channels(Section):
    """Repeat the image."""

    op: Literal["channels"]
    count: Annotated[int, Field(ge=1, le=16)]


Operation = (
    GreyValues
    | Crop
    | Mirror
    | Placing
    | Resize
    | Quantise
    | Rank
    | Histogram
    | Normalise
    | ZScore
    | Channels
    | Signal
    | OrientAxes
    | VoxelSpacing
    | VolumeSize
    | Percentiles
    | Subtract
    | RelativeEnhancement
    | Mip
    | Slices
)
Operations = tuple[Annotated[Operation, Field(discriminator="op")], ...]
_OPERATIONS: TypeAdapter[Operations] = TypeAdapter(Operations)


def _read(given: Any) -> Pixels | Operations:
    """Read a list of operations, or the one table of older manifests."""
    if isinstance(given, dict) and "op" in given:
        raise wrong([(("op",), "is of operations, each in a table of a list: [[pixels]]")])
    if isinstance(given, Pixels | dict):
        return Pixels.model_validate(given)
    if not isinstance(given, list | tuple):
        words = f"expected operations, each in a table [[pixels]], found {shown(given)}"
        raise wrong([((), words)])
    read = _OPERATIONS.validate_python(given)
    if problems := list(amiss_in(read)):
        raise wrong(problems)
    return read


def _written(pixels: Pixels | Operations) -> Any:
    if isinstance(pixels, Pixels):
        return pixels.model_dump(mode="json")
    return _OPERATIONS.dump_python(pixels, mode="json")


PixelWords = Annotated[Pixels | Operations, PlainValidator(_read), PlainSerializer(_written)]
"""How an image is prepared, in either form."""


def operations(pixels: Pixels | Operations) -> Operations:
    """Return the operations that a manifest asks for, in whichever form."""
    if not isinstance(pixels, Pixels):
        return pixels
    is_voi = pixels.grey == "voi"
    grey = GreyValues(op="grey", values=pixels.grey, scale="range of voi" if is_voi else "2^bits-1")
    is_turned = pixels.orientation == "chest wall left"
    mirror = (Mirror(op="mirror", chest_wall="left"),) if is_turned else ()
    resize = Resize(
        op="resize",
        height=pixels.height,
        width=pixels.width,
        fit=pixels.fit,
        filter="bilinear",
        antialias=True,
    )
    return (grey, *mirror, resize, Channels(op="channels", count=pixels.channels))


def grey_values(of: Operations) -> GreyValues:
    """Return what the numbers of the image are at first."""
    first = of[0]
    assert isinstance(first, GreyValues), "amiss_in says so"
    return first


def chest_wall(of: Operations) -> Literal["left", "right"] | None:
    """Return on which side of the network's input the chest wall is; None if that is not known."""
    return next((one.chest_wall for one in of if isinstance(one, Mirror)), None)


def without_orientation(of: Operations) -> WithoutOrientation:
    """Return what tells where the chest wall is, of an image without Patient Orientation."""
    said = (one.without_orientation for one in of if isinstance(one, Mirror))
    return next(said, "laterality")


def shape_after(of: Operations) -> tuple[int, ...]:
    """Return the shape of the network's input without its first axis.

    (channels, height, width), (channels, slices, rows, columns) of a volume, or (n,) of a vector.
    Of a batch of slices what there is of each.
    """
    shape: tuple[int, ...] = ()
    for one in of:
        match one:
            case Resize() | Placing():
                shape = (1, one.height, one.width)
            case Channels():
                shape = (one.count, *shape[1:])
            case Histogram():
                shape = (one.bins,)
            case VolumeSize():
                shape = (1, one.slices, one.rows, one.columns)
            case Mip() | Slices():
                shape = (1, *without(shape[1:], one.along))
            case _:
                pass
    return shape


def batch_of(of: Operations) -> int:
    """Return how many images are made of each phase: 1, or so many slices."""
    return next((one.count for one in of if isinstance(one, Slices)), 1)


def are_of_volumes(of: Operations) -> bool:
    """Whether operations begin as those of volumes do."""
    return isinstance(of[0], Signal)


_ONCE = (GreyValues, Crop, Mirror, Rank, Histogram, Channels)
_LATER: dict[type[Section], tuple[type[Section], ...]] = {
    **dict.fromkeys((Mirror, Placing, Resize, Quantise, Rank), (Histogram, Channels)),
    Crop: (Placing, Histogram, Channels),
    Histogram: (Channels,),
    Channels: (Histogram,),
}
"""What an operation cannot follow: what fills up, for one that looks for the breast's box; what
makes a vector or several channels of the image, for one that needs the image itself."""


def amiss_in(of: Operations) -> Iterator[tuple[Place, str]]:
    """Yield what is wrong with a list of operations, each with its place in the list."""
    if of and are_of_volumes(of):
        yield from amiss_in_voxels(of)
        yield from _amiss_in_shared(of)
    elif others := [one.op for one in of if one.op in OF_VOLUMES]:
        yield (0,), f'expected op = "signal" first: "{others[0]}" is of volumes, which begin so'
    else:
        yield from _amiss_in_images(of)


def _amiss_in_images(of: Operations) -> Iterator[tuple[Place, str]]:
    if not of or not isinstance(of[0], GreyValues):
        yield (0,), 'expected op = "grey" first: what the numbers of the image are'
    seen: list[Operation] = []
    for place, one in enumerate(of):
        earlier = {type(before): before.op for before in seen}
        if type(one) in _ONCE and type(one) in earlier:
            yield (place, one.op, "op"), f'"{one.op}" is there before; once is enough'
        for before in _LATER.get(type(one), ()):
            if before in earlier:
                yield (place, one.op, "op"), f'"{one.op}" must stand before "{earlier[before]}"'
        if isinstance(one, ZScore) and one.over == "breasts":
            yield (place, one.op, "over"), 'is of volumes, which begin with op = "signal"'
        seen.append(one)
    yield from _amiss_in_sizes(of)


def _amiss_in_sizes(of: Operations) -> Iterator[tuple[Place, str]]:
    """Yield what makes an input of no fixed size, and numbers that are not one a channel."""
    is_fixed, channels = False, 1
    for place, one in enumerate(of):
        match one:
            case Resize() | Placing() | Histogram():
                is_fixed = True
            case Crop():
                is_fixed = False
            case Channels():
                channels = one.count
            case Normalise():
                yield from _amiss_in_numbers(one, place, channels)
            case _:
                pass
    if not is_fixed:
        yield (
            (len(of) - 1,),
            'the input has no fixed size: end with "resize", "place" or "histogram" (after "crop")',
        )


def _amiss_in_shared(of: Operations) -> Iterator[tuple[Place, str]]:
    """Yield numbers that are not one a channel, and breasts looked for in what is no volume."""
    channels, is_flat = 1, False
    for place, one in enumerate(of):
        match one:
            case Normalise():
                yield from _amiss_in_numbers(one, place, channels)
            case Channels():
                channels = one.count
            case Mip() | Slices():
                is_flat = True
            case ZScore() if is_flat and one.over == "breasts":
                yield (place, one.op, "over"), "breasts are voxels: write it before they are gone"
            case _:
                pass


def _amiss_in_numbers(one: Normalise, place: int, channels: int) -> Iterator[tuple[Place, str]]:
    for word, numbers in (("subtract", one.subtract), ("divide", one.divide)):
        if len(numbers) not in (1, channels):
            known = "1 number" if channels == 1 else f"1 number or {channels}, one a channel"
            yield (place, one.op, word), f"expected {known}, found {len(numbers)}"


def pixel_words(pixels: Pixels | Operations) -> str:
    """Return all that a manifest says of this, as the one table or as a list."""
    if isinstance(pixels, Pixels):
        return pixels.model_dump_json()
    return _OPERATIONS.dump_json(pixels).decode("utf-8")


def of_mammograms(pixels: Pixels | Operations) -> Iterator[tuple[Place, str]]:
    """Yield the words that mean something of mammograms alone, each with its place."""
    if isinstance(pixels, Pixels):
        if pixels.orientation == "chest wall left":
            words = 'expected "as stored": only mammograms have the chest wall at one side'
            yield ("orientation",), words
        return
    for place, one in enumerate(pixels):
        match one:
            case Mirror():
                yield (place, one.op, "op"), "only mammograms have the chest wall at one side"
            case Crop() if one.margin_at_chest_wall_px is not None:
                yield (
                    (place, one.op, "margin_at_chest_wall_px"),
                    "only mammograms have a chest wall",
                )
            case Placing() if one.rows_of:
                yield (place, one.op, "rows_of"), "only mammograms have projections"
            case _:
                pass


def unplaced(of: Operations, projections: Sequence[str]) -> Iterator[tuple[Place, str]]:
    """Yield rows that are said of projections which the model does not read."""
    for place, one in enumerate(of):
        if isinstance(one, Placing):
            for name in one.rows_of:
                if name not in projections:
                    words = f'"{name}" is no projection of [input] projections'
                    yield (place, one.op, "rows_of", name), words
