"""`m3r train`: the training loop with its progress line, log file and exported checkpoint."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import torch
import typer

from m3r.gpu_busy import GpuBusy, gpu_reader
from m3r.training_log import TrainingLog
from mast3r_engine.checkpoints import load_network, save_network
from mast3r_engine.errors import EngineError, TrainingError
from mast3r_engine.network import Network, build_network, parse_config
from mast3r_engine.training.config import TrainConfig, read_config
from mast3r_engine.training.distributed import join_processes
from mast3r_engine.training.loop import Report, Trainer
from mast3r_engine.training.stage_data import TrainingData
from mast3r_engine.training.structured_start import start_structured


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
            with contextlib.ExitStack() as stack:
                stack.callback(data.close)
                report = stack.enter_context(_open_log(out, tensorboard, place)).write if process.first else _say_nothing
                average = Trainer(net, config, data.stage, out, process, report).run()
            if process.first:
                for reason, times in data.skipped.most_common():
                    typer.echo(f"skipped {times} x {reason}", err=True)
                net.load_state_dict(average)
                net.trained = True
                save_network(net.cpu(), out / "checkpoint", dtype="float16")
    except EngineError as error:
        typer.echo(f"m3r train: {error}", err=True)
        raise typer.Exit(1) from error


@contextlib.contextmanager
def _open_log(out: Path, tensorboard: bool, place: torch.device) -> Iterator[TrainingLog]:
    with GpuBusy(gpu_reader(str(place))) as busy, TrainingLog(out, tensorboard, busy) as log:
        yield log


def _say_nothing(_: Report) -> None:
    """What the processes do that do not speak."""


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
