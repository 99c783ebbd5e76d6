import os
import re
import sys
from pathlib import Path

import pytest

from tarry.backends.image_toml import Image, Reference
from tarry.backends.images import BUILT_IN, SYSTEM_PATH, ImageCatalogue, Source, hidden_by
from tarry.core.errors import ImageBroken, ImageNotFound, InvalidRequest

GOOD = 'repositories = ["thing"]\ntags = ["1.*"]\ncommand = ["{python}", "{image}/serve.py", "--tag={tag}"]\n'


def image(directory: Path, toml: str) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "image.toml").write_text(toml)
    return directory


@pytest.mark.parametrize(
    ("text", "repository", "tag"),
    [
        ("thing", "thing", "latest"),
        ("host.example/thing:2", "thing", "2"),
        ("localhost/thing:2", "thing", "2"),
        ("team/thing:2", "team/thing", "2"),
        ("host:5000/team/thing", "team/thing", "latest"),
        (f"thing:2@sha256:{'0' * 64}", "thing", "2"),
        ("683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:0.90-1-cpu-py3", "sagemaker-xgboost", "0.90-1-cpu-py3"),
    ],
)
def test_a_reference_is_read(text: str, repository: str, tag: str) -> None:
    assert Reference.parse(text) == Reference(repository=repository, tag=tag)


@pytest.mark.parametrize("text", ["", "Thing", "a b", "thing:", "thing:ü", "x" * 256, "../thing", f"thing@sha256:{'0' * 64}"])
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(ImageNotFound):
        Reference.parse(text)


SDK = [
    line
    for line in (Path(__file__).parents[2] / "support" / "sdk_images.txt").read_text().split("\n")
    if line[:1] not in ("", "#")
]
UNKNOWN = ("pytorch-inference-eia:", "sagemaker-pytorch:", "huggingface-pytorch-inference:2.6.0-transformers5.")
"""What is not served: docs/images.md, "What is not there"."""


@pytest.mark.parametrize(
    "reference", [*SDK, "xgboost:latest", "sagemaker-xgboost:3.0-5-cpu-py3", "sagemaker-xgboost:3.2-0-cpu-py3"]
)
async def test_every_image_of_the_sdk_is_known_or_said_to_be_none(tmp_path: Path, reference: str) -> None:
    uri = f"683313688378.dkr.ecr.us-east-1.amazonaws.com/{reference}"
    if not reference.startswith(UNKNOWN):
        await ImageCatalogue([], tmp_path).check(uri)
        return
    with pytest.raises(ImageNotFound, match="No image is known"):
        await ImageCatalogue([], tmp_path).check(uri)
    page = (Path(__file__).parents[3] / "docs" / "images.md").read_text()
    assert f"`{reference.partition(':')[0]}" in page[page.index("### What is not there") :]


@pytest.mark.parametrize("reference", ["sagemaker-xgboost", "sagemaker-xgboost:1", "sagemaker-xgboost:0.90-10", "xgboost:1.7-1"])
async def test_other_xgboost_images_are_refused_with_those_that_are_known(tmp_path: Path, reference: str) -> None:
    with pytest.raises(ImageNotFound, match="No image is known") as caught:
        await ImageCatalogue([], tmp_path).check(reference)
    assert re.search(r"but (1, latest;|1\.0-1, |0\.90-1, )", str(caught.value))


@pytest.mark.parametrize(
    ("directory", "references"),
    [
        (
            "pytorch-inference-mms",
            [
                f"pytorch-inference:{tag}"
                for tag in ("1.2.0-cpu-py3", "1.3.1-gpu-py2", "1.4-cpu-py36", "1.4.0-cpu-py3", "1.5.0-cpu-py3")
            ],
        ),
        (
            "pytorch-inference",
            [
                f"pytorch-inference:{version}-cpu-{python}"
                for python, versions in {
                    "py3": ("1.6", "1.6.0", "1.7.1", "1.8", "1.8.0", "1.8.1"),
                    "py38": ("1.9.0", "1.9.1", "1.10", "1.10.2", "1.11.0", "1.12", "1.12.1"),
                    "py310": ("1.13.1", "2.0.0", "2.0.1", "2.1.0", "2.2.0"),
                    "py312": ("2.3.0", "2.4.0", "2.5.1", "2.6", "2.6.0"),
                }.items()
                for version in versions
            ],
        ),
        (
            "huggingface-pytorch-inference",
            [
                "huggingface-pytorch-inference:1.7.1-transformers4.6.1-cpu-py36-ubuntu18.04",
                "huggingface-pytorch-inference:1.13.1-transformers4.26.0-gpu-py39-cu117-ubuntu20.04",
                "huggingface-pytorch-inference:2.6.0-transformers4.51.3-cpu-py312-ubuntu22.04",
            ],
        ),
        ("tarry-python", ["tarry/python:3.9", "tarry/python:3.12", "tarry/python:3.14"]),
    ],
)
def test_the_tags_of_the_sdk_lead_to_their_server(tmp_path: Path, directory: str, references: list[str]) -> None:
    catalogue = ImageCatalogue([], tmp_path)
    assert {catalogue.find(reference)[0].image.directory.name for reference in references} == {directory}


