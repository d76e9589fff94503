"""Recipes that build or train the networks under `models/`; they need the `training` extra."""
