"""The modules that images share, imported from where they lie: they run inside an instance, so tarry does not import them."""

import importlib
import sys
from pathlib import Path
from typing import Any

import tarry

SERVING = Path(tarry.__file__).parent / "serving"

sys.path.insert(0, str(SERVING / "common"))
try:
    overlay: Any = importlib.import_module("overlay")
    script_server: Any = importlib.import_module("script_server")
    script_worker: Any = importlib.import_module("script_worker")
    toolkit: Any = importlib.import_module("toolkit")
    user_code: Any = importlib.import_module("user_code")
finally:
    sys.path.remove(str(SERVING / "common"))
