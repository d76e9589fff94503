"""Tests of `ai-node train`."""
