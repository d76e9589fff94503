"""The tables of PS3.3 that dicom-validator checks by, built offline.

dicom-validator reads the standard's DocBook from dicom.nema.org on first use, which a machine
without that network cannot. highdicom carries the same tables (IOD, module, attribute, Type), of
an edition younger than what any other validator here knows, so they are turned into what
dicom-validator keeps in its own cache. What they lack it does not check: the conditions of Types
1C and 2C, enumerated values, and the content tree of an SR. The other validators check those.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from dicom_validator.validator.dicom_info import DicomInfo
from highdicom._standard_utils import (
    get_iod_module_map,
    get_module_attribute_map,
    get_sop_class_iod_map,
)
from pydicom.datadict import dictionary_description, tag_for_keyword
from pydicom.tag import Tag

Module = dict[str, dict[str, Any]]

CONTENT_TREE = "ContentSequence"
"""Each item holds what the value type of that item asks for; the tables do not say which."""
OF_OTHER_VALUE_TYPES = {
    "ConceptCodeSequence",
    "GraphicData",
    "GraphicType",
    "MeasuredValueSequence",
    "ReferencedFrameOfReferenceUID",
    "ReferencedSOPSequence",
    "TabulatedValuesSequence",
    "TemporalRangeType",
}
"""What the root of a content tree, a CONTAINER, does not have."""
FUNCTIONAL_GROUPS = (
    ["SharedFunctionalGroupsSequence"],
    ["PerFrameFunctionalGroupsSequence"],
)
"""Whether a macro is shared or stands in each frame is the writer's choice."""


@cache
def tables(sop_classes: tuple[str, ...]) -> DicomInfo:
    """Return the tables for these SOP classes."""
    iods = {sop_class: get_sop_class_iod_map()[sop_class] for sop_class in sop_classes}
    modules = {iod: get_iod_module_map()[iod] for iod in iods.values()}
    used = {module["key"] for listed in modules.values() for module in listed}
    described: dict[str, dict[str, Any]] = {
        sop_class: {
            "title": iod,
            "modules": {m["key"]: {"ref": m["key"], "use": m["usage"]} for m in modules[iod]},
            "group_macros": {},
        }
        for sop_class, iod in iods.items()
    }
    return DicomInfo(
        dictionary={},
        iods=described,
        modules={key: _module(key, get_module_attribute_map()[key]) for key in used},
    )


def _module(key: str, attributes: Iterable[dict[str, Any]]) -> Module:
    """Return the module as a tree of attributes; in the tables each stands with its path."""
    module: Module = {}
    for attribute in attributes:
        if CONTENT_TREE in attribute["path"]:
            continue
        items = module
        try:
            tag = _tag(attribute["keyword"])
            for above in attribute["path"]:
                items = items[_tag(above)].setdefault("items", {})
        except KeyError:  # younger than pydicom's dictionary, or below such an attribute
            continue
        items[tag] = {
            "name": dictionary_description(attribute["keyword"]),
            "type": _type(key, attribute),
        }
    return module


def _type(module: str, attribute: dict[str, Any]) -> str:
    """Return the Type that can be checked: without its condition, 1C and 2C may be absent."""
    is_elsewhere = module == "sr-document-content" and attribute["keyword"] in OF_OTHER_VALUE_TYPES
    is_macro = attribute["path"] in FUNCTIONAL_GROUPS
    if is_elsewhere or is_macro or attribute["type"].endswith("C"):
        return "3"
    return str(attribute["type"])


def _tag(keyword: str) -> str:
    """Return the tag as dicom-validator writes it, "(0008,0016)"."""
    number = tag_for_keyword(keyword)
    if number is None:
        raise KeyError(keyword)
    return f"({Tag(number).group:04X},{Tag(number).element:04X})"
