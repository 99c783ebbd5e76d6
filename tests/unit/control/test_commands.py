"""What callers are told at once: sentences, ARNs, refusals."""

from dataclasses import replace

import pytest
from tests.support.control import World, a_variant

from tarry.control.requests import CreateEndpoint, CreateEndpointConfig, CreateModel, UpdateEndpoint
from tarry.core.catalog import AsyncInferenceConfig, Container, DataForm, Model, ModelDataSource, TagSet, Variant
from tarry.core.deployment import DesiredCapacity
from tarry.core.errors import AlreadyExists, InProgress, InvalidRequest, LimitExceeded, NotFound
from tarry.core.names import S3Location
from tarry.ports import PageQuery

ARN = "arn:aws:sagemaker:us-east-1:123456789012"
MODEL = CreateModel(name="My-Model", containers=(Container(image="stub:1"),))


@pytest.fixture
def world() -> World:
    return World()


def config(*variants: Variant, name: str = "Conf", output: str = "s3://b/out") -> CreateEndpointConfig:
    return CreateEndpointConfig(name=name, variants=variants, async_inference=AsyncInferenceConfig(s3_output_path=output))


async def test_the_arn_has_the_name_in_lower_case(world: World) -> None:
    model = await world.commands.models.create(MODEL)
    assert (model.name, model.arn) == ("My-Model", f"{ARN}:model/my-model")
    assert await world.commands.models.describe("MY-MODEL") == model


async def test_duplicates_are_refused_in_words_that_the_sdk_swallows(world: World) -> None:
    await world.model_and_config()
    await world.commands.models.create(MODEL)
    with pytest.raises(AlreadyExists) as told:
        await world.commands.models.create(replace(MODEL, name="my-model"))
    assert str(told.value) == f'Cannot create already existing model "{ARN}:model/my-model".'
    with pytest.raises(AlreadyExists) as told:
        await world.commands.endpoint_configs.create(config(a_variant(), name="C"))
    assert str(told.value) == f'Cannot create already existing endpoint configuration "{ARN}:endpoint-config/c".'
    await world.commands.endpoints.create(CreateEndpoint(name="Ep", config_name="c"))
    with pytest.raises(AlreadyExists) as told:
        await world.commands.endpoints.create(CreateEndpoint(name="EP", config_name="c"))
    assert str(told.value) == f'Cannot create already existing endpoint "{ARN}:endpoint/ep".'


def model_of(source: ModelDataSource, additional: bool) -> CreateModel:
    image = MODEL.containers[0]
    container = replace(image, additional_model_data={"c": source}) if additional else replace(image, model_data=source)
    return replace(MODEL, containers=(container,))


@pytest.mark.parametrize(
    ("uri", "form", "there"),
    [
        ("s3://b/m.tar.gz", DataForm.ARCHIVE, True),
        ("s3://b/m.tar", DataForm.ARCHIVE, False),
        ("s3://nobody/m.tar.gz", DataForm.ARCHIVE, False),
        ("s3://b/damaged", DataForm.OBJECT, True),  # that is told where it is read
        ("s3://b/none", DataForm.OBJECT, False),
        ("s3://b/m/", DataForm.PREFIX, True),
        ("s3://b/none/", DataForm.PREFIX, False),
        ("s3://nobody/m/", DataForm.PREFIX, False),
    ],
)
@pytest.mark.parametrize("additional", [False, True])
async def test_model_data_must_be_there(world: World, uri: str, form: DataForm, there: bool, additional: bool) -> None:
    world.objects.put("s3://b/damaged", b"x")
    world.objects.damaged.add(S3Location.parse("s3://b/damaged"))
    source = ModelDataSource(s3_uri=uri, form=form)
    create = world.commands.models.create(model_of(source, additional))
    if there:
        assert (await create).name == "My-Model"
    else:
        with pytest.raises(InvalidRequest) as told:
            await create
        assert str(told.value) == f"Could not find model data at {uri}."
        assert await world.store.named(Model, "My-Model") is None


@pytest.mark.parametrize("additional", [False, True])
async def test_model_data_must_be_at_an_s3_uri(world: World, additional: bool) -> None:
    source = ModelDataSource(s3_uri="https://host")
    with pytest.raises(InvalidRequest, match="Expected an S3 URI"):
        await world.commands.models.create(model_of(source, additional))


