"""1 Receive: how objects come in, and what becomes of each."""
