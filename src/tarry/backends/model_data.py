"""Every instance wants its own copy of the model in ``/opt/ml/model``, and downloading gigabytes for each would be slow.

An archive is fetched and unpacked once per location and ETag, into ``<directory>/<hash>``; instances get hard links to the cached
files, which are read-only, in directories of their own. Cached directories appear whole, by a rename, after their files are on
disk; what a crash left under a temporary name is removed at the next start.
"""

import asyncio
import contextlib
import hashlib
import os
import shutil
import threading
import uuid
from pathlib import Path
from weakref import WeakValueDictionary

import structlog

from tarry.backends.model_archive import TOO_LARGE, ArchiveBounds, ArchiveRefused, unpack
from tarry.core.errors import BucketNotFound, DependencyError, InvalidRequest, ModelDataError, ObjectNotFound, Throttled
from tarry.core.names import S3Location
from tarry.files import sync
from tarry.ports import ObjectStore, OpenObject

log = structlog.get_logger(__name__)

_TEMPORARY = ".new-"
_WRITE_BYTES = 1024 * 1024


class ModelData:
    """Fetches model archives, keeps them unpacked, and lays them out for instances."""

    def __init__(self, objects: ObjectStore, directory: Path, bounds: ArchiveBounds | None = None) -> None:
        """``directory`` is the cache; it belongs to this server alone."""
        self._objects = objects
        self._directory = directory
        self._bounds = bounds or ArchiveBounds()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = (
            WeakValueDictionary()
        )  # one is there while somebody holds or awaits it

    async def start(self) -> None:
        """Remove what a crash left unfinished."""
        self._directory.mkdir(parents=True, exist_ok=True)
        for left in self._directory.glob(f"{_TEMPORARY}*"):
            await asyncio.to_thread(shutil.rmtree, left)

    async def lay_out(self, url: str | None, destination: Path, *, timeout_s: float) -> None:
        """Make ``destination`` a new directory with the model's files; empty without a URL (the image brings the model).

        Errors: ModelDataError in AWS's words; it says whether the archive is missing, damaged, too large or slow. Cancelling
        leaves nothing in the cache; the destination is the caller's to remove.
        """
        if url is None:
            destination.mkdir(parents=True)
            return
        try:
            async with asyncio.timeout(timeout_s):
                cached = await self._cached(url)
                await asyncio.to_thread(_link_tree, cached, destination)
        except TimeoutError as error:
            raise ModelDataError(
                f'Failed to download model data archive from URL "{url}". It was not unpacked within {timeout_s:g} seconds. '
                "Increase ModelDataDownloadTimeoutInSeconds."
            ) from error
        except OSError as error:
            raise ModelDataError(f'Failed to store model data archive from URL "{url}". {error.strerror}.') from error

    async def _cached(self, url: str) -> Path:
        try:
            location = S3Location.parse(url)
            async with self._objects.open(location) as archive:
                key = hashlib.sha256(f"{location}\n{archive.etag}\n{archive.size}".encode()).hexdigest()[:32]
                async with self._locks.setdefault(key, asyncio.Lock()):
                    if not (self._directory / key).exists():
                        await self._fetch(url, archive, self._directory / key)
        except (ObjectNotFound, BucketNotFound) as error:
            raise ModelDataError(f"Could not find model data at {url}.") from error
        except InvalidRequest as error:
            raise ModelDataError(f"Could not find model data at {url}. {error}") from error
        except ModelDataError:
            raise
        except (DependencyError, Throttled) as error:
            raise ModelDataError(f'Failed to download model data archive from URL "{url}". {error}') from error
        return self._directory / key

    async def _fetch(self, url: str, archive: OpenObject, cached: Path) -> None:
        if archive.size > self._bounds.archive_bytes_max:
            raise _refused(url, TOO_LARGE)
        log.info("fetching model data", url=url, size=archive.size)
        work = self._directory / f"{_TEMPORARY}{uuid.uuid4().hex}"
        work.mkdir()
        try:
            await self._download(url, archive, work / "archive")
            await self._unpack(url, work / "archive", work / "model")
            (work / "model").rename(cached)
            await asyncio.to_thread(sync, self._directory)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    async def _download(self, url: str, archive: OpenObject, file: Path) -> None:
        written, pending = 0, bytearray()
        with file.open("wb") as target:
            async for chunk in archive.chunks:
                pending += chunk
                written += len(chunk)
                if written > self._bounds.archive_bytes_max:
                    raise _refused(url, TOO_LARGE)
                if len(pending) >= _WRITE_BYTES:
                    await asyncio.to_thread(target.write, bytes(pending))
                    pending.clear()
            await asyncio.to_thread(target.write, bytes(pending))

    async def _unpack(self, url: str, archive: Path, model: Path) -> None:
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
        except ArchiveRefused as error:
            raise _refused(url, str(error)) from error


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
