"""What every Images promises."""

from pathlib import Path

import pytest
from tests.support.engines import STUB_IMAGE

from tarry.backends.images import ImageCatalogue
from tarry.core.errors import ImageNotFound
from tarry.ports import Images
from tarry.testing.images import FakeImages


@pytest.fixture(params=["fake", "catalogue"])
def images(request: pytest.FixtureRequest, tmp_path: Path) -> Images:
    if request.param == "fake":
        return FakeImages(known={"stub", "single", "many"}, at_once={"single": 1, "many": "WORKERS"})
    (tmp_path / "single").mkdir()
    (tmp_path / "single/image.toml").write_text('repositories=["single"]\ntags=["*"]\ncommand=["{python}"]\nserved_at_once=1\n')
    many = (tmp_path / "single/image.toml").read_text().replace('"single"', '"many"').replace("once=1", "once='WORKERS'")
    (tmp_path / "many").mkdir()
    (tmp_path / "many/image.toml").write_text(many)
    return ImageCatalogue([STUB_IMAGE, tmp_path / "single", tmp_path / "many"], tmp_path)


@pytest.mark.parametrize(
    "reference",
    [
        "stub",
        "stub:1",
        "stub:0.90-1-cpu-py3",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com/stub:1",
        "210987654321.dkr.ecr.cn-north-1.amazonaws.com.cn/stub:1",
        "localhost:5000/stub:1",
    ],
)
async def test_the_registry_does_not_matter(images: Images, reference: str) -> None:
    await images.check(reference)


@pytest.mark.parametrize("reference", ["nothing:1", "1.dkr.ecr.us-east-1.amazonaws.com/stubs:1", "", ":", "/", "../stub"[:2]])
async def test_an_unknown_image_is_refused_with_what_is_known(images: Images, reference: str) -> None:
    with pytest.raises(ImageNotFound):
        await images.check(reference)


async def test_the_refusal_says_what_is_known(images: Images) -> None:
    with pytest.raises(ImageNotFound, match=r"nothing:1.*Known.* (single|stub)"):
        await images.check("nothing:1")


@pytest.mark.parametrize(
    ("reference", "requests"), [("single:1", 1), ("localhost:5000/single", 1), ("stub:1", None), ("?", None), ("many:1", 3)]
)
async def test_an_image_may_say_how_many_requests_it_serves_at_once(images: Images, reference: str, requests: int | None) -> None:
    assert await images.served_at_once(reference, {"WORKERS": "3"}) == requests
    assert await images.served_at_once("many", {}) is None
