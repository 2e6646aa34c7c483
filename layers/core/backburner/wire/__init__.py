"""Formats of others: parse and serialise, no I/O."""