@pytest.mark.parametrize(
    "output",
    [
        AsyncInferenceConfig(s3_output_path="https://host"),
        AsyncInferenceConfig(s3_output_path="s3://b/out", s3_failure_path="https://host"),
    ],
)
async def test_both_output_paths_must_be_s3_uris(world: World, output: AsyncInferenceConfig) -> None:
    await world.model_and_config()
    with pytest.raises(InvalidRequest, match="Expected an S3 URI"):
        await world.commands.endpoint_configs.create(replace(config(a_variant()), async_inference=output))


async def test_what_is_missing_is_named_by_its_arn(world: World) -> None:
    commands = world.commands
    missing = {
        commands.models.describe: "model",
        commands.models.delete: "model",
        commands.endpoint_configs.describe: "endpoint configuration",
        commands.endpoint_configs.delete: "endpoint configuration",
        commands.endpoints.describe: "endpoint",
        commands.endpoints.delete: "endpoint",
    }
    for command, kind in missing.items():
        with pytest.raises(NotFound) as told:
            await command("No")
        assert str(told.value) == f'Could not find {kind} "{ARN}:{kind.replace("endpoint configuration", "endpoint-config")}/no".'
    with pytest.raises(NotFound, match=r'Could not find endpoint configuration ".*:endpoint-config/no"\.'):
        await commands.endpoints.create(CreateEndpoint(name="x", config_name="No"))
    with pytest.raises(NotFound, match=r'Could not find model ".*:model/m"\.'):
        await commands.endpoint_configs.create(config(a_variant()))


async def test_an_endpoint_whose_model_is_gone_is_refused(world: World) -> None:
    await world.model_and_config()
    await world.commands.models.delete("m")
    with pytest.raises(NotFound, match="Could not find model"):
        await world.commands.endpoints.create(CreateEndpoint(name="x", config_name="c"))


async def test_what_runs_survives_the_deletion_of_its_descriptions(world: World) -> None:
    await world.in_service()
    await world.commands.models.delete("m")
    await world.commands.endpoint_configs.delete("c")
    world.engine.end(world.instances()[0].id)
    await world.pass_time(3)
    assert len(world.instances("InService")) == 1
    await world.reconciler.close()


@pytest.mark.parametrize(
    ("variants", "words"),
    [
        ((a_variant(), a_variant()), 'The variant name "A" was non-unique within the request.'),
        ((a_variant("v"), a_variant("V")), 'The variant name "V" was non-unique within the request.'),
        ((a_variant(count=0),), "InitialInstanceCount must be 1 or more, got 0"),
        ((a_variant(count=101),), "at most 100 instances, got 101"),
        ((a_variant(weight=float("nan")),), "finite number"),
        ((a_variant(weight=float("inf")),), "finite number"),
        ((a_variant(weight=-1.0),), "finite number"),
        ((a_variant(weight=1e39),), "from 0 to 3.4028235e.38, got 1e.39"),
    ],
)
async def test_bad_variants(world: World, variants: tuple[Variant, ...], words: str) -> None:
    await world.model_and_config()
    with pytest.raises((InvalidRequest, LimitExceeded), match=words):
        await world.commands.endpoint_configs.create(config(*variants))


async def test_an_output_path_without_a_bucket(world: World) -> None:
    await world.model_and_config()
    with pytest.raises(InvalidRequest, match="Expected an S3 URI"):
        await world.commands.endpoint_configs.create(config(a_variant(), output="s3:///x"))


async def test_an_environment_that_is_too_large(world: World) -> None:
    big = Container(image="stub:1", environment={f"K{n}": "é" * 512 for n in range(32)})
    with pytest.raises(InvalidRequest, match="at most 32768 bytes"):
        await world.commands.models.create(replace(MODEL, containers=(big,)))


async def test_changes_in_progress_are_refused(world: World) -> None:
    await world.model_and_config()
    endpoints = world.commands.endpoints
    await endpoints.create(CreateEndpoint(name="Ep", config_name="c"))
    words = f'Cannot update in-progress endpoint "{ARN}:endpoint/ep".'
    for command in (
        endpoints.delete("Ep"),
        endpoints.update(UpdateEndpoint(name="Ep", config_name="c")),
        endpoints.update_capacities("Ep", [DesiredCapacity(variant_name="A", instance_count=2)]),
    ):
        with pytest.raises(InProgress) as told:
            await command
        assert str(told.value) == words


