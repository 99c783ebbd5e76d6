"""What a caller has described and not yet deployed: models and endpoint configurations.

Both are immutable once created. ``described_back`` holds members that have no meaning off AWS (a VPC, an image pull
secret): they are kept exactly as they came and shown again by Describe.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

JsonObject = Mapping[str, Any]

WEIGHT_MAX = (2 - 2**-23) * 2.0**127
"""The largest weight of a variant. AWS: a Float, of 32 bits (ProductionVariant, API reference)."""


class DataForm(StrEnum):
    """What lies at the S3 URI of a model's data."""

    ARCHIVE = "Archive"
    """One .tar.gz, to be unpacked."""
    OBJECT = "Object"
    """One file, taken as it is."""
    PREFIX = "Prefix"
    """All objects whose keys begin with it, as files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDataSource:
    """Where a model's files come from, and what happens to them on the way."""

    s3_uri: str
    form: DataForm = DataForm.ARCHIVE
    etag: str | None = None
    """Of the one object: another one there fails the start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """One container of a model. ``additional_model_data`` maps channel names to data beside the model's own."""

    image: str
    hostname: str | None = None
    model_data: ModelDataSource | None = None
    additional_model_data: Mapping[str, ModelDataSource] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    multi_model: bool = False
    """Its model data are many models, of which a request names one: kept, and refused by an asynchronous configuration."""
    described_back: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model: its containers, the role that they run under, and nothing that runs yet.

    Several containers are a serial inference pipeline: the answer of one is the input of the next.
    """

    id: str
    name: str
    arn: str
    containers: tuple[Container, ...]
    container_is_primary: bool = True
    """Given as PrimaryContainer (true) or in Containers (false): Describe answers in kind."""
    execution_role_arn: str | None
    created_at_us: int
    network_isolation: bool = False
    """Its containers are to reach nobody."""
    described_back: JsonObject = field(default_factory=dict)
    revision: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class InstancePool:
    """One of the instance types that a variant may run on. Lower priorities are tried first."""

    instance_type: str
    priority: int = 1
    model_name: str | None = None
    """In place of the variant's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One production variant of an endpoint configuration: it has an instance type, or pools of several."""

    name: str
    model_name: str
    instance_type: str | None = None
    pools: tuple[InstancePool, ...] = ()
    provision_timeout_s: int | None = None
    """How long instances that there is no capacity for are asked for before their start has failed; None: the server's."""
    initial_instance_count: int
    initial_weight: float = 1.0
    model_data_timeout_s: int = 3600
    startup_timeout_s: int = 480
    described_back: JsonObject = field(default_factory=dict)

    @property
    def types(self) -> tuple[InstancePool, ...]:
        """What it may run on, in the order in which it is tried."""
        if self.instance_type is not None:
            return (InstancePool(instance_type=self.instance_type),)
        return tuple(sorted(self.pools, key=lambda pool: pool.priority))


@dataclass(frozen=True, slots=True, kw_only=True)
class AsyncInferenceConfig:
    """Where answers go, who is told, and how many requests an instance works on at once."""

    s3_output_path: str
    s3_failure_path: str | None = None
    kms_key_id: str | None = None
    """Shown by Describe, and copied into each invocation."""
    success_topic: str | None = None
    error_topic: str | None = None
    include_response_on_success: bool = False
    include_response_on_error: bool = False
    max_concurrent_invocations_per_instance: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointConfig:
    """An endpoint configuration; always asynchronous, that is what Tarry serves."""

    id: str
    name: str
    arn: str
    variants: tuple[Variant, ...]
    async_inference: AsyncInferenceConfig
    created_at_us: int
    network_isolation: bool = False
    """As the model's: the containers of all its models are to reach nobody."""
    described_back: JsonObject = field(default_factory=dict)
    revision: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TagSet:
    """The tags of one resource; ``id`` is the resource's ARN."""

    id: str
    tags: Mapping[str, str]
    revision: int = 0
