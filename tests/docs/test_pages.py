"""The pages say what is true: settings, commands, links, generated tables."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from typer.main import get_command

from tarry.aws.compatibility import render_markdown
from tarry.bootstrap.build import all_services
from tarry.cli.main import app
from tarry.settings import Settings

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "tarry"
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _keys(field.annotation, f"{prefix}{name}.")
        elif name != "data_dir":
            yield f"{prefix}{name}"


@pytest.mark.parametrize("key", list(_keys(Settings)))
def test_every_setting_is_documented(key: str) -> None:
    assert f"`{key}`" in (ROOT / "docs" / "operations.md").read_text()


def _commands(group: Any, words: str) -> Iterator[tuple[str, Any]]:
    """Every command with the words that one types for it."""
    for name, command in group.commands.items():
        typed = f"{words} {name}"
        if hasattr(command, "commands"):
            yield from _commands(command, typed)
        else:
            yield typed, command


def test_every_command_and_every_flag_is_documented() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    for typed, command in _commands(get_command(app), "tarry"):
        # `tarry keys` names its commands in one row.
        assert f"`{typed}" in text or (typed.startswith("tarry keys ") and f"`{typed.rpartition(' ')[2]}" in text), typed
        for parameter in command.params:
            for option in (one for one in parameter.opts if one.startswith("--") and one != "--help"):
                assert re.search(rf"{option}\b(?!-)", text), f"{typed} {option}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_compatibility_page_is_current() -> None:
    """`make docs` writes it."""
    assert (ROOT / "docs" / "compatibility.md").read_text() == render_markdown(all_services())


def test_architecture_names_files_that_exist() -> None:
    named = set(_named_paths(_prose(ROOT / "ARCHITECTURE.md")))
    assert {"backends/database/queue.py", "delivery/sweeper.py", "aws/services/sagemaker", "tests/contracts/"} <= named
    for name in named:
        assert list(SOURCE.glob(name)) or (ROOT / name).exists(), name


def test_architecture_names_functions_that_exist() -> None:
    for path, name in re.findall(r"([\w/*]+\.py): (\w+)", _prose(ROOT / "ARCHITECTURE.md")):
        texts = [file.read_text() for file in SOURCE.glob(path)]
        assert any(re.search(rf"\b(def|class) {name}\b", text) for text in texts), f"{path}: {name}"


def _prose(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def _named_paths(text: str) -> Iterator[str]:
    """Every path between backticks: chains with arrows, ``a/{b,c}.py``, ``queue*.py``, and rooms without ``.py``."""
    for quoted in re.findall(r"`([^`]+)`", text):
        for word in re.split(r"[\s→:]+", quoted):
            if "/" in word and "<" not in word:
                head, _, rest = word.partition("{")
                alternatives, _, tail = rest.partition("}")
                yield from (f"{head}{one}{tail}" for one in alternatives.split(","))
