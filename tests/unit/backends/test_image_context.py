"""The build context of an image: what docker build gets to see, and what it is told to do with it."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tarry.backends.image_context import write_context
from tarry.backends.images import ImageCatalogue
from tarry.core.errors import ImageBroken, ImageNotFound, InvalidRequest

REGISTRY = "763104351884.dkr.ecr.us-east-1.amazonaws.com"


def written(directory: Path, reference: str, *given: Path) -> str:
    """The Dockerfile of an image."""
    write_context(ImageCatalogue(given, directory / "environments").context(reference), directory / "context")
    return (directory / "context/Dockerfile").read_text()


def image(directory: Path, toml: str) -> Path:
    """A directory of one's own for ``mine:1``."""
    directory.mkdir()
    (directory / "image.toml").write_text('repositories = ["mine"]\ntags = ["1"]\n' + toml)
    return directory


def test_all_that_the_dockerfile_names_is_there(tmp_path: Path) -> None:
    dockerfile = written(tmp_path, f"{REGISTRY}/sagemaker-xgboost:1.7-1")
    files = [word.strip('"') for word in dockerfile.split() if word.startswith('"/opt/serving/')]
    assert files == ["/opt/serving/sagemaker-xgboost/requirements.txt"]
    assert (tmp_path / "context" / files[0].removeprefix("/opt/")).is_file()
    assert "--require-hashes" in dockerfile
    serve = tmp_path / "context/serve"
    assert serve.stat().st_mode & 0o111
    assert 'exec "/opt/environment/bin/python" "/opt/serving/sagemaker-xgboost/serve.py" "1.7-1"\n' in serve.read_text()
    assert (tmp_path / "context/serving/sagemaker-xgboost/serve.py").is_file()
    assert (tmp_path / "context/wheels").is_dir()
    assert not list((tmp_path / "context").rglob("__pycache__"))


LINES = (
    "FROM ${BASE} AS build",
    "COPY wheels /wheels",
    "COPY serving /opt/serving",
    "RUN python3 -m venv /opt/environment \\",
    "--no-cache-dir --disable-pip-version-check --find-links /wheels --no-deps --require-hashes --only-binary :all: -r",
    "--find-links /wheels --no-deps --require-hashes --no-build-isolation -r",
    "FROM ${BASE}\n",
    "COPY --from=build /opt/environment /opt/environment",
    "COPY serving /opt/serving",
    "COPY serve /usr/local/bin/serve",
    "ENV PATH=/opt/environment/bin:$PATH",
    'CMD ["serve"]',
)
"""What nothing can be left out of, in this order."""


def test_the_steps_of_a_build_are_all_there_and_in_their_order(tmp_path: Path) -> None:
    dockerfile = written(tmp_path, f"{REGISTRY}/pytorch-inference:1.8.1-cpu-py3")
    place = 0
    for line in LINES:
        place = dockerfile.index(line, place) + len(line)
    serve = (tmp_path / "context/serve").read_text()
    assert serve.startswith("#!/bin/sh\nset -e\nexport HOME=/tmp/home\nmkdir -p $HOME\ncd $HOME\nexec ")


def test_what_is_no_part_of_an_image_is_not_copied(tmp_path: Path) -> None:
    mine = image(tmp_path / "mine", 'command = ["{image}/serve"]\n')
    for name in (".git/config", ".venv/bin/python", "__pycache__/x.pyc", "y.pyc", "kept/z"):
        (mine / name).parent.mkdir(parents=True, exist_ok=True)
        (mine / name).touch()
    written(tmp_path, "mine:1", mine)
    assert sorted(file.name for file in (tmp_path / "context/serving").iterdir()) == ["image.toml", "kept"]


def test_an_image_that_uses_anothers_files_finds_them(tmp_path: Path) -> None:
    dockerfile = written(tmp_path, "xgboost:latest")
    assert '-r "/opt/serving/sagemaker-xgboost/requirements.txt"' in dockerfile


def test_source_archives_come_after_the_wheels_and_checks_last(tmp_path: Path) -> None:
    dockerfile = written(tmp_path, f"{REGISTRY}/pytorch-inference:1.8.1-cpu-py3")
    places = [dockerfile.index(words) for words in ("/requirements.txt", "/sources.txt", "import boto3", "default-jre-headless")]
    assert places == sorted(places)
    assert "ARG BASE=python:3.11-slim-bookworm\n" in dockerfile


