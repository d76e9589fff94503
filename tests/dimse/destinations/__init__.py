"""Tests of what the node asks of other application entities."""
