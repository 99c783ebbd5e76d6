"""The catalogue of images, with and without a server."""

import os
from pathlib import Path

from tarry.backends.added_images import AddedImages
from tarry.backends.environments import BuildRules, Progress
from tarry.backends.images import ImageCatalogue
from tarry.bootstrap.directory import DataDirectory, ServerInfo
from tarry.core.errors import InvalidRequest
from tarry.settings import Settings, load


def added_images(data_dir: Path) -> AddedImages:
    """What users have added to a data directory."""
    return AddedImages(data_dir.absolute() / "images")


def open_catalogue(settings: Settings, progress: Progress | None = None, owner: str | None = None) -> ImageCatalogue:
    """The images of a server with these settings; ``owner`` is the token of its engine. Errors: InvalidRequest."""
    timeout_s = settings.engine.build_timeout_s
    rules = BuildRules(timeout_s=timeout_s) if owner is None else BuildRules(timeout_s=timeout_s, owner=owner)
    added = added_images(settings.data_dir)
    return ImageCatalogue(settings.images.directories, environments_of(settings), progress, added, rules)


def environments_of(settings: Settings) -> Path:
    """Where a server with these settings keeps the images' environments."""
    return (settings.environments_dir or settings.data_dir / "environments").absolute()


def engine_kind(data_dir: Path) -> str:
    """That of the server that runs on a data directory, else what its settings say. Errors: InvalidRequest."""
    running = _running(data_dir)
    return running.engine if running is not None and running.engine else load(data_dir, {}).engine.kind


def _running(data_dir: Path) -> ServerInfo | None:
    try:
        return DataDirectory(data_dir).read_server()
    except (InvalidRequest, OSError):
        return None


def catalogue_of(data_dir: Path | None, environments: Path | None, progress: Progress | None = None) -> ImageCatalogue:
    """The images of a data directory, or without one the built-in ones. Errors: InvalidRequest.

    Their environments are where the server has them that runs on it, unless ``environments`` says where.
    """
    if data_dir is not None:
        if environments is None and (running := _running(data_dir)) is not None and running.environments:
            environments = Path(running.environments)
        return open_catalogue(load(data_dir, {"environments_dir": environments}), progress)
    return ImageCatalogue((), environments or default_environments(), progress)


def default_environments() -> Path:
    """Where the environments of images are kept that no server has built."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tarry" / "environments"
