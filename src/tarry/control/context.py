"""What every command works with, and the words for the three kinds of resources."""

from dataclasses import dataclass
from enum import Enum

from tarry.core.catalog import EndpointConfig, Model, TagSet
from tarry.core.endpoint import Endpoint
from tarry.core.errors import AlreadyExists, Conflict, NotFound
from tarry.core.names import Scope
from tarry.ports import Add, Change, Clock, Ids, ObjectStore, Remove, Replace, Store

_TRIES = 5


class Kind(Enum):
    """A kind of resource: its word in ARNs and its word in sentences.

    AWS: the sentences say "endpoint configuration" (aws/amazon-sagemaker-operator-for-k8s, sagemaker_client.go).
    """

    MODEL = ("model", "model")
    ENDPOINT_CONFIG = ("endpoint-config", "endpoint configuration")
    ENDPOINT = ("endpoint", "endpoint")

    def __init__(self, arn_word: str, word: str) -> None:
        self.arn_word = arn_word
        self.word = word


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The ports that commands use, and the account and region that they are for."""

    store: Store
    clock: Clock
    ids: Ids
    scope: Scope
    objects: ObjectStore

    def arn(self, kind: Kind, name: str) -> str:
        """The ARN of a resource."""
        return self.scope.sagemaker_arn(kind.arn_word, name)

    def not_found(self, kind: Kind, name: str) -> NotFound:
        """AWS's sentence for a missing resource, with its ARN."""
        return NotFound(kind.word, self.arn(kind, name))

    async def model(self, name: str) -> Model:
        """The model of this name. Errors: NotFound."""
        model = await self.store.named(Model, name)
        if model is None:
            raise self.not_found(Kind.MODEL, name)
        return model

    async def endpoint_config(self, name: str) -> EndpointConfig:
        """The endpoint configuration of this name. Errors: NotFound."""
        config = await self.store.named(EndpointConfig, name)
        if config is None:
            raise self.not_found(Kind.ENDPOINT_CONFIG, name)
        return config

    async def endpoint(self, name: str) -> Endpoint:
        """The live endpoint of this name. Errors: NotFound."""
        endpoint = await self.store.named(Endpoint, name)
        if endpoint is None:
            raise self.not_found(Kind.ENDPOINT, name)
        return endpoint

    async def endpoints_named(self, name: str) -> list[Endpoint]:
        """Every endpoint that has had this name, newest first, those deleted with records left too. Errors: NotFound (none)."""
        found = await self.store.find(Endpoint, name_key=name.lower())
        if not found:
            raise self.not_found(Kind.ENDPOINT, name)
        return found[::-1]

    async def create(self, kind: Kind, name: str, *changes: Change) -> None:
        """Apply the changes that make a new resource. Errors: AlreadyExists, with the ARN."""
        try:
            await self.store.apply(*changes)
        except AlreadyExists:
            raise AlreadyExists(kind.word, self.arn(kind, name)) from None

    async def remove(self, kind: Kind, entity: Model | EndpointConfig) -> None:
        """Remove a resource together with its tags. Errors: NotFound where somebody else was first."""
        for _ in range(_TRIES):
            tags = await self.store.get(TagSet, entity.arn)
            try:
                await self.store.apply(Remove(entity), *([Remove(tags)] if tags is not None else []))
            except Conflict:
                if not await self._exists(entity):
                    break
                continue
            return
        raise self.not_found(kind, entity.name)

    async def _exists(self, entity: Model | EndpointConfig) -> bool:
        if isinstance(entity, Model):
            return await self.store.get(Model, entity.id) is not None
        return await self.store.get(EndpointConfig, entity.id) is not None


async def tags_change(store: Store, arn: str, tags: dict[str, str]) -> list[Change]:
    """The changes that give a resource exactly these tags, whatever is left of an earlier one of the same name."""
    before = await store.get(TagSet, arn)
    if before is None:
        return [Add(TagSet(id=arn, tags=tags))] if tags else []
    if not tags:
        return [Remove(before)]
    return [Replace(TagSet(id=arn, tags=tags, revision=before.revision))]
