"""What the real SageMaker toolkits need to live beside others on one machine: they were made to have a container to themselves.

``enter`` comes first: it makes the instance's own environment over the image's and starts the program again in it, so that the
toolkit's ``pip install`` of code/requirements.txt changes nothing that is shared.
"""

import importlib.util
import os
import pathlib
import shutil
import sys

import overlay
import psutil


def enter(program):
    """Start ``program`` again in the instance's own environment; returns when this is that environment."""
    place = os.path.realpath(os.environ["HOME"])
    if not os.path.realpath(sys.prefix).startswith(place + os.sep):
        python = overlay.make()
        overlay.enter(python)
        load_no_pickles(python)
        os.execv(python, [str(python), "-u", program, *sys.argv[1:]])  # noqa: S606 - becoming it is the purpose


def load_no_pickles(python):
    """Put a copy of sagemaker_inference over the image's, whose decoder of NPY, for code without an input_fn, loads no objects.

    # OURS: the original does, and runs what is in them: who may ask a model may not run code beside it.
    """
    (original,) = importlib.util.find_spec("sagemaker_inference").submodule_search_locations
    major, minor = sys.version_info[:2]
    copy = python.parent.parent / "lib" / f"python{major}.{minor}" / "site-packages" / "sagemaker_inference"
    shutil.copytree(original, copy, ignore=shutil.ignore_patterns("__pycache__"))
    decoder = copy / "decoder.py"
    decoder.write_text(decoder.read_text("utf-8").replace("allow_pickle=True", "allow_pickle=False"), "utf-8")


def keep_apart(*modules):
    """Give toolkit modules a configuration file in the instance's home, and let them look for the server among their children.

    As they are, they write below /etc and take any server process of the machine for their own, or fail when there are two.
    """
    for module in modules:
        for name in ("TS_CONFIG_FILE", "MMS_CONFIG_FILE"):
            if hasattr(module, name):
                setattr(module, name, str(pathlib.Path(os.environ["HOME"], pathlib.Path(getattr(module, name)).name)))
    psutil.process_iter = lambda *_, **__: psutil.Process().children(recursive=True)
