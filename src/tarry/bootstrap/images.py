"""The catalogue of images, with and without a server."""

import os
from pathlib import Path

from tarry.backends.added_images import AddedImages
from tarry.backends.environments import BuildRules, Progress
from tarry.backends.images import ImageCatalogue
from tarry.settings import Settings, load


def added_images(data_dir: Path) -> AddedImages:
    """What users have added to a data directory."""
    return AddedImages(data_dir.absolute() / "images")


def open_catalogue(settings: Settings, progress: Progress | None = None, owner: str | None = None) -> ImageCatalogue:
    """The images of a server with these settings; ``owner`` is the token of its engine. Errors: InvalidRequest."""
    environments = settings.environments_dir or settings.data_dir.absolute() / "environments"
    timeout_s = settings.engine.build_timeout_s
    rules = BuildRules(timeout_s=timeout_s) if owner is None else BuildRules(timeout_s=timeout_s, owner=owner)
    return ImageCatalogue(settings.images.directories, environments, progress, added_images(settings.data_dir), rules)


def catalogue_of(data_dir: Path | None, environments: Path | None, progress: Progress | None = None) -> ImageCatalogue:
    """The images of a data directory, or without one the built-in ones. Errors: InvalidRequest."""
    if data_dir is not None:
        return open_catalogue(load(data_dir, {"environments_dir": environments}), progress)
    return ImageCatalogue((), environments or default_environments(), progress)


def default_environments() -> Path:
    """Where the environments of images are kept that no server has built."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tarry" / "environments"
