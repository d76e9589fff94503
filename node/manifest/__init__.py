"""What a model package declares about itself: its words, what it reads, answers, and is worth.

`models/README.md` tells the words to whoever writes a manifest.
"""

from node.manifest.inputs import (
    BODY_PARTS_OF_MAMMOGRAMS,
    Input,
    InputTensor,
    Level,
    ManifestUnit,
    view_called,
)
from node.manifest.outputs import (
    BoxClass,
    BoxesOutput,
    Class,
    ClassesOutput,
    Combination,
    HeatMapOutput,
    ImageShape,
    MapOutput,
    MaskOutput,
    Output,
    ScoreOutput,
    TensorShape,
)
from node.manifest.package import (
    OF_MAMMOGRAMS,
    DomainName,
    Licence,
    Manifest,
    Model,
    Weights,
    load_model,
    open_model,
)
from node.manifest.pixels import (
    Operation,
    Operations,
    Pixels,
    chest_wall,
    operations,
    shape_after,
)
from node.manifest.together import UNCOMBINED, level_of
from node.manifest.triage import (
    Calibration,
    ManifestNegatives,
    ManifestPoint,
    ManifestTriage,
    Platt,
    Temperature,
)
from node.manifest.words import ManifestCode

__all__ = [
    "BODY_PARTS_OF_MAMMOGRAMS",
    "OF_MAMMOGRAMS",
    "UNCOMBINED",
    "BoxClass",
    "BoxesOutput",
    "Calibration",
    "Class",
    "ClassesOutput",
    "Combination",
    "DomainName",
    "HeatMapOutput",
    "ImageShape",
    "Input",
    "InputTensor",
    "Level",
    "Licence",
    "Manifest",
    "ManifestCode",
    "ManifestNegatives",
    "ManifestPoint",
    "ManifestTriage",
    "ManifestUnit",
    "MapOutput",
    "MaskOutput",
    "Model",
    "Operation",
    "Operations",
    "Output",
    "Pixels",
    "Platt",
    "ScoreOutput",
    "Temperature",
    "TensorShape",
    "Weights",
    "chest_wall",
    "level_of",
    "load_model",
    "open_model",
    "operations",
    "shape_after",
    "view_called",
]
