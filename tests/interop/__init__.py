"""The commands as a user runs them, against programs that other people wrote."""
