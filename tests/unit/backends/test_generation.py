"""What one process changes, others see before anybody is told of it."""

import os
import subprocess
import sys

from tarry.backends.generation import Generation, make_shared, open_shared

WAIT = "import sys; from tarry.backends.generation import open_shared; print(open_shared(int(sys.argv[1])).value.hex())"


def test_it_is_equal_until_it_is_advanced() -> None:
    generation = Generation()
    seen = {generation.value}
    assert generation.value in seen
    for _ in range(300):
        generation.advance()
        assert generation.value not in seen
        seen.add(generation.value)


def test_others_see_it_in_shared_memory_at_once() -> None:
    generation, descriptor = make_shared()
    other = open_shared(descriptor)
    for _ in range(3):
        generation.advance()
        assert other.value == generation.value
    command = [sys.executable, "-c", WAIT, str(descriptor)]
    printed = subprocess.run(command, pass_fds=[descriptor], capture_output=True, text=True, check=True).stdout
    assert bytes.fromhex(printed.strip()) == generation.value
    os.close(descriptor)
