"""What a training tells: lines, TensorBoard, the GPU's busy share."""

from __future__ import annotations

import io
import json
import math
import sys
import threading
from pathlib import Path

import pytest
from rich.console import Console

from m3r.gpu_busy import GpuBusy, gpu_reader, parse_share
from m3r.training_log import TrainingLog
from mast3r_engine.errors import TrainingError
from mast3r_engine.training.loop import StepReport, ValidationReport
from mast3r_engine.training.run_state import Position
from mast3r_engine.training.validation import Validation


def a_step(number: int) -> StepReport:
    return StepReport(
        stage="joint", position=Position(step=number, total_steps=number), progress=number / 40, loss=1.5,
        points=0.25, matching=2.5, gradient=0.75, lr=1e-3, pairs_per_second=123.4, render_share=0.1,
    )  # fmt: skip


def a_validation(number: int) -> ValidationReport:
    figures = Validation(64, (0.125, 0.5, 0.75), 0.25, 0.2, 0.3, 0.35, 0.1, None)
    return ValidationReport("joint", Position(step=number, total_steps=number), figures)


def fill(log: TrainingLog) -> None:
    with log:
        for number in range(1, 11):
            log.write(a_step(number))
        log.write(a_validation(10))
        for number in range(11, 21):
            log.write(a_step(number))


def test_a_file_gets_lines_with_the_last_validation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(TrainingLog(tmp_path, False))
    lines = [line for line in capsys.readouterr().out.splitlines() if "pairs/s" in line]
    assert len(lines) == 2
    assert "held out" not in lines[0]
    assert "123.4 pairs/s" in lines[1]
    assert "matches 12.5% / 50.0% / 75.0%" in lines[1]
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert kinds == ["step", "validation", "step"]


def test_a_terminal_gets_one_live_line(tmp_path: Path) -> None:
    screen = io.StringIO()
    fill(TrainingLog(tmp_path, False, console=Console(file=screen, force_terminal=True, width=250)))
    last = screen.getvalue()[screen.getvalue().rindex("joint step") :]
    assert "step 20" in last
    assert "50%" in last
    assert "points off 25.0% (blind 35.0%)" in last


def test_tensorboard_has_training_and_validation(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fill(TrainingLog(tmp_path, True))
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [e.value for e in events.Scalars("validation/match_within_2_percent")] == [0.5]
    assert [(e.step, e.value) for e in events.Scalars("validation/point_error")] == [(10, 0.25)]
    assert len(events.Scalars("train/loss")) == 20
    assert "validation/calibration" not in events.Tags()["scalars"]


def test_without_tensorboard_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(TrainingError, match="pip install tensorboard"):
        TrainingLog(tmp_path, True)


def test_the_gpu_share_is_the_mean_of_what_was_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values, done = iter([0.5, 1.0]), threading.Event()

    def read() -> float | None:
        value = next(values, None)
        if value is None:
            done.set()
        return value

    with GpuBusy(read, every=0.001) as busy:
        assert done.wait(20)
        assert busy.share == 0.75
        fill(TrainingLog(tmp_path, False, busy))
    assert "GPU 75% busy" in capsys.readouterr().out
    assert json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])["gpu_busy"] == 0.75


def test_without_a_gpu_nothing_is_claimed() -> None:
    assert gpu_reader("cpu")() is None
    with GpuBusy(lambda: None, every=0.001) as busy:
        assert busy.share is None
    assert parse_share(" 87\n") == pytest.approx(0.87)
    assert parse_share("[N/A]") is None
    assert not math.isnan(parse_share("0") or 0.0)
