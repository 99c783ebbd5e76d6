"""Building an image's environment ahead of time, without a server."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from tarry.backends.images import ImageCatalogue


def build_image(
    reference: str, environments_dir: Path, progress: Callable[[str], None], directories: Sequence[Path] = ()
) -> None:
    """Build it; nothing to do if it exists. ``directories`` are those of ``[images]``. Errors: ImageNotFound, ImageBroken."""
    catalogue = ImageCatalogue(directories, environments_dir, progress)
    asyncio.run(catalogue.prepare(reference))
