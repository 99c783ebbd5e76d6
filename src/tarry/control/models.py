"""Commands on models: records, and a look whether the model data are there; nothing is fetched before an endpoint needs it."""

from tarry.control.context import Context, Kind, tags_change
from tarry.control.requests import CreateModel
from tarry.control.tags import checked_tags
from tarry.core.catalog import DataForm, Model, ModelDataSource
from tarry.core.errors import BucketNotFound, InvalidRequest, ObjectDamaged, ObjectNotFound
from tarry.core.names import S3Location
from tarry.ports import Add, Page, PageQuery

ENVIRONMENT_BYTES_MAX = 32 * 1024  # AWS: CreateModel API reference, ContainerDefinition.Environment


class ModelCommands:
    """CreateModel, DescribeModel, ListModels, DeleteModel."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def create(self, request: CreateModel) -> Model:
        """Make a model; durable when this returns. Errors: AlreadyExists, InvalidRequest, LimitExceeded, Throttled."""
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
                    await self._check_there(source, at_a_prefix=container.multi_model or source.form is DataForm.PREFIX)
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

    async def _check_there(self, source: ModelDataSource, *, at_a_prefix: bool) -> None:
        """Told now, it can be mended at once; what becomes of the data later, the start of an endpoint tells.

        AWS: the sentence, with status 400 (aws/aws-step-functions-data-science-sdk-python#61). OURS: of a prefix too.
        """
        location = S3Location.parse(source.s3_uri)
        try:
            if at_a_prefix:
                async for _ in self._context.objects.list(location):
                    return
            else:
                async with self._context.objects.open(location):
                    return
        except (ObjectNotFound, BucketNotFound):
            pass
        except ObjectDamaged:
            return
        raise InvalidRequest(f"Could not find model data at {source.s3_uri}.")

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
