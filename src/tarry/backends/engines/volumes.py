"""Where a container finds its model data: everything below one directory, as below ``/opt/ml``."""

import time
from pathlib import Path

from tarry.backends.model_data import ModelData
from tarry.core.errors import InstanceStartError
from tarry.ports import ContainerSpec

MODEL = "model"
CHANNELS = "additional-model-data-sources"  # AWS: developer guide, "additional model data sources"


async def lay_out(model_data: ModelData, container: ContainerSpec, base: Path, timeout_s: int) -> None:
    """All model data of a container, within one time limit; ``base`` has neither directory yet. Errors: ModelDataError."""
    deadline = time.monotonic() + timeout_s
    await model_data.lay_out(container.model_data, base / MODEL, timeout_s=timeout_s)
    for channel, source in container.additional_model_data.items():
        await model_data.lay_out(source, base / CHANNELS / channel, timeout_s=max(deadline - time.monotonic(), 0.0))


def instance_home(directory: Path, instance_id: str) -> Path:
    """An instance's own directory. Errors: InstanceStartError for an id that would lead elsewhere."""
    if not instance_id or "/" in instance_id or "\0" in instance_id or instance_id in {".", ".."}:
        raise InstanceStartError(f"{instance_id!r} cannot be the id of an instance.")
    return directory / "instances" / instance_id
