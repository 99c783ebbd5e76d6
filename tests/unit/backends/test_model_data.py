import asyncio
import gc
import hashlib
import os
import threading
from pathlib import Path

import pytest
from tests.support.model_objects import ModelObjects, archive_of

from tarry.backends import model_archive, model_data
from tarry.backends.model_archive import ArchiveBounds
from tarry.backends.model_data import ModelData
from tarry.core.catalog import DataForm, ModelDataSource
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
    await asyncio.gather(*(data.lay_out(ModelDataSource(s3_uri=URL), tmp_path / f"i{n}/model", timeout_s=10) for n in range(3)))
    assert objects.downloads == 1
    for n in range(3):
        assert (tmp_path / f"i{n}/model/model").read_bytes() == b"1"
        (tmp_path / f"i{n}/model/code/own").touch()  # a new file is the instance's own
    assert len(cached(tmp_path / "models")) == 1
    await ModelData(objects, tmp_path / "models").lay_out(ModelDataSource(s3_uri=URL), tmp_path / "i4/model", timeout_s=10)
    assert objects.downloads == 1
    assert not (tmp_path / "i4/model/code/own").exists()


async def test_another_object_at_the_same_place_is_another_model(tmp_path: Path) -> None:
    objects = ModelObjects({URL: archive_of({"model": b"1"})})
    data = ModelData(objects, tmp_path / "models")
    await data.start()
    await data.lay_out(ModelDataSource(s3_uri=URL), tmp_path / "i1/model", timeout_s=10)
    objects.objects[URL] = archive_of({"model": b"2"})
    await data.lay_out(ModelDataSource(s3_uri=URL), tmp_path / "i2/model", timeout_s=10)
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
        await data.lay_out(ModelDataSource(s3_uri=url), tmp_path / "i/model", timeout_s=10)
    assert cached(tmp_path / "models") == []


@pytest.mark.parametrize("form", [DataForm.ARCHIVE, DataForm.OBJECT])
async def test_what_the_disk_has_no_room_for_is_not_downloaded(tmp_path: Path, form: DataForm) -> None:
    objects = ModelObjects({URL: b"x" * 1000})
    data = ModelData(objects, tmp_path / "models", ArchiveBounds(disk_reserve_bytes=1 << 60))
    await data.start()
    with pytest.raises(ModelDataError, match="It needs 1000 bytes more on the disk of the data directory, where 0 are free"):
        await data.lay_out(ModelDataSource(s3_uri=URL, form=form), tmp_path / "i/model", timeout_s=10)
    assert objects.downloads == 0
    assert cached(tmp_path / "models") == []


async def test_room_that_others_take_during_a_download_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = iter([10_000_000, 10_000_000, 0])
    monkeypatch.setattr(model_archive, "free_bytes", lambda directory: next(room))
    data = ModelData(ModelObjects({URL: b"x" * 5_000_000}), tmp_path / "models")
    await data.start()
    with pytest.raises(ModelDataError, match="where 0 are free"):
        await data.lay_out(ModelDataSource(s3_uri=URL, form=DataForm.OBJECT), tmp_path / "i/model", timeout_s=10)
    assert cached(tmp_path / "models") == []


@pytest.mark.parametrize("error", [ObjectDamaged("cut short"), Throttled("too many files"), ObjectNotFound("no such key")])
@pytest.mark.parametrize("late", [False, True])
async def test_errors_of_the_store_become_model_data_errors(tmp_path: Path, error: TarryError, late: bool) -> None:
    objects = ModelObjects({URL: archive_of({"model": b"1"})})
    objects.open_error, objects.chunk_error = (None, error) if late else (error, None)
    data = ModelData(objects, tmp_path / "models")
    await data.start()
    with pytest.raises(ModelDataError, match=URL):
        await data.lay_out(ModelDataSource(s3_uri=URL), tmp_path / "i/model", timeout_s=10)
    assert cached(tmp_path / "models") == []


