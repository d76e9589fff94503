"""Mammography as a domain (`node.domains.domain.Domain`)."""

from node.domains.mammography.combination import combine
from node.domains.mammography.grouping import grouped
from node.domains.mammography.hanging import hanging
from node.domains.mammography.plausibility import (
    require_plausible,
    require_plausible_outline,
    require_visible,
)
from node.domains.mammography.scope import awaited, is_in_scope, read, told, why_not_in_scope
from node.domains.mammography.selection import units

__all__ = [
    "awaited",
    "combine",
    "grouped",
    "hanging",
    "is_in_scope",
    "read",
    "require_plausible",
    "require_plausible_outline",
    "require_visible",
    "told",
    "units",
    "why_not_in_scope",
]
