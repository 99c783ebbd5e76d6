"""What the commands are given: one frozen value per operation, already checked for shape by the door."""

from dataclasses import dataclass, field

from tarry.core.catalog import AsyncInferenceConfig, Container, JsonObject, Variant

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
    described_back: JsonObject = field(default_factory=dict)
    tags: Tags = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateEndpoint:
    """An endpoint to be made."""

    name: str
    config_name: str
    tags: Tags = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateEndpoint:
    """An endpoint to be moved to another configuration; what is retained comes from the variants that run now."""

    name: str
    config_name: str
    retain_counts: bool = False
    retain_weights: bool = False
