"""``python -m tarry`` is ``tarry``."""

import errno
import os
import sys
from pathlib import Path

_UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def main() -> None:
    """Entry point. Ctrl-C says nothing, not even while the command line is being loaded."""
    if sys.stdout is None:  # whoever started us has closed it, and wants nothing
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - for as long as the process lives
    try:
        from tarry.cli.main import main as run  # noqa: PLC0415 - slow to import

        run()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except OSError as error:
        if error.errno not in _UNWRITABLE or error.filename is not None:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left would be written once more at the exit
        raise SystemExit(f"tarry: The output could not be written: {os.strerror(error.errno)}.") from None


if __name__ == "__main__":
    main()
