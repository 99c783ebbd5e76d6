"""Promise P5 on a disk that is really full: refused is refused, accepted stays, and everything goes on when there is room again.

The server's log lies on the same disk, as it does for whoever starts it with ``2> DIR.log``.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from tests.support.crash.checker import TERMINAL
from tests.support.crash.errands import INLINE, LARGE, SMALL, Errand
from tests.support.crash.points import Point
from tests.support.crash.world import BUCKET, World
from tests.support.small_disk import SmallDisk, small_disk

pytestmark = pytest.mark.xdist_group("full disk")

DISK_MB = 48
RESERVE_BYTES = 16 * 1024 * 1024
TRIES_MAX = 400
BIG_INLINE = Errand(body=bytes(100_000), inline=True)


@pytest.fixture(params=["tmpfs", "ext4"])
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", request.param, DISK_MB) as made:
        yield made


def _refusal(call: Callable[[int], object]) -> tuple[int, str, int]:
    """Status and code of a call's refusal, and how often it was taken before: the database has free pages of its own."""
    for number in range(TRIES_MAX):
        try:
            call(number)
        except ClientError as error:
            return error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"], number
    raise AssertionError("never refused")


def _refused_at_last(world: World, errand: Errand) -> str:
    for _ in range(TRIES_MAX):
        if (refusal := world.ask(errand).result().refusal) is not None:
            return refusal
    raise AssertionError("never refused")


def _put(world: World) -> set[str]:
    """The objects that this test has put itself."""
    found = world.server.client("s3").list_objects_v2(Bucket=BUCKET, Prefix="in/put-")
    return {entry["Key"] for entry in found.get("Contents", [])}


def test_a_full_disk_refuses_and_loses_nothing(disk: SmallDisk) -> None:
    with World(disk.path, instances=1, concurrency=2) as world:
        running = [world.bring_to(Point.INFERRING, errand).result() for errand in (SMALL, LARGE)]
        queued = [world.ask(errand).result() for errand in (SMALL, INLINE, LARGE)]
        s3, sns = world.server.client("s3"), world.server.client("sns")
        disk.fill()

        large = _refusal(lambda n: s3.put_object(Bucket=BUCKET, Key=f"in/put-large-{n}", Body=LARGE.body))
        small = _refusal(lambda n: s3.put_object(Bucket=BUCKET, Key=f"in/put-small-{n}", Body=bytes(100_000)))
        assert (large[:2], small[:2]) == ((507, "InsufficientStorage"), (507, "InsufficientStorage"))
        assert _refused_at_last(world, BIG_INLINE) == "ServiceUnavailable"
        assert _refusal(lambda n: sns.publish(TopicArn=world.topics["Completed"], Message=f"{n}" * 60_000))[:2] == (
            503,
            "ServiceUnavailable",
        )
        assert s3.get_object(Bucket=BUCKET, Key=f"in/{running[1].inference_id}")["Body"].read() == LARGE.body

        world.server.hold(Point.GIVING_BACK)
        for _ in running:
            world.let_go(Point.INFERRING)
        world.server.wait_reached(Point.GIVING_BACK)  # an answer has come and found no room
        world.let_go(Point.GIVING_BACK)
        assert not any((record := world.record(entry)) is None or record.state in TERMINAL for entry in queued)

        disk.free()
        world.settle()
        world.check()
        assert _put(world) == {f"in/put-small-{n}" for n in range(small[2])} | {f"in/put-large-{n}" for n in range(large[2])}
        world.ask(LARGE)
        world.settle()
        world.check()


def test_the_last_of_the_disk_is_kept_for_results(disk: SmallDisk) -> None:
    with World(disk.path, instances=1, concurrency=2, disk_reserve_bytes=RESERVE_BYTES) as world:
        for errand in (SMALL, LARGE):
            world.bring_to(Point.INFERRING, errand)
        world.ask(LARGE).result()
        disk.fill(leave_bytes=RESERVE_BYTES - 1_000_000)
        assert world.ask(INLINE).result().refusal == "ThrottlingException"
        for _ in range(2):
            world.let_go(Point.INFERRING)
        world.settle()
        world.check()
        disk.free()
        assert world.ask(INLINE).result().refusal is None
        world.settle()
        world.check()


def test_a_server_that_is_killed_on_a_full_disk_loses_nothing(disk: SmallDisk) -> None:
    with World(disk.path, instances=1, concurrency=2) as world:
        for errand in (SMALL, LARGE):
            world.bring_to(Point.INFERRING, errand)
        world.ask(LARGE).result()
        disk.fill()
        _refused_at_last(world, BIG_INLINE)
        world.server.kill()
        world.server.run_to_end()
        disk.free()
        world.crash()
        world.settle()
        world.check()