async def test_a_slow_download_ends_at_its_time_limit(tmp_path: Path) -> None:
    objects = ModelObjects({URL: archive_of({"model": b"1"})})
    objects.stuck = True
    data = ModelData(objects, tmp_path / "models")
    await data.start()
    with pytest.raises(ModelDataError, match="ModelDataDownloadTimeoutInSeconds"):
        await data.lay_out(ModelDataSource(s3_uri=URL), tmp_path / "i/model", timeout_s=0.05)
    assert cached(tmp_path / "models") == []
    objects.stuck = False
    await data.lay_out(ModelDataSource(s3_uri=URL), tmp_path / "i/model", timeout_s=10)  # and nothing stays locked


async def test_what_a_crash_left_is_removed_at_start(tmp_path: Path) -> None:
    objects = ModelObjects({URL: archive_of({"model": b"1"})})
    data = ModelData(objects, tmp_path / "models")
    await data.start()
    await data.lay_out(ModelDataSource(s3_uri=URL), tmp_path / "i/model", timeout_s=10)
    before = cached(tmp_path / "models")
    (tmp_path / "models/.new-abc").mkdir()
    (tmp_path / "models/.new-abc/archive").write_bytes(b"half")
    await ModelData(objects, tmp_path / "models").start()
    assert cached(tmp_path / "models") == before


@pytest.mark.parametrize("stuck", [False, True])
async def test_no_leftover_keeps_the_server_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stuck: bool) -> None:
    here = tmp_path / "models/.new-deep"
    here.mkdir(parents=True)
    for _ in range(1500):
        here = here / "q"
        here.mkdir()
    if stuck:
        monkeypatch.setattr(Path, "rmdir", lambda path: path.unlink())  # IsADirectoryError
    await ModelData(ModelObjects(), tmp_path / "models").start()
    assert cached(tmp_path / "models") == ([".new-deep"] if stuck else [])
    monkeypatch.undo()
    await ModelData(ModelObjects(), tmp_path / "models").start()
    assert cached(tmp_path / "models") == []


@pytest.mark.parametrize("form", [DataForm.ARCHIVE, DataForm.PREFIX])
async def test_deep_directories_are_refused_and_leave_nothing(tmp_path: Path, form: DataForm) -> None:
    deep = "/".join(["q"] * 400)
    objects = ModelObjects({URL: archive_of({deep: b""}), f"s3://bucket/models/a/{deep}": b"x"})
    data = ModelData(objects, tmp_path / "models")
    await data.start()
    with pytest.raises(ModelDataError, match="400 parts; there may be 100"):
        await data.lay_out(ModelDataSource(s3_uri=URL) if form is DataForm.ARCHIVE else PREFIX, tmp_path / "i", timeout_s=10)
    assert cached(tmp_path / "models") == []


async def test_no_lock_outlives_its_users(tmp_path: Path) -> None:
    objects = ModelObjects({URL: b"junk", "s3://bucket/good": archive_of({"model": b"1"})})
    data = ModelData(objects, tmp_path / "models")
    await data.start()
    for url in (URL, "s3://bucket/good"):
        await asyncio.gather(
            *(data.lay_out(ModelDataSource(s3_uri=url), tmp_path / f"{url[-1]}{n}", timeout_s=10) for n in range(3)),
            return_exceptions=True,
        )
    gc.collect()  # a frame may be kept by the traceback of its error
    assert not data._locks


# ------------------------------------------------------------------------------------------------------------- no archive

PREFIX = ModelDataSource(s3_uri="s3://bucket/models/a/", form=DataForm.PREFIX)