async def test_an_image_without_requirements_runs_on_the_servers_interpreter(tmp_path: Path) -> None:
    catalogue = ImageCatalogue([image(tmp_path / "thing", GOOD + '[environment]\nMODE = "x"\n')], tmp_path / "environments")
    prepared = await catalogue.prepare("host.example/thing:1.5")
    assert prepared.command == (sys.executable, f"{tmp_path}/thing/serve.py", "--tag=1.5")
    assert prepared.environment == {"MODE": "x"}
    assert not (tmp_path / "environments").exists()


async def test_ports_are_filled_in_once_they_are_known(tmp_path: Path) -> None:
    toml = GOOD.replace("--tag={tag}", "--port={port}") + 'ports = ["metrics"]\n[environment]\nM = "{tag} {port.metrics}"\n'
    prepared = await ImageCatalogue([image(tmp_path / "thing", toml)], tmp_path).prepare("thing:1.5")
    assert len(prepared.ports) == 2
    placed = prepared.on(range(20000, 20002))
    assert (placed.command[-1], placed.environment) == ("--port=20000", {"M": "1.5 20001"})


async def test_a_settings_directory_comes_before_a_built_in_one(tmp_path: Path) -> None:
    mine = image(tmp_path / "mine", GOOD.replace("thing", "sagemaker-xgboost"))
    found, _ = ImageCatalogue([mine], tmp_path).find("sagemaker-xgboost:1.7-1")
    assert (found.image.directory, found.source) == (mine, Source.SETTINGS)


async def test_a_tag_that_no_image_has_is_refused(tmp_path: Path) -> None:
    advice = r'"thing" has no tag "2\.0", but 1\.\*; use one of these .* this tag alone: tarry images add thing:2\.0 DIRECTORY '
    with pytest.raises(ImageNotFound, match=advice):
        await ImageCatalogue([image(tmp_path / "thing", GOOD)], tmp_path).check("thing:2.0")


@pytest.mark.parametrize(
    ("repositories", "tags", "hidden"),
    [
        (["sagemaker-xgboost"], ["*"], {"sagemaker-xgboost", "sagemaker-xgboost-3.2"}),
        (["sagemaker-xgboost"], ["3.2*"], {"sagemaker-xgboost-3.2"}),
        (["sagemaker-xgboost"], ["3.2-0"], set()),
        (["pytorch-inference"], ["1.?-*", "1.2*", "1.3[.-]*", "1.4[.-]*", "1.5[.-]*"], set()),
        (["pytorch-inference"], ["1.2[.-]*", "1.3[.-]*", "1.4[.-]*", "1.5[.-]*"], {"pytorch-inference-mms"}),
        (["pytorch-inference", "xgboost"], ["*"], {"pytorch-inference-mms", "xgboost"}),
    ],
)
def test_an_image_is_hidden_where_others_are_taken_for_all_its_tags(
    tmp_path: Path, repositories: list[str], tags: list[str], hidden: set[str]
) -> None:
    mine = image(tmp_path / "mine", f"repositories = {repositories}\ntags = {tags}\ncommand = ['serve']\n")
    entries = ImageCatalogue([mine], tmp_path).entries()
    by = {entry.image.directory.name: hidden_by(entry, entries[:number]) for number, entry in enumerate(entries)}
    assert {name: source for name, source in by.items() if source is not None} == dict.fromkeys(hidden, Source.SETTINGS)


