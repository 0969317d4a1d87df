"""`python -m marnet` runs the command `marnet`."""

from marnet.cli.app import main

main()
