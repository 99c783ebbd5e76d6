"""An environment of the instance's own over the image's, which all its instances share.

What pip installs at start must not change the shared one. The overlay is a virtual environment of the same interpreter that sees
the packages of the image's: pip counts those as installed, puts what is new or newer into the overlay, leaves the others alone.
"""

import os
import pathlib
import sys
import sysconfig
import venv


def make():
    """Make it in the instance's home directory; returns its interpreter. SystemExit, with what to do, where that cannot be."""
    place = pathlib.Path(os.environ["HOME"], "environment")
    try:
        return _make(place)
    except OSError as error:
        sys.exit(f"HOME is no directory for the instance's own environment: {error}. Leave HOME out of the model's Environment.")


def _make(place):
    venv.EnvBuilder(with_pip=False, symlinks=True, clear=True).create(place)
    major, minor = sys.version_info[:2]
    packages = place / "lib" / f"python{major}.{minor}" / "site-packages"
    (packages / "image.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n", "utf-8")
    python = place / "bin" / "python"
    for script in pathlib.Path(sys.executable).parent.iterdir():
        translate(script, python)
    return python


def translate(script, python):
    """A program of the image's environment names its interpreter in its first line: make one of the same name for the overlay."""
    wanted = f"#!{sys.executable}\n".encode()
    if script.is_symlink() or not script.is_file():
        return
    with script.open("rb") as file:
        if file.read(len(wanted)) != wanted:
            return
        mine = python.parent / script.name
        mine.write_bytes(f"#!{python}\n".encode() + file.read())
        mine.chmod(0o755)


def enter(python):
    """Make the overlay's interpreter and programs the first that are found by name."""
    os.environ["PATH"] = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    os.environ["VIRTUAL_ENV"] = str(python.parent.parent)
