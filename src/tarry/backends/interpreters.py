"""A Python interpreter is a program in a directory that it cannot do without, often at the end of several symbolic links."""

import os
from pathlib import Path


def interpreter_paths(python: Path) -> tuple[Path, ...]:
    """The paths that an interpreter cannot do without: itself, its directories, those of what its environment is made from."""
    real = Path(os.path.realpath(python))
    paths = [python, python.parent.parent, real.parent.parent]
    configuration = python.parent.parent / "pyvenv.cfg"
    if configuration.exists():
        for line in configuration.read_text("utf-8").splitlines():
            name, _, value = line.partition("=")
            if name.strip() == "home":
                paths.append(Path(value.strip()).parent)
    return tuple(paths)
