"""`m3r train`: the training loop with its progress line, log file and exported checkpoint."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import typer

from mast3r_engine.checkpoints import load_network, save_network
from mast3r_engine.errors import EngineError, TrainingError
from mast3r_engine.network import Network, build_network, parse_config
from mast3r_engine.training.config import TrainConfig, read_config
from mast3r_engine.training.distributed import Process, join_processes
from mast3r_engine.training.loop import Report, StepReport, Trainer
from mast3r_engine.training.stage_data import TrainingData
from mast3r_engine.training.structured_start import start_structured

LOG_FILE = "log.jsonl"
LOG_EVERY = 10  # steps


def train(
    config_file: Path,
    out: Path,
    textures: Path | None,
    captures: list[str],  # NAME=FOLDER each
    finetune: str | None,
    device: str,
    tensorboard: bool,
) -> None:
    """Run or resume a training in the folder `out`; afterwards `out/checkpoint` holds the averaged weights in float16."""
    world, local_rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    try:
        config = read_config(config_file)
        out.mkdir(parents=True, exist_ok=True)
        with join_processes(device, world, local_rank) as process:
            place = torch.device(f"cuda:{local_rank}" if device == "cuda" and world > 1 else device)
            net = _start_network(config, finetune).to(place)
            data = TrainingData(config, textures, _parse_captures(captures), place)
            write_report, close = open_log(out, process, tensorboard)
            try:
                average = Trainer(net, config, data.stage, out, process, write_report).run()
            finally:
                close()
                data.close()
            if process.first:
                for reason, times in data.skipped.most_common():
                    typer.echo(f"skipped {times} x {reason}", err=True)
                net.load_state_dict(average)
                net.trained = True
                save_network(net.cpu(), out / "checkpoint", dtype="float16")
    except EngineError as error:
        typer.echo(f"m3r train: {error}", err=True)
        raise typer.Exit(1) from error


def _parse_captures(given: list[str]) -> dict[str, Path]:
    captures = {}
    for text in given:
        name, equals, folder = text.partition("=")
        if not (name and equals and Path(folder).is_dir()):
            raise TrainingError(f"--data {text!r}: it must be NAME=FOLDER with a folder that exists")
        captures[name] = Path(folder)
    return captures


def _start_network(config: TrainConfig, finetune: str | None) -> Network:
    if finetune is not None:
        return load_network(finetune)
    net = build_network(parse_config(config.network), seed=config.seed)
    if config.structured_start:
        start_structured(net, torch.Generator().manual_seed(config.seed))
    return net


def open_log(out: Path, process: Process, tensorboard: bool) -> tuple[Callable[[Report], None], Callable[[], None]]:
    """A function that writes reports (JSON lines, a progress line, TensorBoard if asked for), and one that closes the files."""
    if not process.first:
        return (lambda _: None), (lambda: None)
    log = (out / LOG_FILE).open("a")
    board: Any = None
    if tensorboard:
        from torch.utils.tensorboard import SummaryWriter

        board = SummaryWriter(str(out / "tensorboard"))

    def write(report: Report) -> None:
        values = dataclasses.asdict(report)
        step = report.position.total_steps
        if isinstance(report, StepReport):
            if step % LOG_EVERY == 0:
                log.write(json.dumps({"kind": "step", **values}) + "\n")
                log.flush()
                typer.echo(_describe_step(report), nl=not sys.stdout.isatty())
        else:
            log.write(json.dumps({"kind": "validation", **values}) + "\n")
            log.flush()
            typer.echo(f"\n{report.stage} step {report.position.step}: {json.dumps(values['figures'])}")
        if board is not None:
            flat = values if isinstance(report, StepReport) else values["figures"]
            for name, value in flat.items():
                if isinstance(value, float):
                    board.add_scalar(name, value, step)

    def close() -> None:
        log.close()
        if board is not None:
            board.close()

    return write, close


def _describe_step(report: StepReport) -> str:
    start = "\r" if sys.stdout.isatty() else ""
    return (
        f"{start}{report.stage} {report.progress:5.1%}  step {report.position.step}  {report.pairs_per_second:6.1f} pairs/s "
        f"({report.render_share:.0%} rendering)  loss {report.loss:7.4f}  points {report.points:.4f}  "
        f"matching {report.matching:.3f}  gradient {report.gradient:.2f}  lr {report.lr:.2e}"
    )
