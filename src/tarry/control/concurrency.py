"""How many requests an instance works on at once: what its configuration says, else what its type and its images suggest."""

from tarry.core.deployment import Deployment
from tarry.core.errors import Bug
from tarry.core.instance_types import LOCAL, default_concurrency
from tarry.ports import Engine, Images


class Concurrency:
    """Asks images what they say of themselves, and the engine for what ``local`` stands for."""

    def __init__(self, engine: Engine, images: Images) -> None:
        self._engine = engine
        self._images = images

    async def of(self, deployment: Deployment, variant_name: str, instance_type: str) -> int:
        """For an instance of this type of a deployment's variant. Errors: Bug where the deployment has no such variant."""
        said = deployment.config.async_inference.max_concurrent_invocations_per_instance
        if said is not None:
            return said
        variant = next((one for one in deployment.variants if one.variant.name == variant_name), None)
        if variant is None:
            raise Bug(f"Deployment {deployment.id} has no variant {variant_name!r}.")
        containers = variant.model_for(instance_type).containers
        images = [await self._images.served_at_once(one.image, one.environment) for one in containers]
        local_vcpus = (await self._engine.measure()).vcpus if instance_type == LOCAL else 0
        return default_concurrency(instance_type, images, local_vcpus)
