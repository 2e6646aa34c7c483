"""Values and decisions: no clock, no randomness, no I/O, no cloud."""
