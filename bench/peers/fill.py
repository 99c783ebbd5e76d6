"""fill COUNT BUCKET: send so many tasks. fill --wait COUNT: print the seconds from the first end to the last."""

# mypy: ignore-errors
import os
import sys
import time

import redis

from bench.peers.tasks import ENDED, app, infer


def send(count, bucket):
    """All through one connection, as a producer would."""
    begun = time.perf_counter()
    with app.producer_pool.acquire(block=True) as producer:
        for number in range(count):
            infer.apply_async((bucket, "in", f"out/{number}"), producer=producer)
    print(f"{count / (time.perf_counter() - begun):.0f} per second")


def wait(count):
    """The start of the worker is not counted: the clock begins with the first end."""
    ended = redis.Redis.from_url(os.environ["BENCH_REDIS"])
    while not ended.llen(ENDED):
        time.sleep(0.01)
    begun = time.perf_counter()
    while ended.llen(ENDED) < count:
        time.sleep(0.01)
    print(time.perf_counter() - begun)


if __name__ == "__main__":
    if sys.argv[1] == "--wait":
        wait(int(sys.argv[2]))
    else:
        send(int(sys.argv[1]), sys.argv[2])
