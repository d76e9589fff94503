"""Magnetic resonance of the breast as a domain (`node.domains.domain.Domain`)."""

from node.domains.breast_mr.combination import combine, hanging
from node.domains.breast_mr.plausibility import (
    require_plausible,
    require_plausible_outline,
    require_visible,
)
from node.domains.breast_mr.scope import awaited, is_in_scope, read, told, why_not_in_scope
from node.domains.breast_mr.selection import grouped, units

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
