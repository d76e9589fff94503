"""Recipes of small images, so that a test reads many."""

from __future__ import annotations

from typing import Any

from node.training.recipe import Recipe, default_recipe

SIZE = (80, 48)
"""Rows and columns of what the network gets."""


def recipe_of(*more: dict[str, Any], size: tuple[int, int] = SIZE, **tables: Any) -> Recipe:
    """Return the default recipe for small images, with more operations at the end."""
    operations = [one.model_dump() for one in default_recipe("x").operations]
    operations[3] |= {"height": size[0], "width": size[1]}
    words = {"name": "small", "title": "Small", "pixels": [*operations, *more]}
    return Recipe.model_validate(words | tables)


RECIPE = recipe_of()
