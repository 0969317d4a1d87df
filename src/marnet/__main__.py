"""`python -m marnet` is the command `marnet`."""

from marnet.cli.app import main

main()
