"""Wire-level emulations of AWS services that nobody else emulates, usable alone."""
