import os
from pathlib import Path

import pytest

from tarry.backends.trees import discard_tree, remove_tree


def deep_tree(top: Path, levels: int, name: str) -> None:
    """Deeper than a path can say: made from level to level."""
    top.mkdir()
    here = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=here)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


@pytest.mark.parametrize(("levels", "name"), [(2, "a"), (1500, "q"), (40, "d" * 240)])
def test_a_tree_of_any_depth_is_removed(tmp_path: Path, levels: int, name: str) -> None:
    deep_tree(tmp_path / "top", levels, name)
    remove_tree(tmp_path / "top")
    remove_tree(tmp_path / "top")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_removed_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "kept/below").mkdir(parents=True)
    (tmp_path / "top/below").mkdir(parents=True)
    for link in (tmp_path / "top/link", tmp_path / "top/below/link", tmp_path / "itself"):
        link.symlink_to(tmp_path / "kept")
    remove_tree(tmp_path / "top")
    remove_tree(tmp_path / "itself")
    assert [path.name for path in tmp_path.rglob("*")] == ["kept", "below"]


def test_what_cannot_be_removed_stays_and_fails_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "not yours", str(path))

    (tmp_path / "top").mkdir()
    monkeypatch.setattr(Path, "rmdir", refuse)
    discard_tree(tmp_path / "top")
    assert (tmp_path / "top").exists()
