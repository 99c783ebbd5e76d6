"""The size and style rules of the design, checked on every module."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "tarry"
MODULES = sorted(path for path in SOURCE.rglob("*.py") if "migrations/versions" not in path.as_posix())
MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 50
PARAMETERS_MAX = 6

MARKS = (
    re.compile(r"# (AWS|OURS):(.*(?:\n *#.*)*)"),
    re.compile(r'(?:"""|^ *|\. )(AWS|OURS):((?:(?!"""|\n *\n).)*)', re.DOTALL | re.MULTILINE),
)
"""A mark in a comment with the comment's other lines, and one in a docstring with the rest of its paragraph."""
SOURCE_OF_A_FACT = re.compile(
    r"#\d+|API_|\.html|RFC \d|botocore|snapshots|SDK|\b([Gg]uide|[Rr]eference|[Dd]ocs|[Pp]ages?|Errors of)\b"
    r"|\(\w[^()]*[-/.,][^()]*\)"
)
"""What a source looks like: an issue's number, a page, a description, or something in parentheses that is a name or a place."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def _name(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def _functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def _body_lines(function: Function) -> int:
    lines = (function.end_lineno or 0) - function.lineno + 1
    docstring = ast.get_docstring(function)
    return lines - (docstring.count("\n") + 1 if docstring else 0)


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_module_keeps_its_budget(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= MODULE_LINES_MAX
    for function in _functions(ast.parse(text)):
        assert _body_lines(function) <= FUNCTION_LINES_MAX, function.name


@pytest.mark.parametrize("path", [path for path in MODULES if "serving" not in path.parts], ids=_name)
def test_module_and_public_names_say_what_they_are(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "a module opens with the problem that it solves"
    public = [node for node in tree.body if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_")]
    for node in public:
        assert ast.get_docstring(node), node.name


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_marks_carry_their_reason(path: Path) -> None:
    text = path.read_text()
    for match in (match for mark in MARKS for match in mark.finditer(text)):
        reason = re.split(r"\b(?:AWS|OURS):", match[2])[0]
        assert reason.strip(), match[0]
        assert match[1] == "OURS" or SOURCE_OF_A_FACT.search(reason), match[0]
    for line in text.splitlines():
        assert not re.search(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b", line), line


@pytest.mark.parametrize("path", [path for path in MODULES if "serving" not in path.parts], ids=_name)
def test_functions_take_few_parameters(path: Path) -> None:
    for function in _functions(ast.parse(path.read_text())):
        arguments = function.args
        count = len([a for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs) if a.arg not in ("self", "cls")])
        command = path.parent.name == "cli" and not function.name.startswith("_")
        exempt = function.name == "__init__" or command  # constructors connect ports; commands have one parameter a flag
        assert count <= PARAMETERS_MAX or exempt, function.name


def test_serving_stands_apart() -> None:
    for path in (SOURCE / "serving").rglob("*.py"):
        assert not re.search(r"^\s*(import|from) tarry\b", path.read_text(), re.MULTILINE), path


def test_the_project_stands_alone() -> None:
    """No file names a place on the machine where it was written."""
    suspicious = re.compile(r"\.\./shared|/wo" r"rk/|pypi\.org|files\.pythonhosted")
    for path in (
        *ROOT.glob("*.*"),
        *ROOT.glob("requirements/**/*"),
        *SOURCE.rglob("*"),
        *ROOT.glob("docs/**/*"),
        *ROOT.glob("tests/**/*.py"),
    ):
        if path.is_file() and "__pycache__" not in path.parts and path.suffix in {".py", ".md", ".toml", ".txt", ".in", ""}:
            assert not suspicious.search(path.read_text()), path
