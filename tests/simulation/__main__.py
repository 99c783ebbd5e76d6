"""``python -m tests.simulation --seed 7`` runs one seed and shows what happened; ``--seeds 0:300`` runs many and counts them."""

import argparse
import os
import sys
import time
import traceback
from collections import Counter

from tests.simulation.run import BACKENDS, Result, Runner

_ENVIRONMENT = {"PYTHONHASHSEED": "0"}
"""The order of sets of strings is part of a run."""


def main() -> int:
    """Run what the command line says; 1 if a promise was broken."""
    options = _options()
    if options.seed is not None:
        first, end, lines = options.seed, options.seed + 1, None
    else:
        first, end = map(int, options.seeds.split(":"))
        lines = options.lines
    runner, tally = Runner(), _Tally()
    until = time.monotonic() + options.minutes * 60
    for seed in range(first, end):
        for backend in BACKENDS if options.backend == "all" else (options.backend,):
            result = runner.run(seed, backend)
            tally.add(result)
            if result.error is not None or options.seed is not None:
                _show(result, lines)
        if tally.failed >= options.failures or time.monotonic() > until:
            break
    runner.close()
    print(tally.words(options.backend))
    return min(tally.failed, 1)


class _Tally:
    """What came of all runs."""

    def __init__(self) -> None:
        self.failed = 0
        self._seeds: set[int] = set()
        self._runs = self._steps = 0
        self._states: Counter[str] = Counter()
        self._began = time.monotonic()

    def add(self, result: Result) -> None:
        """One more run."""
        self._seeds.add(result.seed)
        self._runs += 1
        self._steps += result.steps
        self._states.update(result.states)
        self.failed += result.error is not None

    def words(self, backend: str) -> str:
        """In one line; tests read the first numbers."""
        states = ", ".join(f"{count} {state}" for state, count in sorted(self._states.items()))
        took_s = time.monotonic() - self._began
        return (
            f"simulation of {backend}: {len(self._seeds)} seeds, {self._runs} runs, {self.failed} failed, "
            f"{self._steps} steps, {sum(self._states.values())} invocations ({states}), {took_s:.0f} s"
        )


def _show(result: Result, lines: int | None) -> None:
    print("\n".join(result.trace.lines[-lines:] if lines else result.trace.lines))
    if result.error is not None:
        traceback.print_exception(result.error)
        print(f"FAILED: python -m tests.simulation --backend {result.backend} --seed {result.seed}", flush=True)
    else:
        print(f"digest {result.trace.digest}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="one seed, with all that happened")
    parser.add_argument("--seeds", default="0:300", metavar="FROM:TO", help="many seeds (%(default)s)")
    parser.add_argument("--backend", choices=(*BACKENDS, "all"), default="all", help="where rows and objects lie")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument("--failures", type=int, default=1, help="stop after so many (%(default)s)")
    parser.add_argument("--lines", type=int, default=60, help="show so many lines before a failure (%(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    if _ENVIRONMENT.items() <= os.environ.items():
        sys.exit(main())
    os.execve(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]], os.environ | _ENVIRONMENT)
