"""Removing directories that others have filled: model archives and instances decide how deep and how odd they are.

Everything here blocks for as long as the disk takes.
"""

import os
import uuid
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)


def remove_tree(top: Path) -> None:
    """Remove a directory and all below it, however deep; nothing is done where there is nothing. Errors: OSError.

    ``shutil.rmtree`` calls itself for each level and gives up at a thousand, and what others have filled may have paths longer
    than the system takes. So each directory is moved up to the top before it is emptied.
    """
    if top.is_symlink() or not top.is_dir():
        top.unlink(missing_ok=True)
        return
    waiting = [top]
    while waiting:
        here = waiting.pop()
        with os.scandir(here) as entries:
            for entry in list(entries):
                if not entry.is_dir(follow_symlinks=False):
                    Path(entry.path).unlink(missing_ok=True)
                elif here == top:
                    waiting.append(top / entry.name)
                else:
                    moved = top / uuid.uuid4().hex
                    Path(entry.path).rename(moved)
                    waiting.append(moved)
        if here != top:
            here.rmdir()
    top.rmdir()


def discard_tree(top: Path) -> None:
    """``remove_tree`` for what is in nobody's way: what cannot be removed is logged and stays."""
    try:
        remove_tree(top)
    except OSError as error:
        log.warning("a directory that is not needed any more could not be removed", path=str(top), error=str(error))
