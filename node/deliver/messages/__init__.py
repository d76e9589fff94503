"""What reading lists and programs are told of a study's triage level, and how it gets there."""
