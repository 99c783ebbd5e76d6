import asyncio
import gc
from pathlib import Path

import pytest
from tests.support.model_objects import ModelObjects, archive_of

from tarry.backends.model_archive import ArchiveBounds
from tarry.backends.model_data import ModelData
from tarry.core.errors import ModelDataError, ObjectDamaged, ObjectNotFound, TarryError, Throttled

URL = "s3://bucket/a/model.tar.gz"


def cached(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def test_without_a_url_the_directory_is_empty(tmp_path: Path) -> None:
    await ModelData(ModelObjects(), tmp_path / "models").lay_out(None, tmp_path / "i/model", timeout_s=5)
    assert list((tmp_path / "i/model").iterdir()) == []


async def test_one_download_serves_many_instances(tmp_path: Path) -> None:
    objects = ModelObjects({URL: archive_of({"model": b"1", "code/x.py": b"2"})})
    data = ModelData(objects, tmp_path / "models")
    await data.start()
    await asyncio.gather(*(data.lay_out(URL, tmp_path / f"i{n}/model", timeout_s=10) for n in range(3)))
    assert objects.downloads == 1
    for n in range(3):
        assert (tmp_path / f"i{n}/model/model").read_bytes() == b"1"
        (tmp_path / f"i{n}/model/code/own").touch()  # a new file is the instance's own
    assert len(cached(tmp_path / "models")) == 1
    await ModelData(objects, tmp_path / "models").lay_out(URL, tmp_path / "i4/model", timeout_s=10)
    assert objects.downloads == 1
    assert not (tmp_path / "i4/model/code/own").exists()


async def test_another_object_at_the_same_place_is_another_model(tmp_path: Path) -> None:
    objects = ModelObjects({URL: archive_of({"model": b"1"})})
    data = ModelData(objects, tmp_path / "models")
    await data.start()
    await data.lay_out(URL, tmp_path / "i1/model", timeout_s=10)
    objects.objects[URL] = archive_of({"model": b"2"})
    await data.lay_out(URL, tmp_path / "i2/model", timeout_s=10)
    assert (tmp_path / "i2/model/model").read_bytes() == b"2"
    assert (tmp_path / "i1/model/model").read_bytes() == b"1"


@pytest.mark.parametrize(
    ("url", "archive", "message"),
    [
        ("s3://bucket/none", b"", r"^Could not find model data at s3://bucket/none\.$"),
        ("ftp://bucket/none", b"", r"^Could not find model data at ftp://bucket/none\. Expected an S3 URI"),
        (URL, b"junk", rf'^Failed to extract model data archive from URL "{URL}"\. It is not a gzip'),
        (
            URL,
            b"x" * 6000,
            rf'^Failed to extract model data archive from URL "{URL}"\. The model data archive is too large\. Please',
        ),
        (URL, archive_of({"../evil": b""}), rf'^Failed to extract model data archive from URL "{URL}"\. The member "\.\./evil"'),
    ],
)
async def test_failures_are_told_in_awss_words_and_leave_nothing(tmp_path: Path, url: str, archive: bytes, message: str) -> None:
    data = ModelData(ModelObjects({URL: archive}), tmp_path / "models", ArchiveBounds(archive_bytes_max=5000))
    await data.start()
    with pytest.raises(ModelDataError, match=message):
        await data.lay_out(url, tmp_path / "i/model", timeout_s=10)
    assert cached(tmp_path / "models") == []


@pytest.mark.parametrize("error", [ObjectDamaged("cut short"), Throttled("too many files"), ObjectNotFound("no such key")])
@pytest.mark.parametrize("late", [False, True])
async def test_errors_of_the_store_become_model_data_errors(tmp_path: Path, error: TarryError, late: bool) -> None:
    objects = ModelObjects({URL: archive_of({"model": b"1"})})
    objects.open_error, objects.chunk_error = (None, error) if late else (error, None)
    data = ModelData(objects, tmp_path / "models")
    await data.start()
    with pytest.raises(ModelDataError, match=URL):
        await data.lay_out(URL, tmp_path / "i/model", timeout_s=10)
    assert cached(tmp_path / "models") == []


async def test_a_slow_download_ends_at_its_time_limit(tmp_path: Path) -> None:
    objects = ModelObjects({URL: archive_of({"model": b"1"})})
    objects.stuck = True
    data = ModelData(objects, tmp_path / "models")
    await data.start()
    with pytest.raises(ModelDataError, match="ModelDataDownloadTimeoutInSeconds"):
        await data.lay_out(URL, tmp_path / "i/model", timeout_s=0.05)
    assert cached(tmp_path / "models") == []
    objects.stuck = False
    await data.lay_out(URL, tmp_path / "i/model", timeout_s=10)  # and nothing stays locked


async def test_what_a_crash_left_is_removed_at_start(tmp_path: Path) -> None:
    objects = ModelObjects({URL: archive_of({"model": b"1"})})
    data = ModelData(objects, tmp_path / "models")
    await data.start()
    await data.lay_out(URL, tmp_path / "i/model", timeout_s=10)
    before = cached(tmp_path / "models")
    (tmp_path / "models/.new-abc").mkdir()
    (tmp_path / "models/.new-abc/archive").write_bytes(b"half")
    await ModelData(objects, tmp_path / "models").start()
    assert cached(tmp_path / "models") == before


async def test_no_lock_outlives_its_users(tmp_path: Path) -> None:
    objects = ModelObjects({URL: b"junk", "s3://bucket/good": archive_of({"model": b"1"})})
    data = ModelData(objects, tmp_path / "models")
    await data.start()
    for url in (URL, "s3://bucket/good"):
        await asyncio.gather(
            *(data.lay_out(url, tmp_path / f"{url[-1]}{n}", timeout_s=10) for n in range(3)), return_exceptions=True
        )
    gc.collect()  # a frame may be kept by the traceback of its error
    assert not data._locks
