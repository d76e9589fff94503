"""Tests of the ledger, one module per step."""
