"""A sourcedir.tar.gz that instances unpack themselves: it comes whole, or the instance says that it did not."""

import gzip
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.support import user_code as common
from tests.support.model_objects import archive_of
from tests.support.xgboost_serving import source

FILES = {"inference.py": b"import helper", "helper.py": b"#" * 600}
WHOLE = archive_of(FILES)
TAR = gzip.decompress(WHOLE)
SECOND = 1024
"""Where the second member's header begins."""

Unpack = Callable[[Path, Path], None]


def by_common(archive: Path, place: Path) -> None:
    common.user_code.unpack(archive, place)


def by_xgboost(archive: Path, place: Path) -> None:
    variables = SimpleNamespace(submit_directory=str(archive), base_dir=place.parent, program="inference.py")
    assert source.fetch(variables) == place


@pytest.fixture(params=[by_common, by_xgboost])
def unpack(request: pytest.FixtureRequest) -> Unpack:
    return request.param  # type: ignore[no-any-return]


def packed(change: Callable[[bytearray], None]) -> bytes:
    tar = bytearray(TAR)
    change(tar)
    return gzip.compress(bytes(tar))


def changed_header(tar: bytearray) -> None:
    tar[SECOND + 10] ^= 1


def lost_header(tar: bytearray) -> None:
    tar[SECOND : SECOND + 512] = bytes(512)


def cut_off(tar: bytearray) -> None:
    del tar[SECOND:]


def changed_byte() -> bytes:
    archive = bytearray(gzip.compress(TAR, compresslevel=0))
    archive[archive.index(b"####")] ^= 1
    return bytes(archive)


def test_a_whole_one_is_unpacked(tmp_path: Path, unpack: Unpack) -> None:
    (tmp_path / "sourcedir.tar.gz").write_bytes(WHOLE)
    unpack(tmp_path / "sourcedir.tar.gz", tmp_path / "code")
    assert {path.name: path.read_bytes() for path in (tmp_path / "code").iterdir()} == FILES


@pytest.mark.parametrize(
    "archive",
    [packed(changed_header), packed(lost_header), packed(cut_off), changed_byte(), WHOLE[:-8], WHOLE[:-8] + bytes(8)],
    ids=["changed header", "lost header", "cut off", "changed byte", "no checksum", "wrong checksum"],
)
def test_a_damaged_one_is_refused(tmp_path: Path, unpack: Unpack, archive: bytes) -> None:
    """tarfile took what it could not read for the end: files were missing without a word."""
    (tmp_path / "sourcedir.tar.gz").write_bytes(archive)
    with pytest.raises((source.NoSource, tarfile.TarError, OSError, EOFError)):
        unpack(tmp_path / "sourcedir.tar.gz", tmp_path / "code")
