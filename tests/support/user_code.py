"""The module that images have in common for the user's code, imported from where it lies: tarry itself does not import it."""

import importlib
import sys
from pathlib import Path
from typing import Any

import tarry

COMMON = Path(tarry.__file__).parent / "serving" / "common"

sys.path.insert(0, str(COMMON))
try:
    user_code: Any = importlib.import_module("user_code")
finally:
    sys.path.remove(str(COMMON))
