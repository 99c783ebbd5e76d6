"""Promise P1 in a power cut: what was acknowledged was on the disk before, and a disk that forgot the rest still opens.

Shown twice from one server's life under strace: by the order of its system calls, and by cutting the power at many moments, on a
model of a disk that keeps nothing that was not synced, or, of that, what the dice say.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from tests.support.power_cut.disk import Disk
from tests.support.power_cut.session import BUCKET, LARGE, Accepted, Session, may_be_lost
from tests.support.power_cut.survivors import Promise, Survivors
from tests.support.power_cut.trace import SYNC, WRITE, Call, needs_strace
from tests.support.server_process import ServerProcess

pytestmark = [needs_strace, pytest.mark.xdist_group("power cut"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    made = Session(tmp_path_factory.mktemp("power"))
    with made.subscriber:
        made.run()
        yield made


# ------------------------------------------------------------------------------------------------------------------ by order


def _first(calls: Sequence[Call], wanted: Callable[[Call], bool], after: int = -1) -> Call:
    """The first of these calls that begins after a line, and that has returned."""
    return next(call for call in calls if call.begin > after and call.end is not None and wanted(call))


def _end(call: Call) -> int:
    assert call.end is not None
    return call.end


def _committed(session: Session, needle: str, after: int = -1) -> int:
    """The line at which a commit was on the disk that wrote these words into the database's log."""
    wal = str(session.data_dir / "tarry.db-wal")
    written = _first(
        session.calls, lambda call: call.name in WRITE and call.descriptor == wal and needle.encode() in call.data, after
    )
    return _end(_first(session.calls, lambda call: call.name in SYNC and call.descriptor == wal, _end(written)))


def _promised(session: Session, what: str) -> Promise:
    return next(promise for promise in session.promises if promise.what == what)


def test_a_202_leaves_after_its_commit_is_on_the_disk(session: Session) -> None:
    lines = session.acknowledged()
    assert len(session.accepted) == 27
    for accepted in session.accepted:
        assert _committed(session, accepted.invocation_id) < lines[accepted.request_id]


@pytest.mark.parametrize("what", ["object small", "object large", "object overwritten", "a copy", "an upload", "a part"])
def test_a_200_of_s3_leaves_after_its_commit_is_on_the_disk(session: Session, what: str) -> None:
    words = {"a copy": "copy", "an upload": "parts", "a part": "parts"}.get(what, what.removeprefix("object "))
    assert _committed(session, words) < session.acknowledged()[_promised(session, what).request_id]


def test_a_200_of_sns_leaves_after_its_commit_is_on_the_disk(session: Session) -> None:
    assert _committed(session, '{"text": "second"}') < session.acknowledged()[_promised(session, "message second").request_id]


def test_a_large_object_is_on_the_disk_before_its_row_and_its_row_before_its_200(session: Session) -> None:
    """In this order: its bytes, their sync, its name, the sync of its directory, its row, the sync of that, the answer."""
    sought = _first(session.calls, lambda call: call.name in WRITE and LARGE[:4096] in call.data and "/blobs/" in call.descriptor)
    temporary = Path(sought.descriptor)
    blob = temporary.with_suffix("")
    last_bytes = max(_end(call) for call in session.calls if call.name in WRITE and call.descriptor == str(temporary))
    synced = _first(session.calls, lambda call: call.name in SYNC and call.descriptor == str(temporary), last_bytes)
    renamed = _first(
        session.calls, lambda call: call.name.startswith("rename") and call.strings[-1].decode() == str(blob), _end(synced)
    )
    directory_synced = _first(
        session.calls, lambda call: call.name in SYNC and call.descriptor == str(blob.parent), _end(renamed)
    )
    committed = _committed(session, blob.name, after=_end(directory_synced))
    assert committed < session.acknowledged()[_promised(session, "object large").request_id]


# ------------------------------------------------------------------------------------------------------------------ by cutting