def test_what_tells_a_server_its_ports_is_left_out(tmp_path: Path) -> None:
    """Alone in a container it has those that are published; loopback would be reached by nobody."""
    dockerfile = written(tmp_path, f"{REGISTRY}/pytorch-inference:1.8.1-cpu-py3")
    assert "TS_" not in dockerfile
    assert "127.0.0.1" not in dockerfile
    assert "ENV SERVING_ADDRESS=0.0.0.0\n" in dockerfile


def test_the_tag_says_which_python(tmp_path: Path) -> None:
    assert "ARG BASE=python:3.12-slim-bookworm\n" in written(tmp_path, "tarry/python:3.12")


def test_an_image_of_ones_own(tmp_path: Path) -> None:
    toml = 'command = ["{image}/serve", "$HOME `id` \\"{tag}\\"", "{port}"]\n[environment]\nGREETING = "a \\"$b\\" `c`"\n'
    mine = image(tmp_path / "mine", toml)
    (mine / "serve").write_text("#!/bin/sh\n")
    dockerfile = written(tmp_path, "mine:1", mine)
    assert 'ENV GREETING="a \\"\\$b\\" `c`"\n' in dockerfile
    assert "pip install" not in dockerfile
    assert sorted(file.name for file in (tmp_path / "context/serving").iterdir()) == ["image.toml", "serve"]
    words = (tmp_path / "context/serve").read_text().rpartition("exec ")[2].strip()
    printed = subprocess.run(["sh", "-c", f'printf "%s\\n" {words}'], capture_output=True, text=True, check=True).stdout
    assert printed.splitlines() == ["/opt/serving/serve", '$HOME `id` "1"', "8080"]


def test_requirements_without_hashes_are_resolved(tmp_path: Path) -> None:
    mine = image(tmp_path / "mine", 'command = ["{image}/serve"]\nrequirements = "requirements.txt"\n')
    (mine / "requirements.txt").write_text("numpy\n")
    dockerfile = written(tmp_path, "mine:1", mine)
    assert '-r "/opt/serving/requirements.txt"' in dockerfile
    assert "--require-hashes" not in dockerfile
    assert "--no-deps" not in dockerfile


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('command = ["x"]\nprograms = ["java", "fortune"]\n', "needs fortune"),
        ('command = ["x", "{port.metrics}"]\nports = ["metrics"]\n', "one port alone"),
        ('command = ["x"]\nrequirements = "../elsewhere.txt"\n', "would not be in the container"),
        ('command = ["x"]\nrequirements = "requirements.txt"\n', "requirements.txt"),
    ],
)
def test_what_no_container_could_have_is_refused_before_anything_is_written(tmp_path: Path, toml: str, said: str) -> None:
    mine = image(tmp_path / "mine", toml)
    (tmp_path / "elsewhere.txt").write_text("numpy\n")
    with pytest.raises((ImageBroken, InvalidRequest), match=said):
        written(tmp_path, "mine:1", mine)
    assert not (tmp_path / "context").exists()


def test_nothing_is_written_over(tmp_path: Path) -> None:
    written(tmp_path, "tarry/python:3.12")
    with pytest.raises(InvalidRequest, match="not empty"):
        written(tmp_path, "tarry/python:3.12")
    (tmp_path / "file").touch()
    with pytest.raises(InvalidRequest, match="cannot be written"):
        write_context(ImageCatalogue([], tmp_path).context("tarry/python:3.12"), tmp_path / "file")


def test_an_image_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageNotFound, match="No image is known"):
        written(tmp_path, "nobody:1")
    with pytest.raises(ImageBroken, match="begins with a version"):
        written(tmp_path, "tarry/python:3.11x")


@pytest.mark.parametrize("inside", [".", "context", "new/context", "link/context"])
def test_a_place_inside_the_image_is_refused(tmp_path: Path, inside: str) -> None:
    mine = image(tmp_path / "mine", 'command = ["x"]\n')
    (tmp_path / "link").symlink_to(mine)
    place = tmp_path / inside if inside.startswith("link") else mine / inside
    with pytest.raises(InvalidRequest, match="choose a place outside"):
        write_context(ImageCatalogue([mine], tmp_path / "environments").context("mine:1"), place)
    assert [file.name for file in mine.iterdir()] == ["image.toml"]


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('command = ["x"]\n[environment]\nGREETING = "a\\nRUN evil"\n', r"environment GREETING is 'a\\nRUN evil'"),
        ('command = ["x"]\n[environment]\n"A\\nRUN evil #" = "a"\n', "ENV cannot set"),
        ('command = ["x"]\n[environment]\n"A B" = "a"\n', "'A B', which a Dockerfile's ENV cannot set"),
        ('command = ["x"]\n[environment]\n1A = "a"\n', "'1A', which"),
        ('command = ["x"]\n[environment]\n"Ä" = "a"\n', "which a Dockerfile's ENV cannot set"),
        ('command = ["x", "a\\rb"]\n', r"command is 'a\\rb', and the control character '\\r'"),
        ('command = ["x"]\nrequirements = "r.txt"\nchecks = ["1", "2\\n3"]\n', r"checks is '2\\n3'"),
        ('command = ["x"]\nrequirements = "a\\nb.txt"\n', "requirements is"),
        ('command = ["x"]\nrequirements = "r.txt"\nsources = "a\\u0085b.txt"\n', "sources is"),
    ],
)
def test_what_would_not_stay_in_its_line_is_refused(tmp_path: Path, toml: str, said: str) -> None:
    mine = image(tmp_path / "mine", toml)
    for name in ("r.txt", "a\nb.txt", "a\x85b.txt"):
        (mine / name).write_text("numpy\n")
    with pytest.raises(ImageBroken, match=said):
        written(tmp_path, "mine:1", mine)
    assert not (tmp_path / "context").exists()


