"""``tarry images``."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.terminal import Terminal

from tarry.bootstrap.directory import DataDirectory, ServerInfo


def tarry(*arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TARRY_")}
    command = [sys.executable, "-m", "tarry", "images", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=kept | environ)


def as_json(*arguments: str) -> Any:
    done = tarry(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data directory with one image of its own."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/serve").write_text("#!/bin/sh\n")
    (tmp_path / "mine/serve").chmod(0o755)
    done = tarry("add", "my-model", str(tmp_path / "mine"), "--data-dir", str(tmp_path / "data"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("added my-model:* (")
    return tmp_path / "data"


def test_the_catalogue_has_what_was_added_and_what_is_built_in(data_dir: Path) -> None:
    images = as_json("list", "--data-dir", str(data_dir))["Images"]
    mine = images[0]
    assert (mine["Repositories"], mine["Tags"], mine["Source"]) == (["my-model"], ["*"], "added")
    assert mine["Environment"]["State"] == "needs none"
    built_in = {name for each in images if each["Source"] == "built-in" for name in each["Repositories"]}
    assert {"sagemaker-xgboost", "pytorch-inference", "tarry/python"} <= built_in
    assert all(Path(each["Directory"], "image.toml").exists() for each in images)


def test_in_a_pipe_a_row_is_a_line_with_tabs(data_dir: Path) -> None:
    lines = tarry("list", TARRY_DATA_DIR=str(data_dir)).stdout.splitlines()
    assert lines[0].split("\t")[:4] == ["my-model", "*", "added", "needs none"]
    assert len(lines) > 5


def test_what_a_reference_means(data_dir: Path) -> None:
    shown = as_json("show", "123456789012.dkr.ecr.us-east-1.amazonaws.com/my-model:7", "--data-dir", str(data_dir))
    assert (shown["Repository"], shown["Tag"], shown["Source"]) == ("my-model", "7", "added")
    lines = dict(line.split("\t") for line in tarry("show", "my-model:7", "--data-dir", str(data_dir)).stdout.splitlines())
    assert (lines["tag"], lines["command"], lines["environment state"]) == ("7", "{image}/serve serve", "needs none")


def test_show_says_whether_it_can_be_started(tmp_path: Path) -> None:
    """An environment that needs an interpreter which is not there."""
    for name, python in {"good": sys.executable, "bad": "3.1"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "serve.py").touch()
        place = ("--data-dir", str(tmp_path / "data"))
        assert tarry("add", name, str(tmp_path / name), "--python", python, *place).returncode == 0
    good, bad = (tarry("show", name, *place) for name in ("good", "bad"))
    assert (good.returncode, good.stdout.splitlines()[-1]) == (0, "startable\tyes")
    assert bad.returncode == 1
    assert bad.stdout.splitlines()[-1].startswith('startable\tno: Image "bad" needs Python 3.1, and there is none')
    document = tarry("show", "bad", *place, "--json")
    assert document.returncode == 1
    assert json.loads(document.stdout)["Environment"]["State"] == "cannot be built"


def test_an_image_that_takes_the_place_of_a_built_in_one_says_so(data_dir: Path, tmp_path: Path) -> None:
    mine, place = str(tmp_path / "mine"), ("--data-dir", str(data_dir))
    one = tarry("add", "sagemaker-xgboost:1.7-1", mine, *place)
    assert one.stderr == (
        "It is taken in place of the built-in image from now on, for sagemaker-xgboost with the tags 1.7-1. "
        f"The built-in one again: tarry images remove sagemaker-xgboost:1.7-1 --data-dir {data_dir}\n"
    )
    assert not tarry("add", "sagemaker-xgboost:own", mine, *place).stderr
    every = tarry("add", "sagemaker-xgboost", mine, TARRY_DATA_DIR=str(data_dir)).stderr
    assert "for sagemaker-xgboost with the tags 0.90-1, 0.90-2, 1.0-1, 1.2-1 and " in every
    assert every.endswith("The built-in one again: tarry images remove sagemaker-xgboost\n")
    sources = {
        line.split("\t")[2] for line in tarry("list", *place).stdout.splitlines() if line.startswith("sagemaker-xgboost\t")
    }
    assert sources == {"added", "built-in, hidden by added"}
    hidden = {each["Directory"]: each["HiddenBy"] for each in as_json("list", *place)["Images"]}
    assert set(hidden.values()) == {None, "added"}


def test_an_unknown_reference_says_what_to_do(tmp_path: Path) -> None:
    done = tarry("show", "nobody-knows:1", "--data-dir", str(tmp_path))
    assert done.returncode == 1
    assert "tarry images add nobody-knows DIRECTORY" in done.stderr


def test_build_says_what_can_be_started(data_dir: Path) -> None:
    done = tarry("build", "my-model:7", "--data-dir", str(data_dir))
    assert done.returncode == 0
    assert done.stdout.startswith("my-model:7 can be started: ")


def test_a_directory_that_is_no_image_is_refused_in_a_line(tmp_path: Path) -> None:
    done = tarry("add", "mine", str(tmp_path), "--data-dir", str(tmp_path / "data"))
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "Put an executable named serve into it" in done.stderr


def test_a_terminal_gets_a_table(data_dir: Path) -> None:
    command = [sys.executable, "-m", "tarry", "images", "list", "--data-dir", str(data_dir)]
    with Terminal(command, {"PATH": os.environ["PATH"]}) as terminal:
        assert terminal.finish() == 0
    assert "repositories" in terminal.text
    assert "my-model" in terminal.text


def test_a_running_servers_environments_are_looked_at(data_dir: Path, tmp_path: Path) -> None:
    directory = DataDirectory(data_dir)
    directory.open()
    try:
        directory.write_server(ServerInfo(url="http://127.0.0.1:1", pid=1, engine="process", environments=str(tmp_path / "mine")))
        shown = as_json("show", "sagemaker-xgboost:1.7-1", "--data-dir", str(data_dir))
    finally:
        directory.close()
    assert Path(shown["Environment"]["Directory"]).parent == tmp_path / "mine"
    again = as_json("show", "sagemaker-xgboost:1.7-1", "--data-dir", str(data_dir))
    assert Path(again["Environment"]["Directory"]).parent == data_dir / "environments"


def test_that_images_have_no_effect_in_docker_is_told(data_dir: Path, tmp_path: Path) -> None:
    (data_dir / "tarry.toml").write_text('[engine]\nkind = "docker"\n')
    for command in (["list"], ["show", "my-model"], ["build", "my-model:7"], ["add", "my-model", str(tmp_path / "mine")]):
        done = tarry(*command, "--data-dir", str(data_dir))
        assert done.returncode == 0
        assert "no effect there" in done.stderr


def test_what_was_added_can_be_removed(data_dir: Path) -> None:
    done = tarry("remove", "my-model", "--data-dir", str(data_dir))
    assert (done.returncode, done.stdout) == (0, "removed my-model:*\n")
    assert tarry("show", "my-model:7", "--data-dir", str(data_dir)).returncode == 1
    again = tarry("remove", "my-model:7", "--data-dir", str(data_dir))
    assert again.returncode == 1
    assert "No image my-model:7 was added to" in again.stderr
