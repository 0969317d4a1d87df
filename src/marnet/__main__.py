"""`python -m marnet` is the command `marnet`."""

from marnet.cli import main

main()
