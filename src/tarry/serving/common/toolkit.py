"""What the real SageMaker toolkits need to live beside others on one machine: they were made to have a container to themselves.

``enter`` comes first: it makes the instance's own environment over the image's and starts the program again in it, so that the
toolkit's ``pip install`` of code/requirements.txt changes nothing that is shared.
"""

import os
import pathlib
import sys

import overlay
import psutil


def enter(program):
    """Start ``program`` again in the instance's own environment; returns when this is that environment."""
    place = os.path.realpath(os.environ["HOME"])
    if not os.path.realpath(sys.prefix).startswith(place + os.sep):
        python = overlay.make()
        overlay.enter(python)
        os.execv(python, [str(python), "-u", program, *sys.argv[1:]])  # noqa: S606 - becoming it is the purpose


def keep_apart(*modules):
    """Give toolkit modules a configuration file in the instance's home, and let them look for the server among their children.

    As they are, they write below /etc and take any server process of the machine for their own, or fail when there are two.
    """
    for module in modules:
        for name in ("TS_CONFIG_FILE", "MMS_CONFIG_FILE"):
            if hasattr(module, name):
                setattr(module, name, str(pathlib.Path(os.environ["HOME"], pathlib.Path(getattr(module, name)).name)))
    psutil.process_iter = lambda *_, **__: psutil.Process().children(recursive=True)
