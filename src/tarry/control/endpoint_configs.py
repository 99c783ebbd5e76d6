"""Commands on endpoint configurations: checked as a whole when they are made, immutable afterwards."""

from tarry.control.context import Context, Kind, tags_change
from tarry.control.requests import CreateEndpointConfig
from tarry.control.tags import checked_tags
from tarry.core.catalog import WEIGHT_MAX, AsyncInferenceConfig, EndpointConfig, Model, Variant
from tarry.core.errors import InvalidRequest, LimitExceeded, NotSupported
from tarry.core.names import S3Location
from tarry.ports import Add, Page, PageQuery

INSTANCES_PER_VARIANT_MAX = 100
"""OURS: AWS's limit is a quota of the account; here it only guards one machine against a slip of the finger."""


class EndpointConfigCommands:
    """CreateEndpointConfig, DescribeEndpointConfig, ListEndpointConfigs, DeleteEndpointConfig."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def create(self, request: CreateEndpointConfig) -> EndpointConfig:
        """Make a configuration; durable when this returns.

        Errors: AlreadyExists, InvalidRequest, LimitExceeded, NotFound (a model that a variant names).
        """
        context = self._context
        # OURS: AWS allows one variant in an asynchronous configuration. Buckets make several as safe as one.
        _check_variants(request.variants)
        _check_output(request.async_inference)
        for variant in request.variants:
            for name in {variant.model_name, *(pool.model_name for pool in variant.pools if pool.model_name is not None)}:
                _check_model(await context.model(name))
        config = EndpointConfig(
            id=context.ids.uuid(),
            name=request.name,
            arn=context.arn(Kind.ENDPOINT_CONFIG, request.name),
            variants=request.variants,
            async_inference=request.async_inference,
            created_at_us=context.clock.now_us(),
            network_isolation=request.network_isolation,
            described_back=request.described_back,
        )
        tags = await tags_change(context.store, config.arn, checked_tags(request.tags))
        await context.create(Kind.ENDPOINT_CONFIG, request.name, Add(config), *tags)
        return config

    async def describe(self, name: str) -> EndpointConfig:
        """The configuration. Errors: NotFound."""
        return await self._context.endpoint_config(name)

    async def list(self, query: PageQuery) -> Page[EndpointConfig]:
        """One page of configurations. Errors: InvalidRequest."""
        return await self._context.store.page(EndpointConfig, query)

    async def delete(self, name: str) -> None:
        """Remove the record and its tags, even while an endpoint uses it: what runs has a copy. Errors: NotFound."""
        config = await self._context.endpoint_config(name)
        await self._context.remove(Kind.ENDPOINT_CONFIG, config)


def check_count(count: int) -> None:
    """Raise LimitExceeded for more instances of one variant than any machine should start, InvalidRequest below 0."""
    if count < 0:
        raise InvalidRequest(f"An instance count must be 0 or more, got {count}.")
    if count > INSTANCES_PER_VARIANT_MAX:
        raise LimitExceeded(f"A variant can have at most {INSTANCES_PER_VARIANT_MAX} instances, got {count}.")


def check_weight(weight: float) -> None:
    """Raise InvalidRequest for a weight that is not a finite number of at least 0, or that does not fit into 32 bits."""
    if not 0 <= weight <= WEIGHT_MAX:
        raise InvalidRequest(f"A variant's weight must be a finite number from 0 to {WEIGHT_MAX:.8g}, got {weight}.")


def _check_model(model: Model) -> None:
    if any(container.multi_model for container in model.containers):
        raise NotSupported(
            f"The model {model.name} is in MultiModel mode, which is not supported: InvokeEndpointAsync cannot name one of its "
            "models. Give each model an endpoint or a variant of its own."
        )


def _check_variants(variants: tuple[Variant, ...]) -> None:
    names: set[str] = set()
    for variant in variants:
        # OURS: AWS says nothing of names that differ in case alone. Like those of endpoints they would mean one thing to a person
        # and to a file system, and logs have a directory for each variant.
        if variant.name.lower() in names:
            raise InvalidRequest(f'The variant name "{variant.name}" was non-unique within the request.')
        names.add(variant.name.lower())
        if variant.initial_instance_count < 1:
            raise InvalidRequest(
                f"InitialInstanceCount must be 1 or more, got {variant.initial_instance_count}. "
                "UpdateEndpointWeightsAndCapacities takes an endpoint to 0 instances once it is InService."
            )
        types = [pool.instance_type for pool in variant.pools]
        if len(set(types)) < len(types):
            raise InvalidRequest(f"Each of the InstancePools of variant {variant.name} must have an InstanceType of its own.")
        check_count(variant.initial_instance_count)
        check_weight(variant.initial_weight)


def _check_output(config: AsyncInferenceConfig) -> None:
    for path in (config.s3_output_path, config.s3_failure_path):
        if path is not None:
            S3Location.parse(path)
