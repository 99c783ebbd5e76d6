"""``python -m tarry`` is ``tarry``."""

from tarry.cli.main import main

main()
