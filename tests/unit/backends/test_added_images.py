"""Directories of users become images of a data directory, whole or not at all."""

import os
import sys
from pathlib import Path

import pytest
from tests.support.wheels import WHEEL, tiny_wheel

from tarry.backends import added_images
from tarry.backends.added_images import AddedImages, Addition
from tarry.backends.images import ImageCatalogue, Source
from tarry.core.errors import ImageBroken, InvalidRequest

SERVE = "#!/bin/sh\nexec true\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A directory with a serve program."""
    directory = tmp_path / "mine"
    directory.mkdir()
    (directory / "serve").write_text(SERVE)
    (directory / "serve").chmod(0o700)
    return directory


@pytest.fixture
def added(tmp_path: Path) -> AddedImages:
    return AddedImages(tmp_path / "data/images")


def catalogue(added: AddedImages, tmp_path: Path) -> ImageCatalogue:
    return ImageCatalogue([], tmp_path / "environments", added=added)


async def test_a_serve_program_is_all_that_it_takes(added: AddedImages, source: Path, tmp_path: Path) -> None:
    image = added.add(Addition(reference="team/my-model", source=source))
    assert (image.repositories, image.tags, image.requirements) == (("team/my-model",), ("*",), None)
    entry, _ = catalogue(added, tmp_path).find("123456789012.dkr.ecr.us-east-1.amazonaws.com/team/my-model:v3")
    assert (entry.image, entry.source) == (image, Source.ADDED)
    prepared = await catalogue(added, tmp_path).prepare("team/my-model:v3")
    assert prepared.command == (f"{image.directory}/serve", "serve")
    assert Path(prepared.command[0]).read_text() == SERVE


@pytest.mark.parametrize("change", ["name", "mode", "content"])
async def test_every_change_makes_another_directory(added: AddedImages, source: Path, change: str) -> None:
    """So that what runs keeps its own; the same again stays where it is."""
    (source / "data").write_text("a")
    before = added.add(Addition(reference="mine", source=source)).directory
    assert added.add(Addition(reference="mine", source=source)).directory == before
    if change == "name":
        (source / "data").rename(source / "datb")
    elif change == "mode":
        (source / "data").chmod(0o700)
    else:
        (source / "data").write_text("b")
    assert added.add(Addition(reference="mine", source=source)).directory != before


async def test_what_is_added_again_replaces_it_and_what_runs_keeps_its_files(
    added: AddedImages, source: Path, tmp_path: Path
) -> None:
    running = await catalogue(added, tmp_path).prepare("mine:1") if added.add(Addition(reference="mine", source=source)) else None
    assert running is not None
    (source / "serve").write_text("#!/bin/sh\nexec false\n")
    added.add(Addition(reference="mine", source=source))
    anew = await catalogue(added, tmp_path).prepare("mine:1")
    assert Path(anew.command[0]).read_text() == "#!/bin/sh\nexec false\n"
    assert Path(running.command[0]).read_text() == SERVE
    added.discard_old()
    assert Path(anew.command[0]).exists()
    assert not Path(running.command[0]).exists()


def test_the_same_again_changes_nothing(added: AddedImages, source: Path) -> None:
    first = added.add(Addition(reference="mine", source=source))
    assert added.add(Addition(reference="mine", source=source)) == first


def test_one_tag_comes_before_all_tags(added: AddedImages, source: Path, tmp_path: Path) -> None:
    any_tag = added.add(Addition(reference="mine", source=source))
    (source / "new").touch()
    second = added.add(Addition(reference="mine:2", source=source))
    find = catalogue(added, tmp_path).find
    assert [find(f"mine:{tag}")[0].image.directory for tag in ("1", "2")] == [any_tag.directory, second.directory]


