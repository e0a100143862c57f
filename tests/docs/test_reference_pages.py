"""Pages that are written from the code are what the code says now; every code and reason has its words."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image
from pydantic import BaseModel

from mast3r_engine.errors import EngineError
from mast3r_engine.localisation.trust import Reason
from services.contract.codes import JobErrorCode, ProblemCode
from services.contract.info import Limits, Retention, TenantLimits
from services.contract.options import options_schema

DOCS = Path(__file__).resolve().parents[2] / "docs"
TROUBLESHOOTING = (DOCS / "troubleshooting.md").read_text()


@pytest.mark.parametrize(("script", "function", "page"), [
    ("write_options.py", "options_page", "options.md"),
    ("write_limits.py", "limits_page", "limits.md"),
])  # fmt: skip
def test_a_page_that_is_written_from_the_code_is_up_to_date(script: str, function: str, page: str) -> None:
    write: Callable[[], str] = runpy.run_path(str(DOCS / "scripts" / script))[function]
    assert (DOCS / page).read_text() == write(), f"python docs/scripts/{script} > docs/{page}"


def leaves_of_schema(part: dict, schema: dict, prefix: str = "") -> Iterator[str]:
    for name, described in part["properties"].items():
        if "$ref" in described:
            yield from leaves_of_schema(schema["$defs"][described["$ref"].rpartition("/")[2]], schema, f"{prefix}{name}.")
        else:
            yield prefix + name


def test_every_option_has_a_line_with_words() -> None:
    page = (DOCS / "options.md").read_text()
    for name in leaves_of_schema(options_schema(), options_schema()):
        (line,) = re.findall(rf"^\| `{re.escape(name)}` \|.*$", page, re.MULTILINE)
        assert len(line.split(" | ")[-1].rstrip(" |")) > 10, line


def leaves_of_model(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from leaves_of_model(inner, f"{prefix}{name}.")
        else:
            yield prefix + name


def test_every_limit_that_the_service_tells_has_a_line() -> None:
    page = (DOCS / "limits.md").read_text()
    wanted = {*leaves_of_model(Limits, "limits."), *leaves_of_model(Retention, "retention.")}
    wanted |= {f"tenant.{name}" for name in TenantLimits.model_fields if name not in ("name", "scopes")}
    assert len(wanted) >= 20
    assert {name for name in wanted if f"| `{name}` |" not in page} == set()


def codes_of_engine() -> set[str]:
    def below(kind: type[EngineError]) -> Iterator[type[EngineError]]:
        yield kind
        for child in kind.__subclasses__():
            yield from below(child)

    return {kind.code for kind in below(EngineError) if kind.__module__ == EngineError.__module__}


def test_every_code_has_an_entry_with_cause_and_remedy() -> None:
    entries = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##)", TROUBLESHOOTING, re.MULTILINE | re.DOTALL))
    codes = {code.value for code in (*ProblemCode, *JobErrorCode)} | codes_of_engine()
    assert set(entries) == codes
    assert TROUBLESHOOTING.count("\n### ") == len(codes)  # each once
    for code, words in entries.items():
        assert re.search(r"\n- \*\*Cause:\*\* \S.{10,}\n- \*\*Remedy:\*\* \S.{10,}\n", words), code


def test_job_errors_are_told_apart_from_refusals() -> None:
    for code in JobErrorCode:
        first = TROUBLESHOOTING.split(f"### `{code.value}`\n\n")[1].splitlines()[0]
        assert "failed job." in first, code
        assert bool(re.match(r"HTTP \d{3}", first)) == (code.value in {c.value for c in ProblemCode}), code
    for code in set(ProblemCode) - {ProblemCode(c.value) for c in JobErrorCode if c.value in {p.value for p in ProblemCode}}:
        first = TROUBLESHOOTING.split(f"### `{code.value}`\n\n")[1].splitlines()[0]
        assert re.match(r"HTTP \d{3}( or \d{3})?\. ", first), code


def test_every_reason_of_a_query_without_a_pose_has_a_line() -> None:
    for reason in get_args(Reason):
        assert re.search(rf"^\| `{reason}` \| .+ \| .+ \|$", TROUBLESHOOTING, re.MULTILINE), reason


def test_the_picture_of_the_axes_is_what_its_script_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["draw_axes.py", str(tmp_path / "axes.png")])
    runpy.run_path(str(DOCS / "scripts" / "draw_axes.py"), run_name="__main__")
    drawn, kept = (
        np.asarray(Image.open(p).convert("L"), np.float64) for p in (tmp_path / "axes.png", DOCS / "pictures" / "axes.png")
    )
    assert drawn.shape == kept.shape
    assert (np.abs(drawn - kept) > 32).mean() < 1e-3  # letters differ a little between versions of the fonts
