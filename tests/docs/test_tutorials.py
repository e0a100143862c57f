"""The tutorials' code: Python runs as it stands there, shell can be read, and commands have the options that they are given."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import m3r_client
from m3r.main import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *sorted((ROOT / "docs" / "tutorials").glob("*.md")),
    *(ROOT / "docs" / name for name in ("conventions.md", "options.md")),
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
NEEDS_SERVICE = "# needs a service\n"
EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def blocks(page: Path, *languages: str) -> list[str]:
    return [code for language, code in FENCE.findall(page.read_text()) if language in languages]


@pytest.fixture
def photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder that the tutorials speak of."""
    (tmp_path / "photos").mkdir()
    for name, source in zip("abc", sorted((ROOT / "examples" / "desk").glob("*.jpg"))[1:4], strict=True):
        shutil.copy(source, tmp_path / "photos" / f"{name}.jpg")
    monkeypatch.chdir(tmp_path)


@EVERY_PAGE
@pytest.mark.usefixtures("photographs")
def test_python_runs_from_top_to_bottom(page: Path) -> None:
    names: dict[str, Any] = {"__name__": "tutorial"}
    for code in blocks(page, "python"):
        if not code.startswith(NEEDS_SERVICE):
            exec(compile(code, f"{page.name}: {code.splitlines()[0]}", "exec"), names)


def client_calls(code: str) -> Iterator[tuple[str, list[str], int]]:
    """Method, keywords and number of other arguments of each call on `client`."""
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="client"), attr=method)):
                yield method, [keyword.arg or "**" for keyword in node.keywords], len(node.args)


def test_python_that_needs_a_service_calls_what_the_client_has() -> None:
    checked = 0
    for code in [code for page in PAGES for code in blocks(page, "python") if code.startswith(NEEDS_SERVICE)]:
        for method, keywords, places in client_calls(code):
            signature = inspect.signature(getattr(m3r_client.Client, method))
            signature.bind(None, *[None] * places, **dict.fromkeys(keywords))  # TypeError: no such argument
            checked += 1
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and node.module == "m3r_client":
                assert {name.name for name in node.names} <= set(m3r_client.__all__)
    assert checked >= 4


@EVERY_PAGE
def test_shell_can_be_read(page: Path) -> None:
    for code in blocks(page, "sh", "bash", ""):
        read = subprocess.run(["sh", "-n"], check=False, input=code, text=True, capture_output=True, timeout=20)
        assert read.returncode == 0, code + read.stderr


def commands(page: Path) -> Iterator[list[str]]:
    """The words of every `m3r …` in the page's shell."""
    for code in blocks(page, "sh", "bash", ""):
        for line in re.sub(r"\\\n", " ", code).splitlines():
            if line.startswith("m3r "):
                yield shlex.split(line, comments=True)[1:]


@EVERY_PAGE
def test_commands_have_the_options_that_they_are_given(page: Path) -> None:
    for words in commands(page):
        command, rest = typer.main.get_command(app), list(words)
        while hasattr(command, "commands"):
            command = command.commands[rest.pop(0)]
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        given = {word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
        assert given <= known, f"m3r {command.name} has no {given - known}"


def test_the_check_of_commands_sees_them() -> None:
    assert sum(len(list(commands(page))) for page in PAGES) >= 9


@EVERY_PAGE
def test_files_of_the_repository_are_there(page: Path) -> None:
    for name in re.findall(r"\b((?:examples|docs|benchmarks|services|mast3r_engine)/[\w./-]*\w)", page.read_text()):
        assert (ROOT / name).exists(), name
