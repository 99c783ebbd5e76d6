"""Serves the code of a model archive: code/inference.py, with what code/requirements.txt names."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "common"))

import script_server  # noqa: E402

if __name__ == "__main__":
    script_server.main(HERE / "worker.py")
