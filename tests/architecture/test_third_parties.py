"""Which third-party package may be imported where."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "tarry"

ALLOWED: dict[str, tuple[str, ...]] = {
    "anycrc": ("aws/auth",),
    "botocore": ("aws",),
    "sqlalchemy": ("backends/database", "embedded"),
    "alembic": ("backends/database",),
    "aiohttp": ("backends/engines/docker_api.py", "embedded/topics"),
    "aiodocker": ("backends/engines/docker_api.py",),
    "httptools": ("backends/http_exchange.py",),
    "psutil": ("backends",),
    "cryptography": ("embedded/topics",),
    "typer": ("cli",),
    "rich": ("cli", "bootstrap"),
    "uvicorn": ("bootstrap",),
    "uvloop": ("bootstrap",),
    "pydantic": ("settings.py", "backends/database"),
    "structlog": ("aws", "bootstrap", "backends", "control", "delivery", "embedded"),
}
"""Package → the rooms that may import it. docs/dependencies.md says what each is for."""

MODULES = sorted(path for path in SOURCE.rglob("*.py") if "serving" not in path.parts and "versions" not in path.parts)


def _imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").partition(".")[0])
    return names


def _dependencies() -> Iterator[str]:
    for line in (ROOT / "requirements" / "server.in").read_text().splitlines():
        if line and not line.startswith(("#", "-")):
            yield line.partition(">")[0].partition("=")[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_module_imports_only_what_its_room_may(path: Path) -> None:
    place = path.relative_to(SOURCE).as_posix()
    for name in _imported(path) - set(sys.stdlib_module_names) - {"tarry"}:
        rooms = ALLOWED.get(name, ())
        assert any(place == room or place.startswith(f"{room}/") for room in rooms), f"{place} imports {name}"


def test_core_is_pure() -> None:
    """No input or output, no clock, no random numbers."""
    impure = {"asyncio", "os", "pathlib", "random", "secrets", "socket", "sqlite3", "subprocess", "threading", "time", "uuid"}
    for path in (SOURCE / "core").rglob("*.py"):
        assert not _imported(path) & impure, path


def test_every_dependency_is_explained() -> None:
    explained = (ROOT / "docs" / "dependencies.md").read_text()
    for name in _dependencies():
        assert f"| {name} |" in explained, name


def test_every_dependency_is_imported() -> None:
    imported = {name for path in MODULES for name in _imported(path)}
    assert set(_dependencies()) <= imported


def test_the_package_asks_for_what_the_lock_is_made_from() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "requirements" / "server.in").read_text().splitlines()
    assert project["dependencies"] == [line for line in lines if line and not line.startswith("#")]
