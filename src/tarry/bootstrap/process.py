"""What a process that serves does with what the system has given it, whichever of the server's it is."""

import contextlib
import gc
import os
import resource

GC_THRESHOLD = 10_000
"""New objects between two collections. Python's 700 are a few requests, and most of their objects are about to go anyway."""


def raise_file_limit() -> None:
    """Each connection and each open blob is a descriptor: take as many as the system lets this process have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def keep_descriptors_to_ourselves() -> None:
    """What whoever started this server has left open (a lock, a pipe, a directory) is not for the programs that it starts."""
    with os.scandir("/proc/self/fd") as entries:
        numbers = [int(entry.name) for entry in entries]
    for number in numbers:
        if number > 2:
            with contextlib.suppress(OSError):  # that of the list itself
                os.set_inheritable(number, False)


def settle_memory() -> None:
    """What is there now stays: half a million objects (service descriptions above all) that no collection need look at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
