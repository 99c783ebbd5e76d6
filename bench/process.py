"""What the server's process takes: CPU time, told apart by thread, and memory."""

from dataclasses import dataclass
from pathlib import Path

import psutil

WRITER = "tarry-write"


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU seconds that a server has taken since its start; the kernel counts them in hundredths.

    Model servers are processes of their own and do not count.
    """

    loop_s: float
    """The event loop: the door, delivery, control."""
    writer_s: float
    """The one thread that writes to the database."""
    others_s: float
    """Readers of the database, and blocking work: hashes, files."""

    @classmethod
    def of(cls, pid: int) -> "Cpu":
        """Up to now."""
        process = psutil.Process(pid)
        threads = {thread.id: thread.user_time + thread.system_time for thread in process.threads()}
        writer_s = sum(seconds for number, seconds in threads.items() if _name(pid, number) == WRITER)
        times = process.cpu_times()  # with those of threads that have ended
        loop_s = threads[pid]
        return cls(loop_s, writer_s, max(0.0, times.user + times.system - loop_s - writer_s))

    def since(self, before: "Cpu", count: float) -> dict[str, float]:
        """Microseconds for each of ``count`` (requests, or seconds) since then."""
        spent = {
            "loop": self.loop_s - before.loop_s,
            "writer": self.writer_s - before.writer_s,
            "others": self.others_s - before.others_s,
        }
        each = {name: seconds / count * 1e6 for name, seconds in spent.items()}
        return {"all": sum(each.values()), **each}


def resident_bytes(pid: int) -> int:
    """Memory that a process holds now."""
    return int(psutil.Process(pid).memory_info().rss)


def _name(pid: int, thread: int) -> str:
    try:
        return Path(f"/proc/{pid}/task/{thread}/comm").read_text().strip()
    except OSError:  # ended meanwhile
        return ""
