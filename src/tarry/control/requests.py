"""What the commands are given: one frozen value per operation, already checked for shape by the door."""

from dataclasses import dataclass, field

from tarry.core.catalog import AsyncInferenceConfig, Container, JsonObject, Variant
from tarry.core.rollout import DeploymentConfig

Tags = tuple[tuple[str, str], ...]
"""Key and value, in the order in which they came; a key may wrongly come twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateModel:
    """A model to be made."""

    name: str
    containers: tuple[Container, ...]
    container_is_primary: bool = True
    execution_role_arn: str | None = None
    network_isolation: bool = False
    described_back: JsonObject = field(default_factory=dict)
    tags: Tags = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateEndpointConfig:
    """An endpoint configuration to be made."""

    name: str
    variants: tuple[Variant, ...]
    async_inference: AsyncInferenceConfig
    network_isolation: bool = False
    described_back: JsonObject = field(default_factory=dict)
    tags: Tags = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateEndpoint:
    """An endpoint to be made."""

    name: str
    config_name: str
    deployment_config: DeploymentConfig | None = None
    """Kept for updates that ask to retain it; a first deployment has nothing to shift from."""
    tags: Tags = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateEndpoint:
    """An endpoint to be moved to another configuration; what is retained comes from the variants that run now."""

    name: str
    config_name: str
    retain_counts: bool = False
    retain_weights: bool = False
    deployment_config: DeploymentConfig | None = None
    retain_deployment_config: bool = False
    """Without a DeploymentConfig: that of the last update that had one."""
