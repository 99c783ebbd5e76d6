"""Where an answer is saved: whole or not at all."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tarry.cli.following import whole_file
from tarry.core.errors import DependencyError, InvalidRequest


def test_a_file_takes_its_name_when_it_is_whole(tmp_path: Path) -> None:
    target, link = tmp_path / "answer", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    with whole_file(link) as file:
        file.write(b"new")
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"
    assert link.is_symlink()


def _half() -> Iterator[bytes]:
    yield b"ne"
    raise DependencyError("gone")


def test_half_an_answer_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "answer"
    target.write_bytes(b"old")
    with pytest.raises(DependencyError), whole_file(target) as file:
        file.writelines(_half())
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_device_stays_one() -> None:
    null = Path("/dev/null")
    with whole_file(null) as file:
        file.write(b"x")
    assert null.is_char_device()


def test_what_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"cannot be written: No such file"), whole_file(tmp_path / "none" / "answer"):
        pass
