"""What the words of a manifest are made of: names, numbers, codes, sentences."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, SerializerFunctionWrapHandler, model_serializer

from node import result
from node.toml_file import Section, matching, shown

Name = Annotated[
    str, matching(r"[a-z0-9][a-z0-9-]{0,47}", "at most 48 small letters, digits and hyphens")
]
Uid = Annotated[
    str, matching(r"(?=.{1,64}$)[0-2](\.(0|[1-9][0-9]*))+", 'a UID such as "1.2.840.10008.1.1"')
]
Sha256 = Annotated[str, matching(r"[0-9a-f]{64}", "a SHA-256 of 64 digits and small letters")]
Ascii = Annotated[str, matching(r"[ -~]{1,64}", "1 to 64 characters of plain ASCII")]
Version = Annotated[
    str, matching(r"[0-9]+\.[0-9]+\.[0-9]+", 'a version of three numbers such as "1.0.2"')
]
Sentence = Annotated[str, matching(r"[ -~]{1,400}", "1 to 400 characters of plain ASCII")]
WeightsFile = Annotated[
    str, matching(r"[A-Za-z0-9._-]+\.onnx", 'the name of an ONNX file such as "model.onnx"')
]
Modality = Annotated[str, matching(r"[A-Z]{2,16}", 'a Modality (0008,0060) such as "MG"')]
BodyPart = Annotated[
    str,
    matching(r"[A-Z0-9_ ]{1,16}", 'a Body Part Examined (0018,0015) such as "BREAST"'),
]
Projection = Annotated[str, matching(r"[A-Z]+", 'a view position such as "MLO"')]
ViewName = Annotated[str, matching(r"[RL] [A-Z]+", 'a side and a projection such as "R MLO"')]
RoleName = Annotated[
    str,
    matching(
        r"([RL] )?[A-Z]+|image|pre|early|late|post [1-9][0-9]?|each post|region",
        'a view such as "R MLO", a projection such as "MLO", or a phase such as "pre" or "post 1"',
    ),
]
GivenName = Annotated[
    str, matching(r"[a-z0-9][a-z0-9 _-]{0,47}", "at most 48 small letters, digits, blanks, _ and -")
]
"""What the author calls an output or an operating point."""


def _fits_a_code(value: str) -> str:
    if not 1 <= len(value) <= 16:
        raise ValueError(
            f"expected 1 to 16 characters, as DICOM's codes have (SH), found {shown(value)} of"
            f" {len(value)}; write a shorter one: it need only be unique in its scheme"
        )
    return value


CodeText = Annotated[str, BeforeValidator(lambda v: _fits_a_code(v) if isinstance(v, str) else v)]


class ManifestCode(Section):
    """A coded concept."""

    value: CodeText
    scheme: CodeText
    meaning: Ascii

    def as_code(self) -> result.Code:
        """Return it as the plain value the results carry."""
        return result.Code(self.value, self.scheme, self.meaning)


_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")


def _one_number(value: Any) -> Any:
    """Refuse a figure with its interval in one text: each of them has a word of its own."""
    if not isinstance(value, str):
        return value
    interval = [n.lstrip("+-") for n in _NUMBER.findall(re.sub(r"\d+ ?%", "", value))]
    example = f"{interval[0]}" if interval else "0.91"
    words = f"expected a number without quotes such as {example}, found {shown(value)}"
    if len(interval) == 3:
        words += f"; its interval goes beside it, as ..._interval = [{', '.join(interval[1:])}]"
    raise ValueError(words)


Share = Annotated[float, BeforeValidator(_one_number), Field(ge=0, le=1)]
"""Of 1."""
Figure = Annotated[float, BeforeValidator(_one_number)]
"""A number, which nobody writes in quotes."""
BetweenZeroAndOne = Annotated[float, BeforeValidator(_one_number), Field(gt=0, lt=1)]


class GrownSection(Section):
    """A table that got words after manifests were written with it.

    Such a word is dumped only where it was said: UIDs of results and keys of scores depend on the
    dump, and are those of before for whoever wrote his manifest then.
    """

    LATER: ClassVar[frozenset[str]] = frozenset()
    """The words that came later."""

    @model_serializer(mode="wrap")
    def _without_unsaid_words(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        dumped: dict[str, Any] = write(self)
        unsaid = self.LATER - self.model_fields_set
        return {word: value for word, value in dumped.items() if word not in unsaid}
