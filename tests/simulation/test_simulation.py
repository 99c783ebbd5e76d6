"""Seeds of the simulation: none breaks a promise. The count is printed; a failing seed prints the command that shows it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SEEDS = {"sql": 300, "fake": 100}


def simulate(*options: str) -> list[str]:
    """What a simulation that found nothing said, line by line."""
    command = [sys.executable, "-m", "tests.simulation", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]
    return done.stdout.strip().splitlines()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("backend", SEEDS)
def test_no_seed_breaks_a_promise(backend: str, capfd: pytest.CaptureFixture[str]) -> None:
    told = simulate("--backend", backend, "--seeds", f"0:{SEEDS[backend]}")[-1]
    with capfd.disabled():
        print(f"\n{told}")
    found = re.search(r": (\d+) seeds, (\d+) runs, 0 failed", told)
    assert found, told
    assert int(found[1]) == SEEDS[backend]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_quarter_of_an_hour_of_seeds(capfd: pytest.CaptureFixture[str]) -> None:
    told = simulate("--backend", "sql", "--seeds", "1000:1000000", "--minutes", "15")[-1]
    with capfd.disabled():
        print(f"\n{told}")
    assert " 0 failed" in told


def test_a_seed_is_the_same_run_each_time() -> None:
    first, second = (simulate("--backend", "sql", "--seed", "3")[:-1] for _ in range(2))  # the last line has the time it took
    assert any(line.startswith("digest ") for line in first)
    assert first == second
