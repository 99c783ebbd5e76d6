"""What stands in front of every program: it must leave no trace of itself, and never start anything for a server that is gone."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import uvloop

from tarry.backends.engines import launching
from tarry.backends.engines.launching import LAUNCHER, Program, Wrapped, launch


async def said_by(program: Program, *, wrapped: Wrapped | None = None, keep: Sequence[int] = ()) -> str:
    process = await launch(program, marks={}, wrapped=wrapped, keep=keep, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    assert process.returncode == 0
    return said.decode().strip()


def shell(script: str, *ignored: signal.Signals) -> Program:
    return Program(command=("sh", "-c", script), environment={"PATH": os.environ["PATH"]}, ignored=ignored)


@pytest.mark.parametrize("ignored", [(), (signal.SIGTERM,)])
async def test_a_program_hears_all_signals_but_those_that_it_is_to_ignore(ignored: tuple[signal.Signals, ...]) -> None:
    """Python ignores SIGPIPE and SIGXFSZ, and exec would hand that on: ``yes | head -1`` would never end."""
    mask = int((await said_by(shell("grep SigIgn /proc/self/status", *ignored))).split()[1], 16)
    # 32 and 33 are the C library's own, which lets nobody set them: whoever started the tests may ignore them for good.
    assert {number for number in signal.valid_signals() if mask >> (number - 1) & 1} == set(ignored)


async def test_the_servers_umask_is_not_handed_on() -> None:
    """A model server that is another user could not read what its image writes for everybody."""
    before = os.umask(0o077)
    try:
        assert await said_by(shell("umask")) == "0022"
    finally:
        os.umask(before)


@pytest.mark.parametrize("is_wrapped", [False, True])
def test_nothing_is_inherited_but_what_is_handed_over(is_wrapped: bool, tmp_path: Path) -> None:
    """On uvloop, the server's own event loop, which closes nothing: whatever starts the server may have left it files open."""
    wrapper = tmp_path / "wrapper"
    wrapper.write_text('#!/bin/sh\nshift 3\nexec "$@"\n')
    wrapper.chmod(0o755)
    wrapped = Wrapped(wrapper=wrapper, arguments=("--x",), interpreter=Path(sys.executable), launcher=LAUNCHER)
    inherited, kept = os.memfd_create("inherited", 0), os.memfd_create("kept")
    try:
        program = shell("cd /proc/$$/fd; for each in *; do readlink $each || :; done")
        wanted = said_by(program, wrapped=wrapped if is_wrapped else None, keep=(kept,))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            files = [line for line in runner.run(wanted).splitlines() if "memfd" in line]
    finally:
        os.close(inherited)
        os.close(kept)
    assert files == ([] if is_wrapped else ["/memfd:kept (deleted)"])


def test_nothing_is_started_for_a_server_that_has_ended_already(tmp_path: Path) -> None:
    wish = launching._wish(shell(f"touch {tmp_path / 'started'}"))
    number = os.memfd_create("wish")
    try:
        os.write(number, wish)
        os.lseek(number, 0, os.SEEK_SET)
        somebody_else = str(os.getppid())
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(LAUNCHER), somebody_else, str(number)],
            pass_fds=(number,),
            capture_output=True,
            check=False,
        )
    finally:
        os.close(number)
    assert done.returncode == 127
    assert done.stderr.decode() == "tarry: cannot start the model server: the server: has ended\n"
    assert not (tmp_path / "started").exists()
