"""A little server process: starts one instance of the stub image in a directory, prints what it did, and waits to be killed.

Usage: python engine_process.py DIRECTORY SANDBOX
"""

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))


async def main(directory: Path, sandbox: str) -> None:
    from tests.support.engines import process_engine, sandbox_of, spec

    engine = process_engine(directory, sandbox=await sandbox_of(sandbox, directory))
    await engine.open()
    await engine.start(spec(STUB_CHILD="1"))
    sys.stdout.write("\n".join(await engine.log_tail("i-1", 10)) + "\n")  # "child <process id>" is among them
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
