"""Ten faults at four moments of a job: it ends once, with one result, within its attempts, and no other job is touched.

Continuous integration runs one cell of each fault; `make faults` runs all forty and prints the table. As a negative control the
same check is made with the fencing token switched off, and must fail.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from services.adapters.embedded import EmbeddedRedis, free_port
from services.contract.states import JobStatus
from tests.services.conftest import make_settings
from tests.services.fault_kinds import FAULTS, freeze_worker
from tests.services.fault_scene import HELD_WORKER, MOMENTS, UNFENCED_WORKER, Scene, run_cell, scene
from tests.services.gated_worker import FOLDER, Gates
from tests.services.s3_server import S3Server
from tests.services.service_stand import Stand
from tests.services.tcp_proxy import TcpProxy

CI_CELLS = [
    ("SIGKILL child", "after-commit"),
    ("SIGKILL worker", "before-commit"),
    ("SIGTERM", "before-claim"),
    ("SIGSTOP > lease", "before-commit"),
    ("Redis restart", "before-commit"),
    ("Redis empty", "after-commit"),
    ("S3 down", "mid-stage"),
    ("S3 slow", "before-claim"),
    ("disk full", "mid-stage"),
    ("API restart", "mid-stage"),
]
ALL_CELLS = [(fault, moment) for fault in FAULTS for moment in MOMENTS]


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[dict[tuple[str, str], str]]:
    """What came of the cells; printed at the end."""
    cells: dict[tuple[str, str], str] = {}
    yield cells
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print("\n\n| fault | " + " | ".join(MOMENTS) + " |\n|" + " --- |" * (1 + len(MOMENTS)))
        for fault in FAULTS:
            print(f"| {fault} | " + " | ".join(cells.get((fault, moment), "") for moment in MOMENTS) + " |")


class Staging:
    """Builds scenes for one test, and takes them down."""

    def __init__(self, folder: Path, request: pytest.FixtureRequest, stack: ExitStack) -> None:
        self._folder = folder
        self._request = request
        self._stack = stack
        gates = folder / "gates"
        gates.mkdir()
        self.gates = Gates(gates)

    def build(self, fault: str, moment: str, module: str = HELD_WORKER) -> Scene:
        """A job held at a moment, with all that its fault needs."""
        server = self._stack.enter_context(EmbeddedRedis(self._folder / "redis"))
        changes: dict[str, Any] = {"storage_patience_s": 60.0, "s3_timeout_s": 2.0, "port": free_port()}
        s3: S3Server | None = self._request.getfixturevalue("s3_process") if fault.startswith("S3") else None
        if s3 is not None:
            changes |= {**s3.settings, "store": f"{s3.settings['store']}/{self._folder.name}"}
        stand = self._stack.enter_context(Stand(make_settings(server.url, self._folder, **changes), self._folder, server))
        proxy = None
        if s3 is not None:  # the workers go through the proxy, the test itself does not
            proxy = self._stack.enter_context(TcpProxy(s3.port))
            stand.settings = stand.settings.model_copy(update={"s3_endpoint": proxy.url})
        return self._stack.enter_context(scene(stand, self.gates, moment, module, proxy, over_http=fault == "API restart"))


@pytest.fixture
def staging(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Staging]:
    """Builds scenes; everything they started ends with the test."""
    with ExitStack() as stack:
        made = Staging(tmp_path, request, stack)
        monkeypatch.setenv(FOLDER, str(made.gates.folder))
        yield made


def run(staging: Staging, table: dict[tuple[str, str], str], fault: str, moment: str) -> None:
    table[fault, moment] = "FAILED"
    began = time.monotonic()
    done = run_cell(FAULTS[fault], staging.build(fault, moment))
    outcomes = [str(attempt.outcome) for attempt in done.attempts]
    assert done.status is JobStatus.SUCCEEDED, (done.error, outcomes)
    table[fault, moment] = f"{', '.join(outcomes)} ({time.monotonic() - began:.0f} s)"


@pytest.mark.parametrize(("fault", "moment"), CI_CELLS)
def test_a_cell_of_each_fault(staging: Staging, table: dict[tuple[str, str], str], fault: str, moment: str) -> None:
    run(staging, table, fault, moment)


@pytest.mark.faults
@pytest.mark.parametrize(("fault", "moment"), ALL_CELLS)
def test_every_cell(staging: Staging, table: dict[tuple[str, str], str], fault: str, moment: str) -> None:
    run(staging, table, fault, moment)


@pytest.mark.parametrize("moment", ["before-commit", pytest.param("mid-stage", marks=pytest.mark.faults)])
def test_without_the_fencing_check_the_matrix_fails(staging: Staging, moment: str) -> None:
    made = staging.build("SIGSTOP > lease", moment, UNFENCED_WORKER)
    with pytest.raises(AssertionError, match=r"another attempt's"):
        run_cell(freeze_worker, made)
