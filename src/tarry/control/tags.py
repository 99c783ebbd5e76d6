"""Tags: a few words of the caller's own on a resource, kept and given back."""

from collections.abc import Callable

from tarry.control.context import Context, Kind, tags_change
from tarry.control.requests import Tags
from tarry.core.catalog import TagSet
from tarry.core.errors import Conflict, InvalidRequest, LimitExceeded, NotFound

TAGS_MAX = 50  # AWS: AddTags API reference
_TRIES = 5


def checked_tags(tags: Tags) -> dict[str, str]:
    """The tags by key. Errors: InvalidRequest (a key twice, a reserved key), LimitExceeded."""
    by_key: dict[str, str] = {}
    for key, value in tags:
        if key in by_key:
            raise InvalidRequest(f"The tag key {key!r} was given twice in one request.")
        if key.lower().startswith("aws:"):
            # AWS: keys that begin with aws: are reserved (Tag API reference).
            raise InvalidRequest(f"The tag key {key!r} is not possible: keys that begin with 'aws:' are reserved.")
        by_key[key] = value
    _check_number(by_key)
    return by_key


class TagCommands:
    """AddTags, ListTags, DeleteTags on models, endpoint configurations and endpoints."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def add(self, arn: str, tags: Tags) -> dict[str, str]:
        """Add tags, writing over those of equal keys; returns all of them. Errors: InvalidRequest, LimitExceeded, NotFound."""
        new = checked_tags(tags)
        return await self._change(arn, lambda old: old | new)

    async def remove(self, arn: str, keys: tuple[str, ...]) -> None:
        """Remove tags; keys that are not there change nothing. Errors: InvalidRequest, NotFound."""
        await self._change(arn, lambda old: {key: value for key, value in old.items() if key not in keys})

    async def list(self, arn: str) -> dict[str, str]:
        """All tags of a resource. Errors: InvalidRequest, NotFound."""
        arn = await self._resolve(arn)
        found = await self._context.store.get(TagSet, arn)
        return dict(found.tags) if found is not None else {}

    async def _change(self, arn: str, edit: Callable[[dict[str, str]], dict[str, str]]) -> dict[str, str]:
        arn = await self._resolve(arn)
        for _ in range(_TRIES):
            old = await self._context.store.get(TagSet, arn)
            tags = edit(dict(old.tags) if old is not None else {})
            _check_number(tags)
            try:
                await self._context.store.apply(*await tags_change(self._context.store, arn, tags))
            except Conflict:
                continue
            return tags
        raise Conflict(f"The tags of {arn} keep changing.")

    async def _resolve(self, arn: str) -> str:
        """The ARN as we write it, if there is such a resource."""
        context = self._context
        prefix = context.scope.arn("sagemaker", "")
        word, _, name = arn.removeprefix(prefix).partition("/")
        if not arn.startswith(prefix):
            raise InvalidRequest(f'Expected an ARN that begins with "{prefix}", got "{arn}".')
        if word == Kind.MODEL.arn_word:
            return (await context.model(name)).arn
        if word == Kind.ENDPOINT_CONFIG.arn_word:
            return (await context.endpoint_config(name)).arn
        if word == Kind.ENDPOINT.arn_word:
            return (await context.endpoint(name)).arn
        raise NotFound(word or "resource", arn)


def _check_number(tags: dict[str, str]) -> None:
    if len(tags) > TAGS_MAX:
        raise LimitExceeded(f"A resource can have at most {TAGS_MAX} tags, this would make {len(tags)}.")
