"""`python -m backburner_local.cli`."""

from backburner_local.cli import main

main()
