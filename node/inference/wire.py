"""What parent and child say to each other: plain values, and errors as kind and words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from node import config
from node.manifest import Model
from node.result import ImageScore
from node.study import Instance, Picture


@dataclass(frozen=True, slots=True)
class Setup:
    """The first thing a child hears."""

    settings: config.Inference
    models: tuple[Model, ...]


@dataclass(frozen=True, slots=True)
class ScoreJob:
    """Run a model on an image."""

    instance: Instance
    model_name: str


@dataclass(frozen=True, slots=True)
class PictureJob:
    """Draw an image as a display shows it."""

    instance: Instance


@dataclass(frozen=True, slots=True)
class PixelDigestJob:
    """Digest the decoded pixels of an object."""

    path: Path


@dataclass(frozen=True, slots=True)
class Failure:
    """An error: its class in node.errors, and words without patient data."""

    kind: str
    message: str


Job = ScoreJob | PictureJob | PixelDigestJob
Answer = ImageScore | Picture | str | Failure | None
"""None answers a Setup, a text a PixelDigestJob."""