async def test_how_far_images_are_from_being_started(tmp_path: Path) -> None:
    tiny = tmp_path / "tiny"
    for name, more in {
        "plain": "",
        "java": 'programs = ["no-such-program"]\n',
        "locked": 'requirements = "requirements.txt"\n',
        "old": 'requirements = "requirements.txt"\npython = "3.1"\n',
        "any": 'requirements = "requirements.txt"\npython = "{tag}"\n',
    }.items():
        directory = image(tmp_path / name, GOOD.replace("thing", name) + more)
        (directory / "requirements.txt").touch()
    catalogue = ImageCatalogue([tmp_path / name for name in ("plain", "java", "locked", "old", "any")], tiny)
    standings = {entry.image.directory.name: await catalogue.standing(entry.image) for entry in catalogue.entries()[:5]}
    states = {name: standing.state for name, standing in standings.items()}
    assert states == {
        "plain": "needs none",
        "java": "cannot be built",
        "locked": "not built",
        "old": "cannot be built",
        "any": "one a tag",
    }
    assert "no-such-program" in standings["java"].problem
    assert "needs Python 3.1, and there is none" in standings["old"].problem
    await catalogue.prepare("locked:1.0")
    built = await catalogue.standing(catalogue.entries()[2].image)
    assert built.state == "ready"
    assert built.folder is not None
    assert (built.folder / "bin/python").exists()


@pytest.mark.parametrize(
    ("reference", "nearest"),
    [
        (
            "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference:1.8",
            '"pytorch-inference" has no tag "1.8", but 1.8.*, ',
        ),
        ("sagemaker-xgboost:1.7", "but 1.7-1, 1.7-1-cpu-py3, "),
        ("123456789012.dkr.ecr.eu-central-1.amazonaws.com/nobody-knows:1", "Known are "),
    ],
)
async def test_a_refusal_is_short_and_has_what_may_have_been_meant(tmp_path: Path, reference: str, nearest: str) -> None:
    with pytest.raises(ImageNotFound) as caught:
        await ImageCatalogue([], tmp_path).check(reference)
    assert nearest in str(caught.value)
    assert "tarry images list" in str(caught.value)
    assert len(str(caught.value)) <= 340


WORKERS = "SAGEMAKER_MODEL_SERVER_WORKERS"


@pytest.mark.parametrize(
    ("reference", "counts"),
    [
        ("tarry/python:3.11", True),
        ("sagemaker-scikit-learn:1.2-1-cpu-py3", True),
        ("sagemaker-scikit-learn:1.4-2-cpu-py3", True),
        ("sagemaker-scikit-learn:1.9-0-cpu-py3", True),
        ("pytorch-inference:1.8.1-cpu-py3", True),
        ("pytorch-inference:1.4.0-cpu-py3", True),
        ("huggingface-pytorch-inference:1.13.1-transformers4.26.0-cpu-py39-ubuntu20.04", True),
        ("sagemaker-xgboost:1.7-1", False),
        ("xgboost:1", False),
    ],
)
async def test_a_built_in_image_serves_as_many_as_its_workers(tmp_path: Path, reference: str, counts: bool) -> None:
    """One request a worker, but for XGBoost, whose workers have threads."""
    catalogue = ImageCatalogue([], tmp_path)
    assert await catalogue.served_at_once(reference, {WORKERS: "7"}) == (7 if counts else None)
    for environment in ({}, {WORKERS: ""}, {WORKERS: "many"}, {WORKERS: "0"}, {WORKERS: "1001"}):
        assert await catalogue.served_at_once(reference, environment) is None


async def test_a_missing_program_is_named(tmp_path: Path) -> None:
    catalogue = ImageCatalogue([image(tmp_path / "thing", GOOD + 'programs = ["no-such-program"]\n')], tmp_path)
    with pytest.raises(ImageBroken, match="needs no-such-program"):
        await catalogue.prepare("thing:1.0")


@pytest.mark.parametrize(
    ("python", "needs"),
    [
        ("3.1", r"needs Python 3\.1, and there is none"),
        ("{tag}", r'needs a tag that begins with a version of Python.*got "1\.x"'),
    ],
)
async def test_a_missing_python_is_named(tmp_path: Path, python: str, needs: str) -> None:
    toml = GOOD + f'requirements = "requirements.txt"\npython = "{python}"\n'
    with pytest.raises(ImageBroken, match=needs):
        await ImageCatalogue([image(tmp_path / "thing", toml)], tmp_path).prepare("thing:1.x")