def tree(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


async def test_an_object_becomes_a_file_of_its_last_name(tmp_path: Path) -> None:
    objects = ModelObjects({"s3://bucket/a/b/weights.bin": b"1"})
    source = ModelDataSource(s3_uri="s3://bucket/a/b/weights.bin", form=DataForm.OBJECT)
    data = ModelData(objects, tmp_path / "models")
    await data.start()
    await data.lay_out(source, tmp_path / "i", timeout_s=10)
    assert tree(tmp_path / "i") == {"weights.bin": b"1"}


async def test_objects_under_a_prefix_become_a_tree(tmp_path: Path) -> None:
    under = {"model.json": b"1", "code/inference.py": b"2" * 5000, "ü/é f": b"", "folder/": b""}
    objects = ModelObjects(
        {f"s3://bucket/models/a/{name}": body for name, body in under.items()} | {"s3://bucket/models/ab": b"x"}
    )
    data = ModelData(objects, tmp_path / "models")
    await data.start()
    await data.lay_out(PREFIX, tmp_path / "i", timeout_s=10)
    del under["folder/"]
    assert tree(tmp_path / "i") == under
    assert (tmp_path / "i/model.json").stat().st_mode & 0o777 == 0o444
    downloads = objects.downloads
    await data.lay_out(PREFIX, tmp_path / "i2", timeout_s=10)
    assert objects.downloads == downloads
    objects.objects["s3://bucket/models/a/model.json"] = b"new"
    await data.lay_out(PREFIX, tmp_path / "i3", timeout_s=10)
    assert (tmp_path / "i3/model.json").read_bytes() == b"new"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["../up"], "cannot be the name of a file"),
        (["a/../../up"], "cannot be the name of a file"),
        (["/etc/passwd"], "cannot be the name of a file"),
        (["a//b"], "cannot be the name of a file"),
        (["./a"], "cannot be the name of a file"),
        (["nul\0"], "cannot be the name of a file"),
        ([" "], "cannot be the name of a file"),
        (["x" * 256], "is too long"),
        (["/".join(["d" * 200] * 20)], "is too long"),
        (["a", "a/b"], "a file and a directory"),
        ([], "Could not find model data"),
        (["folder/"], "Could not find model data"),
        ([f"f{n}" for n in range(6)], "too large"),
    ],
)
async def test_what_cannot_be_a_tree_is_refused(tmp_path: Path, names: list[str], words: str) -> None:
    objects = ModelObjects({f"s3://bucket/models/a/{name}": b"" if name.endswith("/") else b"x" for name in names})
    data = ModelData(objects, tmp_path / "models", ArchiveBounds(members_max=5))
    await data.start()
    with pytest.raises(ModelDataError, match=words):
        await data.lay_out(PREFIX, tmp_path / "i", timeout_s=10)
    assert cached(tmp_path / "models") == []
    assert not (tmp_path / "up").exists()


async def test_more_bytes_than_allowed_are_refused_before_any_is_fetched(tmp_path: Path) -> None:
    objects = ModelObjects({f"s3://bucket/models/a/{n}": b"x" * 60 for n in range(2)})
    data = ModelData(objects, tmp_path / "models", ArchiveBounds(unpacked_bytes_max=100))
    await data.start()
    with pytest.raises(ModelDataError, match="too large"):
        await data.lay_out(PREFIX, tmp_path / "i", timeout_s=10)
    assert objects.downloads == 0


async def test_one_failed_download_fails_the_whole_and_leaves_nothing(tmp_path: Path) -> None:
    objects = ModelObjects({f"s3://bucket/models/a/{n}": b"x" for n in range(9)})
    objects.chunk_error = ObjectDamaged("The file is missing.")
    data = ModelData(objects, tmp_path / "models")
    await data.start()
    with pytest.raises(ModelDataError, match="The file is missing"):
        await data.lay_out(PREFIX, tmp_path / "i", timeout_s=10)
    assert cached(tmp_path / "models") == []


async def test_an_object_with_another_etag_is_refused(tmp_path: Path) -> None:
    objects = ModelObjects({URL: archive_of({"model": b"1"})})
    with pytest.raises(ModelDataError, match="with ETag abc"):
        await ModelData(objects, tmp_path / "models").lay_out(
            ModelDataSource(s3_uri=URL, etag="abc"), tmp_path / "i", timeout_s=10
        )


async def test_a_slow_prefix_ends_at_the_time_limit(tmp_path: Path) -> None:
    objects = ModelObjects({f"s3://bucket/models/a/{n}": b"x" for n in range(9)})
    objects.stuck = True
    data = ModelData(objects, tmp_path / "models")
    await data.start()
    with pytest.raises(ModelDataError, match="ModelDataDownloadTimeoutInSeconds"):
        await data.lay_out(PREFIX, tmp_path / "i", timeout_s=0.05)
    assert cached(tmp_path / "models") == []


# ------------------------------------------------------------------------------------------------ what only a race would show


async def test_a_file_that_changed_after_the_listing_is_not_taken(tmp_path: Path) -> None:
    objects = ModelObjects({f"s3://bucket/models/a/{n}": b"old" for n in range(2)})
    objects.on_open = lambda location: objects.objects.update({str(location): b"new"})  # of the same size
    data = ModelData(objects, tmp_path / "models")
    await data.start()
    with pytest.raises(ModelDataError, match="changed while the model was being downloaded"):
        await data.lay_out(PREFIX, tmp_path / "i", timeout_s=10)
    assert cached(tmp_path / "models") == []


