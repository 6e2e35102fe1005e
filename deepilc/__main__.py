"""`python -m deepilc` is the command `deepilc`."""

from deepilc.cli import main

main()
