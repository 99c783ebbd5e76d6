"""Every instance wants its own copy of the model in ``/opt/ml/model``, and downloading gigabytes for each would be slow.

An archive, an object or all objects under a prefix are fetched once per location and ETags, into ``<directory>/<hash>``;
instances get hard links to the cached files, which are read-only, in directories of their own. Cached directories appear whole,
by a rename, after their files are on disk; what a crash left under a temporary name is removed at the next start.
"""

import asyncio
import contextlib
import hashlib
import os
import threading
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar, cast
from weakref import WeakValueDictionary

import structlog

from tarry.backends.model_archive import TOO_LARGE, ArchiveBounds, ArchiveRefused, require_room, seal, unpack
from tarry.backends.model_files import ModelFile, file_name, files_under
from tarry.backends.trees import discard_tree
from tarry.core.catalog import DataForm, ModelDataSource
from tarry.core.errors import (
    BucketNotFound,
    DependencyError,
    InvalidRequest,
    ModelDataError,
    ObjectNotFound,
    TarryError,
    Throttled,
)
from tarry.core.names import S3Location
from tarry.files import sync
from tarry.ports import ListedObject, ObjectStore, OpenObject

log = structlog.get_logger(__name__)

E = TypeVar("E", bound=BaseException)

_TEMPORARY = ".new-"
_DOWNLOADS_MAX = 4
_WRITE_BYTES = 1024 * 1024