async def test_a_failed_build_tells_the_cause_and_then_what_to_do(tmp_path: Path) -> None:
    toml = GOOD + 'requirements = "none.txt"\nadvice = "Write one."\n'
    with pytest.raises(ImageBroken, match=r"^The requirements file .*cannot be read: .* Write one\.$"):
        await ImageCatalogue([image(tmp_path / "thing", toml)], tmp_path).prepare("thing:1.0")
    toml = GOOD + 'requirements = "requirements.txt"\nchecks = ["import absent"]\nadvice = "Write one."\n'
    mine = image(tmp_path / "other", toml)
    (mine / "requirements.txt").touch()
    with pytest.raises(ImageBroken) as caught:
        await ImageCatalogue([mine], tmp_path / "e").prepare("thing:1.0")
    first, second, *_ = str(caught.value).splitlines()
    assert first.endswith("ended with code 1: ModuleNotFoundError: No module named 'absent'. Write one.")
    assert second == "Its last lines:"


async def test_a_program_on_the_servers_path_counts_and_is_shown_with_its_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "jdk" / "bin" / "no-such-program"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (tmp_path / "current").symlink_to("jdk")
    monkeypatch.setenv("PATH", f"{tmp_path}/current/bin:{os.environ['PATH']}")
    catalogue = ImageCatalogue([image(tmp_path / "thing", GOOD + 'programs = ["no-such-program", "sh"]\n')], tmp_path)
    prepared = await catalogue.prepare("thing:1.0")
    assert prepared.path == f"{SYSTEM_PATH}:{tmp_path}/current/bin"
    assert {tmp_path / "current/bin/no-such-program", tmp_path / "jdk"} <= set(prepared.needed)
    assert (await catalogue.standing(catalogue.entries()[0].image)).state == "needs none"


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("=", "not valid TOML"),
        (GOOD + "colour = 1\n", "unknown key 'colour'"),
        ('repositories = ["a"]\ntags = ["b"]\n', "command must be a non-empty list"),
        (GOOD.replace('["thing"]', '"thing"'), "repositories must be"),
        (GOOD + "requirements = 1\n", "requirements must be"),
        (GOOD + "python = 3.11\n", "python must be"),
        (GOOD + 'python = "3.11"\n', "python is of use only with requirements"),
        (GOOD + "served_at_once = 0\n", "served_at_once must be a whole number from 1 to 1000, or the name .*; got 0"),
        (GOOD + "served_at_once = 1001\n", "served_at_once must be"),
        (GOOD + "served_at_once = true\n", "served_at_once must be"),
        (GOOD + "served_at_once = '2 WORKERS'\n", "served_at_once must be"),
        (GOOD + "[environment]\nA = 1\n", "environment must be"),
        (GOOD + "environment = 'A=1'\n", "environment must be a table of strings, got 'A=1'"),
        (GOOD + '[environment]\n"A=B" = "1"\n', "environment has 'A=B', which cannot be"),
        (GOOD + '[environment]\n"" = "1"\n', "environment has '', which cannot be"),
        (GOOD + '[environment]\nA = "\\u0000"\n', "environment has 'A', which cannot be"),
        (GOOD.replace("{tag}", "\\u0000"), "no text may have a NUL in it"),
        (GOOD + 'advice = "\\u0000"\n', "no text may have a NUL in it"),
        (GOOD + 'ports = ["a b"]\n', "ports must be at most 16 different names"),
        (GOOD + 'ports = ["a", "a"]\n', "ports must be at most 16 different names"),
        (GOOD + '[environment]\nA = "{port.metrics}"\n', r"\{port\.metrics\} stands for none of its ports"),
        (GOOD.replace("{tag}", "{port.x}"), r"\{port\.x\} stands for none of its ports"),
    ],
)
def test_a_bad_image_toml_is_refused_at_start(tmp_path: Path, toml: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        ImageCatalogue([image(tmp_path / "bad", toml)], tmp_path)


def test_a_directory_without_image_toml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="not an image directory"):
        ImageCatalogue([tmp_path], tmp_path)


def test_built_in_images_are_whole() -> None:
    images = [Image.read(file.parent) for file in BUILT_IN.glob("*/image.toml")]
    assert images
    for built_in in images:
        assert built_in.requirements is not None
        for file in filter(None, (built_in.requirements, built_in.sources)):
            assert "--hash=sha256:" in file.read_text()
            assert not re.search(r"^(?:-|.*(?:://| @ ))", file.read_text(), re.MULTILINE), "no index, no address"
