"""Tests of the result objects."""