@pytest.mark.parametrize("part", ["reference", "tag"])
def test_nor_does_the_reference_lead_to_another_line(tmp_path: Path, part: str) -> None:
    context = ImageCatalogue([], tmp_path).context("tarry/python:3.12")
    broken = replace(context, reference="a\nRUN evil") if part == "reference" else replace(context, tag="a\nRUN evil")
    with pytest.raises(ImageBroken, match=f"image's {part} is"):
        write_context(broken, tmp_path / "context")


def test_names_of_files_are_no_words_of_a_shell(tmp_path: Path) -> None:
    odd = 'a "b" $(id) `id`; c.txt'
    mine = image(tmp_path / "mine", f"command = ['x']\nrequirements = '{odd}'\nsources = '{odd}'\n")
    (mine / odd).write_text("numpy\n")
    dockerfile = written(tmp_path, "mine:1", mine)
    words = [line.rpartition(" -r ")[2].removesuffix(" \\") for line in dockerfile.splitlines() if " -r " in line]
    assert len(words) == 2
    for word in words:
        printed = subprocess.run(["sh", "-c", f"printf '<%s>' {word}"], capture_output=True, text=True, check=True).stdout
        assert printed == f"</opt/serving/{odd}>"


def test_links_are_copied_as_links(tmp_path: Path) -> None:
    mine = image(tmp_path / "mine", 'command = ["{image}/serve"]\n')
    (mine / "bin/.venv").mkdir(parents=True)
    (mine / "bin/serve").write_text("#!/bin/sh\n")
    (mine / "serve").symlink_to("bin/serve")
    (mine / "programs").symlink_to("bin")
    (mine / "bin/up").symlink_to("../serve")
    (mine / "bin/loop").symlink_to("loop")
    (mine / "bin/.venv/python").symlink_to("/usr/bin/python3")  # is not copied
    written(tmp_path, "mine:1", mine)
    copy = tmp_path / "context/serving"
    links = {str(path.relative_to(copy)): str(path.readlink()) for path in copy.rglob("*") if path.is_symlink()}
    assert links == {"serve": "bin/serve", "programs": "bin", "bin/up": "../serve", "bin/loop": "loop"}


@pytest.mark.parametrize(
    "target", ["{outside}", "{mine}/image.toml", "../../outside", "../../mine/image.toml", "out", "top/../outside"]
)
def test_links_that_lead_outside_are_refused(tmp_path: Path, target: str) -> None:
    """Also those that are absolute but lead inside, or come back by the name of the directory: a container has other names."""
    mine = image(tmp_path / "mine", 'command = ["x"]\n')
    outside = tmp_path / "outside"
    outside.write_text("secret")
    (mine / "sub").mkdir()
    (mine / "sub/top").symlink_to("..")
    if target == "out":
        (mine / "sub/out").symlink_to("../../outside")
    (mine / "sub/link").symlink_to(target.format(outside=outside, mine=mine))
    with pytest.raises(ImageBroken, match=r"link .*/mine/sub/link leads to .* would not be in the container"):
        written(tmp_path, "mine:1", mine)
    assert not (tmp_path / "context").exists()


def test_what_cannot_be_copied_is_said_in_a_line(tmp_path: Path) -> None:
    mine = image(tmp_path / "mine", 'command = ["x"]\n')
    for name in ("a", "b"):
        os.mkfifo(mine / name)
    with pytest.raises(InvalidRequest, match=r"cannot be written to [^\[\]()\n]*mine/[ab]: [^\[\]()\n]*named pipe\W*$") as error:
        written(tmp_path, "mine:1", mine)
    assert str(error.value).count("named pipe") == 1