async def test_only_one_of_two_updates_at_once_is_taken(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.in_service()
    endpoint = world.endpoint()
    await world.commands.endpoints.update(UpdateEndpoint(name="Ep", config_name="c"))
    monkeypatch.setattr(world.store, "named", lambda kind, name: _answer(endpoint))
    with pytest.raises(InProgress):
        await world.commands.endpoints.delete("Ep")
    await world.reconciler.close()


async def _answer(value: object) -> object:
    return value


async def test_a_failed_endpoint_is_not_updated(world: World) -> None:
    await world.model_and_config(image="unheard:1")
    await world.commands.endpoints.create(CreateEndpoint(name="Ep", config_name="c"))
    await world.settle()
    with pytest.raises(InvalidRequest, match="delete it and create it again"):
        await world.commands.endpoints.update(UpdateEndpoint(name="Ep", config_name="c"))
    await world.reconciler.close()


@pytest.mark.parametrize(
    ("capacities", "words"),
    [
        ([DesiredCapacity(variant_name="A"), DesiredCapacity(variant_name="A")], 'The variant name "A" was non-unique'),
        (
            [DesiredCapacity(variant_name="X"), DesiredCapacity(variant_name="Y")],
            r'The variant name\(s\) "X", "Y" is/are not present within endpoint configuration "c"\.',
        ),
        ([DesiredCapacity(variant_name="A", instance_count=-1)], "0 or more, got -1"),
        ([DesiredCapacity(variant_name="A", instance_count=1000)], "at most 100 instances"),
        ([DesiredCapacity(variant_name="A", weight=float("inf"))], "finite number"),
    ],
)
async def test_bad_capacities(world: World, capacities: list[DesiredCapacity], words: str) -> None:
    await world.in_service()
    with pytest.raises((InvalidRequest, LimitExceeded), match=words):
        await world.commands.endpoints.update_capacities("Ep", capacities)
    assert world.endpoint().status == "InService"
    await world.reconciler.close()


async def test_tags(world: World) -> None:
    model = await world.commands.models.create(replace(MODEL, tags=(("a", "1"), ("b", "2"))))
    tags = world.commands.tags
    assert await tags.add(f"{ARN}:model/MY-model", (("b", "3"), ("c", ""))) == {"a": "1", "b": "3", "c": ""}
    await tags.remove(model.arn, ("a", "never there"))
    assert await tags.list(model.arn) == {"b": "3", "c": ""}
    with pytest.raises(LimitExceeded, match="at most 50 tags, this would make 51"):
        await tags.add(model.arn, tuple((f"k{n}", "") for n in range(49)))
    with pytest.raises(InvalidRequest, match="reserved"):
        await tags.add(model.arn, (("aws:x", ""),))
    with pytest.raises(InvalidRequest, match="twice"):
        await tags.add(model.arn, (("x", "1"), ("x", "2")))
    await world.commands.models.delete("my-model")
    assert await world.store.get(TagSet, model.arn) is None


@pytest.mark.parametrize(
    "arn",
    [f"{ARN}:model/none", f"{ARN}:training-job/x", f"{ARN}:", "arn:aws:sagemaker:eu-west-1:123456789012:model/m", "model/m"],
)
async def test_tags_of_what_is_not_there(world: World, arn: str) -> None:
    with pytest.raises((NotFound, InvalidRequest)):
        await world.commands.tags.add(arn, (("k", "v"),))


async def test_a_new_model_never_has_the_tags_of_an_older_one(world: World) -> None:
    world.store.entities[TagSet, f"{ARN}:model/my-model"] = TagSet(id=f"{ARN}:model/my-model", tags={"old": "1"})
    await world.commands.models.create(MODEL)
    assert await world.commands.tags.list(f"{ARN}:model/my-model") == {}


async def test_lists(world: World) -> None:
    for name in ("b", "a", "C"):
        await world.commands.models.create(replace(MODEL, name=name))
        world.clock.advance(1)
    page = await world.commands.models.list(PageQuery(limit=2))
    assert [it.name for it in page.items] == ["C", "a"]
    rest = await world.commands.models.list(PageQuery(limit=2, token=page.next_token))
    assert [it.name for it in rest.items] == ["b"]
    assert rest.next_token is None


async def test_deleting_twice(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    model = await world.commands.models.create(MODEL)
    await world.commands.models.delete("my-model")
    with pytest.raises(NotFound):
        await world.commands.models.delete("my-model")
    monkeypatch.setattr(world.store, "named", lambda kind, name: _answer(model))
    with pytest.raises(NotFound):
        await world.commands.models.delete("my-model")
    assert await world.store.get(Model, model.id) is None