async def test_one_object_in_two_forms_is_two_models(tmp_path: Path) -> None:
    objects = ModelObjects({URL: archive_of({"model": b"1"})})
    data = ModelData(objects, tmp_path / "models")
    await data.start()
    await data.lay_out(ModelDataSource(s3_uri=URL), tmp_path / "unpacked", timeout_s=10)
    await data.lay_out(ModelDataSource(s3_uri=URL, form=DataForm.OBJECT), tmp_path / "whole", timeout_s=10)
    assert tree(tmp_path / "unpacked") == {"model": b"1"}
    assert list(tree(tmp_path / "whole")) == ["model.tar.gz"]


@pytest.mark.parametrize("form", [DataForm.ARCHIVE, DataForm.OBJECT])
async def test_more_bytes_than_were_announced_stop_at_the_bound(tmp_path: Path, form: DataForm) -> None:
    objects = ModelObjects({URL: archive_of({"model": os.urandom(9000)})})
    objects.said_size = 10
    bounds = ArchiveBounds(archive_bytes_max=5000) if form is DataForm.ARCHIVE else ArchiveBounds(unpacked_bytes_max=5000)
    data = ModelData(objects, tmp_path / "models", bounds)
    await data.start()
    with pytest.raises(ModelDataError, match="too large"):
        await data.lay_out(ModelDataSource(s3_uri=URL, form=form), tmp_path / "i", timeout_s=10)


async def test_a_single_object_is_read_only_and_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    objects = ModelObjects({"s3://bucket/weights.bin": b"1"})
    data = ModelData(objects, tmp_path / "models")
    await data.start()
    await data.lay_out(ModelDataSource(s3_uri="s3://bucket/weights.bin", form=DataForm.OBJECT), tmp_path / "i", timeout_s=10)
    assert (tmp_path / "i/weights.bin").stat().st_mode & 0o777 == 0o444
    assert synced == ["weights.bin", "model", "models"]  # the file, its directory, and the rename


async def test_a_listing_is_read_no_further_than_the_bound(tmp_path: Path) -> None:
    objects = ModelObjects({f"s3://bucket/models/a/{n:03}": b"x" for n in range(100)})
    data = ModelData(objects, tmp_path / "models", ArchiveBounds(members_max=5))
    await data.start()
    with pytest.raises(ModelDataError, match="too large"):
        await data.lay_out(PREFIX, tmp_path / "i", timeout_s=10)
    assert objects.listed == 6


@pytest.mark.parametrize("written", ["{}", '"{}"'])
async def test_an_etag_is_one_with_quotes_and_without(tmp_path: Path, written: str) -> None:
    body = archive_of({"model": b"1"})
    etag = written.format(hashlib.md5(body, usedforsecurity=False).hexdigest())
    data = ModelData(ModelObjects({URL: body}), tmp_path / "models")
    await data.start()
    await data.lay_out(ModelDataSource(s3_uri=URL, etag=etag), tmp_path / "i", timeout_s=10)
    assert tree(tmp_path / "i") == {"model": b"1"}


async def test_a_cancel_waits_for_the_thread_that_unpacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unpacking, told, ended = threading.Event(), threading.Event(), threading.Event()

    def slow(archive: Path, model: Path, bounds: ArchiveBounds, stop: threading.Event) -> None:
        model.mkdir()
        unpacking.set()
        assert stop.wait(30)
        told.wait(30)
        (model / "last").touch()  # fails where the directory has been removed meanwhile
        ended.set()

    monkeypatch.setattr(model_data, "unpack", slow)
    data = ModelData(ModelObjects({URL: b"x"}), tmp_path / "models")
    await data.start()
    task = asyncio.create_task(data.lay_out(ModelDataSource(s3_uri=URL), tmp_path / "i", timeout_s=30))
    assert await asyncio.to_thread(unpacking.wait, 30)
    task.cancel()
    try:
        for _ in range(20):
            await asyncio.sleep(0)
        assert not task.done()
    finally:
        told.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
    assert cached(tmp_path / "models") == []