class ModelData:
    """Fetches model data, keeps them as files, and lays them out for instances."""

    def __init__(self, objects: ObjectStore, directory: Path, bounds: ArchiveBounds | None = None) -> None:
        """``directory`` is the cache; it belongs to this server alone."""
        self._objects = objects
        self._directory = directory
        self._bounds = bounds or ArchiveBounds()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = (
            WeakValueDictionary()
        )  # one is there while somebody holds or awaits it

    async def start(self) -> None:
        """Remove what a crash left unfinished. A leftover that cannot be removed is logged; it never keeps the server down."""
        self._directory.mkdir(parents=True, exist_ok=True)
        for left in self._directory.glob(f"{_TEMPORARY}*"):
            await asyncio.to_thread(discard_tree, left)

    async def lay_out(self, source: ModelDataSource | None, destination: Path, *, timeout_s: float) -> None:
        """Make ``destination`` a new directory with the model's files; empty without a source (the image brings the model).

        Errors: ModelDataError in AWS's words; it says whether the data are missing, damaged, too large or slow. Cancelling
        leaves nothing in the cache; the destination is the caller's to remove.
        """
        if source is None:
            destination.mkdir(parents=True)
            return
        url = source.s3_uri
        try:
            async with asyncio.timeout(timeout_s):
                cached = await self._cached(source)
                await asyncio.to_thread(_link_tree, cached, destination)
        except TimeoutError as error:
            raise ModelDataError(
                f'Failed to download model data archive from URL "{url}". It was not unpacked within {timeout_s:g} seconds. '
                "Increase ModelDataDownloadTimeoutInSeconds."
            ) from error
        except OSError as error:
            raise ModelDataError(f'Failed to store model data archive from URL "{url}". {error.strerror}.') from error

    async def _cached(self, source: ModelDataSource) -> Path:
        url = source.s3_uri
        try:
            location = S3Location.parse(url)
            if source.form is DataForm.PREFIX:
                return await self._cached_prefix(url, location)
            return await self._cached_object(source, location)
        except (ObjectNotFound, BucketNotFound) as error:
            raise ModelDataError(f"Could not find model data at {url}.") from error
        except InvalidRequest as error:
            raise ModelDataError(f"Could not find model data at {url}. {error}") from error
        except ArchiveRefused as error:
            raise _refused(url, str(error)) from error
        except ModelDataError:
            raise
        except (DependencyError, Throttled) as error:
            raise ModelDataError(f'Failed to download model data archive from URL "{url}". {error}') from error

    async def _cached_object(self, source: ModelDataSource, location: S3Location) -> Path:
        async with self._objects.open(location) as opened:
            if source.etag is not None and source.etag.strip('"') != opened.etag:
                raise ModelDataError(
                    f"Could not find model data at {source.s3_uri} with ETag {source.etag}: the object there has {opened.etag}."
                )

            async def fill(work: Path) -> None:
                if source.form is DataForm.OBJECT:
                    (work / "model").mkdir()
                    await self._download(opened, work / "model" / file_name(location.key), self._bounds.unpacked_bytes_max)
                    await asyncio.to_thread(seal, work / "model")
                else:
                    await self._download(opened, work / "archive", self._bounds.archive_bytes_max)
                    await self._unpack(work / "archive", work / "model")

            return await self._entry(f"{source.form}\n{location}\n{opened.etag}\n{opened.size}", source.s3_uri, fill)

    async def _cached_prefix(self, url: str, location: S3Location) -> Path:
        """The listing is the identity: the same keys with the same ETags are the same model."""
        listed = [one async for one in _at_most(self._objects.list(location), self._bounds.members_max)]
        files = files_under(location.key, listed, self._bounds)
        if not files:
            raise ObjectNotFound(f"There is no object under {location}.")

        async def fill(work: Path) -> None:
            (work / "model").mkdir()
            gate = asyncio.Semaphore(_DOWNLOADS_MAX)
            async with asyncio.TaskGroup() as group:
                for file in files:
                    await gate.acquire()
                    task = group.create_task(self._fetch_file(location.bucket, file, work / "model"))
                    task.add_done_callback(lambda _: gate.release())
            await asyncio.to_thread(seal, work / "model")

        identity = "\n".join(f"{one.listed.etag} {one.listed.size} {one.listed.key}" for one in files)
        try:
            return await self._entry(f"Prefix\n{location}\n{identity}", url, fill)
        except* TarryError as group:
            raise _first(group) from group
        except* OSError as group:
            raise _first(group) from group

    async def _fetch_file(self, bucket: str, file: ModelFile, model: Path) -> None:
        target = model / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        async with self._objects.open(S3Location(bucket, file.listed.key)) as opened:
            if opened.etag != file.listed.etag:
                raise ModelDataError(f"The object s3://{bucket}/{file.listed.key} changed while the model was being downloaded.")
            await self._download(opened, target, file.listed.size)

    async def _entry(self, identity: str, url: str, fill: Callable[[Path], Awaitable[None]]) -> Path:
        """The cached directory of this identity; ``fill`` makes ``model`` in a work directory where there is none yet."""
        key = hashlib.sha256(identity.encode()).hexdigest()[:32]
        async with self._locks.setdefault(key, asyncio.Lock()):
            cached = self._directory / key
            if not cached.exists():
                log.info("fetching model data", url=url)
                work = self._directory / f"{_TEMPORARY}{uuid.uuid4().hex}"
                work.mkdir()
                try:
                    await fill(work)
                    (work / "model").rename(cached)
                    await asyncio.to_thread(sync, self._directory)
                finally:
                    await asyncio.to_thread(discard_tree, work)
            return cached

    async def _download(self, opened: OpenObject, file: Path, bytes_max: int) -> None:
        if opened.size > bytes_max:
            raise ArchiveRefused(TOO_LARGE)
        require_room(file.parent, opened.size, self._bounds)
        written, pending = 0, bytearray()
        with file.open("wb") as target:
            async for chunk in opened.chunks:
                pending += chunk
                written += len(chunk)
                if written > bytes_max:
                    raise ArchiveRefused(TOO_LARGE)
                if len(pending) >= _WRITE_BYTES:
                    require_room(file.parent, len(pending), self._bounds)  # others may have taken what was there
                    await asyncio.to_thread(target.write, bytes(pending))
                    pending.clear()
            await asyncio.to_thread(target.write, bytes(pending))

    async def _unpack(self, archive: Path, model: Path) -> None:
        """In a thread; a cancel waits until the thread has noticed, since its directory is removed afterwards."""
        stop = threading.Event()
        thread = asyncio.create_task(asyncio.to_thread(unpack, archive, model, self._bounds, stop))
        try:
            await asyncio.shield(thread)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.wait({thread})
            with contextlib.suppress(ArchiveRefused, OSError):
                thread.result()
            raise


async def _at_most(listed: AsyncIterator[ListedObject], count_max: int) -> AsyncIterator[ListedObject]:
    """The listing up to a bound, so that a whole bucket does not end up in memory."""
    count = 0
    async for one in listed:
        count += 1
        if count > count_max:
            raise ArchiveRefused(TOO_LARGE)
        yield one


def _first(group: BaseExceptionGroup[E]) -> E:
    """One of the errors of a group: all downloads of a model fail together, and one reason is told."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return cast("E", error)


def _refused(url: str, reason: str) -> ModelDataError:
    # AWS: the frame of this sentence, as FailureReason shows it (amazon-sagemaker-examples and SDK issues).
    return ModelDataError(f'Failed to extract model data archive from URL "{url}". {reason}')


def _link_tree(source: Path, destination: Path) -> None:
    """Directories of its own, files shared by hard link: a new file stays private, and the cache may be emptied at any time."""
    for folder, directories, names in os.walk(source):
        here = destination / Path(folder).relative_to(source)
        here.mkdir(parents=True)
        links = [name for name in directories if Path(folder, name).is_symlink()]
        for name in (*names, *links):
            original = Path(folder, name)
            if original.is_symlink():
                (here / name).symlink_to(original.readlink())
            else:
                (here / name).hardlink_to(original)