class Cuts:
    """Cuts the power at lines of the trace, in order, and looks at what is left."""

    def __init__(self, session: Session, directory: Path) -> None:
        self._session = session
        self._directory = directory
        self._disk = Disk(session.root, may_be_lost)
        self._steps = iter(self._disk.steps(session.calls))
        self._next = next(self._steps)
        self._lines = session.acknowledged()
        self._announced = session.announced()
        self.count = 0

    def cut(self, line: int, dice: random.Random | None = None) -> Path:
        """Check everything that was acknowledged up to this line; the directory that is left."""
        while self._next.line < line:
            self._next.happen()
            self._next = next(self._steps, self._next._replace(line=10**12))
        target = self._directory / f"cut-{self.count}"
        self.count += 1
        self._disk.survivors(target, dice)
        data_dir = target / self._session.data_dir.relative_to(self._session.root)
        due = [promise for promise in self._session.promises if self._lines.get(promise.request_id, line + 1) <= line]
        if due:
            self._check(data_dir, due, line)
        return data_dir

    def _check(self, data_dir: Path, due: Sequence[Promise], line: int) -> None:
        replacing = {promise.replaces: promise for promise in self._session.promises if promise.replaces}
        assert (data_dir / "tarry.db").exists(), f"nothing is left at line {line}"
        with Survivors(data_dir) as survivors:
            assert survivors.is_whole(), f"damaged at line {line}"
            for promise in due:
                successor = replacing.get(promise.request_id)
                if successor in due:
                    continue
                kept = promise.kept(survivors) or (successor is not None and successor.kept(survivors))
                assert kept, f"{promise.what} was acknowledged and is lost at line {line}"
            for accepted in self._session.accepted:
                if self._announced.get(accepted.invocation_id, line + 1) <= line:
                    self._check_announced(survivors, accepted, line)

    def _check_announced(self, survivors: Survivors, accepted: Accepted, line: int) -> None:
        assert survivors.ended(accepted.invocation_id), f"announced at line {line} and not ended"
        assert survivors.read(BUCKET, accepted.output.split("/", 3)[3]) == accepted.answer


def _lines_of_answers(session: Session) -> list[int]:
    """The worst moments: an answer, or a notification, has just begun to leave."""
    return sorted({*session.acknowledged().values(), *session.announced().values()})


def test_every_answer_outlives_a_cut_at_its_moment(session: Session, tmp_path: Path) -> None:
    cuts = Cuts(session, tmp_path)
    for line in _lines_of_answers(session):
        cuts.cut(line)
    assert cuts.count >= len(session.promises) / 3


@pytest.mark.parametrize("moments", [40, pytest.param(1000, marks=pytest.mark.slow)])
def test_whatever_else_a_disk_keeps_does_no_harm(
    session: Session, tmp_path: Path, tell: Callable[[str], None], moments: int
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    dice = random.Random(seed)
    tell(f"seed {seed}, {moments} cuts")
    cuts = Cuts(session, tmp_path)
    lines = [call.begin for call in session.calls]
    for line in sorted(dice.choices(lines, k=moments)):
        cuts.cut(line, dice)


def test_a_server_goes_on_with_what_a_cut_has_left(session: Session, tmp_path: Path) -> None:
    data_dir = Cuts(session, tmp_path).cut(max(_lines_of_answers(session)))
    with ServerProcess(data_dir) as server:
        outputs = {each.output for each in session.accepted}
        session.subscriber.wait(lambda: outputs <= session.subscriber.results("Completed").keys(), "all ends")
        s3 = server.client("s3")
        for each in session.accepted:
            assert s3.get_object(Bucket=BUCKET, Key=each.output.split("/", 3)[3])["Body"].read() == each.answer
        assert s3.get_object(Bucket=BUCKET, Key="parts")["Body"].read() == LARGE
        assert len(server.client("sns").list_subscriptions()["Subscriptions"]) == 1
