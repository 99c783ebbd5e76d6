"""Commands on models: records only; nothing is fetched or started before an endpoint needs it."""

from tarry.control.context import Context, Kind, tags_change
from tarry.control.requests import CreateModel
from tarry.control.tags import checked_tags
from tarry.core.catalog import Model
from tarry.core.errors import InvalidRequest
from tarry.core.names import S3Location
from tarry.ports import Add, Page, PageQuery

ENVIRONMENT_BYTES_MAX = 32 * 1024  # AWS: CreateModel API reference, ContainerDefinition.Environment


class ModelCommands:
    """CreateModel, DescribeModel, ListModels, DeleteModel."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def create(self, request: CreateModel) -> Model:
        """Make a model; durable when this returns. Errors: AlreadyExists, InvalidRequest, LimitExceeded."""
        size = sum(
            len(key.encode()) + len(value.encode())
            for container in request.containers
            for key, value in container.environment.items()
        )
        if size > ENVIRONMENT_BYTES_MAX:
            raise InvalidRequest(
                f"Environment must have at most {ENVIRONMENT_BYTES_MAX} bytes in all keys and values, got {size}. "
                "Put larger settings into the model archive."
            )
        for container in request.containers:
            for source in (container.model_data, *container.additional_model_data.values()):
                if source is not None:
                    S3Location.parse(source.s3_uri)
        context = self._context
        model = Model(
            id=context.ids.uuid(),
            name=request.name,
            arn=context.arn(Kind.MODEL, request.name),
            containers=request.containers,
            container_is_primary=request.container_is_primary,
            execution_role_arn=request.execution_role_arn,
            created_at_us=context.clock.now_us(),
            network_isolation=request.network_isolation,
            described_back=request.described_back,
        )
        tags = await tags_change(context.store, model.arn, checked_tags(request.tags))
        await context.create(Kind.MODEL, request.name, Add(model), *tags)
        return model

    async def describe(self, name: str) -> Model:
        """The model. Errors: NotFound."""
        return await self._context.model(name)

    async def list(self, query: PageQuery) -> Page[Model]:
        """One page of models. Errors: InvalidRequest."""
        return await self._context.store.page(Model, query)

    async def delete(self, name: str) -> None:
        """Remove the record and its tags. What runs has a copy and goes on. Errors: NotFound."""
        model = await self._context.model(name)
        await self._context.remove(Kind.MODEL, model)