async def test_requirements_and_an_interpreter_make_an_environment(
    added: AddedImages, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without hashes, as people write them: what fits is installed."""
    (tmp_path / WHEEL).write_bytes(tiny_wheel())
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    (source / "requirements.txt").write_text("tiny\n")
    added.add(Addition(reference="mine", source=source, python=os.path.realpath(sys.executable)))
    prepared = await catalogue(added, tmp_path).prepare("mine:1")
    programs = prepared.path.partition(os.pathsep)[0]
    assert list(Path(programs).parent.glob("lib/python3*/site-packages/tiny.py"))


async def test_an_interpreter_that_does_not_run_is_told(added: AddedImages, source: Path, tmp_path: Path) -> None:
    added.add(Addition(reference="mine", source=source, python="/nowhere/python"))
    with pytest.raises(ImageBroken, match="needs Python /nowhere/python, and there is none"):
        await catalogue(added, tmp_path).prepare("mine:1")


async def test_a_serve_py_runs_in_the_environment_or_in_the_servers_python(
    added: AddedImages, source: Path, tmp_path: Path
) -> None:
    (source / "serve").rename(source / "serve.py")
    image = added.add(Addition(reference="mine", source=source))
    assert (await catalogue(added, tmp_path).prepare("mine:1")).command == (
        sys.executable,
        f"{image.directory}/serve.py",
        "serve",
    )


async def test_an_image_toml_of_its_own_is_kept(added: AddedImages, source: Path, tmp_path: Path) -> None:
    toml = (
        'repositories = ["other"]\ntags = ["9"]\ncommand = ["{image}/serve", "--say", "ü \\"x\\" {tag}"]\nports = ["metrics"]\n'
    )
    (source / "image.toml").write_text(toml + '[environment]\nA = "{port.metrics}"\n', "utf-8")
    added.add(Addition(reference="mine:1", source=source))
    prepared = await catalogue(added, tmp_path).prepare("mine:1")
    assert prepared.on(range(1, 3)).environment == {"A": "2"}
    assert prepared.command[1:] == ("--say", 'ü "x" 1')


def test_the_copy_is_for_whoever_instances_become(added: AddedImages, source: Path) -> None:
    (source / "deep").mkdir(mode=0o700)
    (source / "deep/secretless").write_text("x")
    (source / "deep/secretless").chmod(0o600)
    (source / ".git").mkdir()
    directory = added.add(Addition(reference="mine", source=source)).directory
    assert [(directory / name).stat().st_mode & 0o777 for name in ("deep", "deep/secretless", "serve")] == [0o755, 0o644, 0o755]
    assert not (directory / ".git").exists()


@pytest.mark.parametrize(
    ("reference", "spoil", "message"),
    [
        ("Not A Name", None, "is not an image reference"),
        ("mine", "serve", "has neither a program serve, nor serve.py"),
        ("mine", "mode", r"is not executable: chmod \+x"),
        ("mine", "toml", "unknown key 'colour'"),
        ("mine", "link", "cannot be copied"),
        ("mine", "gone", "is no directory"),
        ("mine", "pipe", r"mine/pipe is neither a file nor a directory"),
        ("mine", "linked pipe", r"mine/linked is neither a file nor a directory"),
        ("mine", "toml is a directory", r"image\.toml is not a file"),
        ("mine", "outside", r"requirements must name a file in the directory, got '\.\./\.\./x'"),
        ("mine", "absolute", r"sources must name a file in the directory, got '/etc/passwd'"),
        ("mine", "absent", r"requirements names 'deep/r\.txt', and there is no such file"),
        ("a" * 250, None, "too long for a file's name: shorten it by 18 characters"),
    ],
)
def test_what_cannot_be_an_image_is_refused_and_leaves_nothing(
    added: AddedImages, source: Path, tmp_path: Path, reference: str, spoil: str | None, message: str
) -> None:
    match spoil:
        case "serve":
            (source / "serve").unlink()
        case "mode":
            (source / "serve").chmod(0o600)
        case "toml":
            (source / "image.toml").write_text("colour = 1\n")
        case "link":
            (source / "dangling").symlink_to("/nowhere")
        case "pipe":
            os.mkfifo(source / "pipe")
        case "linked pipe":
            os.mkfifo(tmp_path / "pipe")
            (source / "linked").symlink_to(tmp_path / "pipe")
        case "toml is a directory":
            (source / "image.toml").mkdir()
        case "outside":
            (source / "image.toml").write_text('requirements = "../../x"\n')
        case "absolute":
            (source / "requirements.txt").touch()
            (source / "image.toml").write_text('sources = "/etc/passwd"\n')
        case "absent":
            (source / "image.toml").write_text('requirements = "deep/r.txt"\n')
        case "gone":
            source = source / "nothing"
    with pytest.raises(InvalidRequest, match=message):
        added.add(Addition(reference=reference, source=source))
    assert added.read() == ([], [])
    assert [path for path in (tmp_path / "data").rglob("*") if path.is_file()] == []


def test_one_that_is_damaged_does_not_hide_the_others(added: AddedImages, source: Path, tmp_path: Path) -> None:
    added.add(Addition(reference="good", source=source))
    (source / "other").touch()
    bad = added.add(Addition(reference="bad", source=source))
    (bad.directory / "image.toml").write_text("=")
    images, errors = added.read()
    assert [image.repositories for image in images] == [("good",)]
    assert "bad" in str(errors[0])
    assert catalogue(added, tmp_path).find("good:1")


def test_all_texts_of_toml_and_all_names_of_files_can_be(added: AddedImages, source: Path) -> None:
    smile, odd = "\U0001f600", '\U0001f600 \x7f \\ " é \t'
    own = r"""advice = "\U0001F600 \u007F \\ \" é \t"
[environment]
"\U0001F600" = "\U0001F600"
"""
    (source / "image.toml").write_text(own)
    (source / os.fsdecode(b"\xff")).write_text("x")
    image = added.add(Addition(reference="mine", source=source))
    assert (image.advice, image.environment) == (odd, {smile: smile})
    assert (image.directory / os.fsdecode(b"\xff")).read_text() == "x"


def test_what_turns_out_bad_in_the_copy_takes_nobodys_place(
    added: AddedImages, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = added.add(Addition(reference="mine", source=source))
    monkeypatch.setattr(added_images, "_toml", lambda _: "=")
    with pytest.raises(InvalidRequest, match="not valid TOML"):
        added.add(Addition(reference="mine", source=source))
    assert added.read() == ([before], [])


def test_a_server_that_starts_leaves_what_is_being_added(
    added: AddedImages, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy as well as what is whole and has no link yet."""
    opened, linked = added_images._open_to_all, AddedImages._point

    def start(top: Path) -> None:
        opened(top)
        added.discard_old()

    def point(self: AddedImages, name: str, version: Path) -> None:
        added.discard_old()
        linked(self, name, version)

    monkeypatch.setattr(added_images, "_open_to_all", start)
    monkeypatch.setattr(AddedImages, "_point", point)
    image = added.add(Addition(reference="mine", source=source))
    assert (image.directory / "serve").exists()
    (source / "more").touch()
    newer = added.add(Addition(reference="mine", source=source))
    added.discard_old()
    assert [path.resolve() for path in image.directory.parent.iterdir()] == [newer.directory]
