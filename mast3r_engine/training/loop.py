"""The training loop: stages, steps, averages, states that survive a kill."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from mast3r_engine.errors import TrainingError
from mast3r_engine.network import Network
from mast3r_engine.training.batch import PairBatch
from mast3r_engine.training.config import Stage, TrainConfig
from mast3r_engine.training.distributed import Process, average_gradients, average_value, share_value, share_weights
from mast3r_engine.training.forward import Predict, predict
from mast3r_engine.training.mixture import PairSource, expect_batch
from mast3r_engine.training.objective import Objective, evaluate_objective
from mast3r_engine.training.optimiser import build_optimiser, freeze, learning_rate, update_average
from mast3r_engine.training.run_state import Position, RunState, read_state, write_state
from mast3r_engine.training.tying import tie_views, untie_views
from mast3r_engine.training.validation import Validation, validate

MAX_SKIPPED_IN_A_ROW = 20
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class StepReport:
    """One step, averaged over all processes."""

    stage: str
    position: Position
    progress: float  # of the stage, [0, 1]
    loss: float
    points: float
    matching: float
    gradient: float  # norm before clipping
    lr: float
    pairs_per_second: float
    render_share: float  # of the step's time


@dataclass(frozen=True)
class ValidationReport:
    """The averaged weights on held-out pairs."""

    stage: str
    position: Position
    figures: Validation


Report = StepReport | ValidationReport


@dataclass(frozen=True)
class StageData:
    """What a stage trains on and is judged by."""

    source: PairSource
    validation: PairBatch | None


class Trainer:
    """A run in one folder; `run` starts it or takes it up where it was left."""

    def __init__(
        self,
        net: Network,  # on its device, float32
        config: TrainConfig,
        stage_data: Callable[[Stage], StageData],
        folder: Path,
        process: Process,
        on_report: Callable[[Report], None],
    ) -> None:
        self.net, self.config, self.folder, self.process = net, config, folder, process
        self._stage_data, self._on_report = stage_data, on_report
        self.position = Position()
        self._average: dict[str, Tensor] = {}
        self._saved_at = 0.0
        self._predict: Predict = torch.compile(predict, dynamic=False) if config.compile_network else predict

    def run(self) -> dict[str, Tensor]:
        """Train all stages; returns the averaged weights."""
        saved = read_state(self.folder)
        if saved is not None:
            self.net.load_state_dict(saved.weights)
            self.position = saved.position
        share_weights(self.net, self.process)
        average = saved.average if saved else self.net.state_dict()
        device = next(self.net.parameters()).device
        self._average = {key: value.detach().to(device, copy=True) for key, value in average.items()}
        optimiser_state = saved.optimiser if saved else None
        for number in range(self.position.stage, len(self.config.stages)):
            self._run_stage(self.config.stages[number], optimiser_state)
            optimiser_state = None
            self.position.stage, self.position.step, self.position.stage_seconds = number + 1, 0, 0.0
            self._save(None)
        return self._average

    def _run_stage(self, stage: Stage, optimiser_state: dict[str, object] | None) -> None:
        untie_views(self.net)
        if stage.tie_views:
            tie_views(self.net)
        unused = freeze(self.net, stage.frozen)
        if unused:
            raise TrainingError(f"stage {stage.name!r} freezes {unused[0]!r}, and no weight's name starts with that")
        optimiser = build_optimiser(self.net, stage.lr, self.config.betas, self.config.weight_decay)
        if optimiser_state is not None:
            optimiser.load_state_dict(optimiser_state)
        data = self._stage_data(stage)
        self.net.train()
        in_a_row = 0
        self._saved_at = time.monotonic()
        while True:
            progress = share_value(self._progress(stage), self.process)
            if progress >= 1:
                break
            report = self._step(stage, optimiser, data.source, progress)
            in_a_row = 0 if math.isfinite(report.loss) else in_a_row + 1
            if in_a_row > MAX_SKIPPED_IN_A_ROW:
                raise TrainingError(f"stage {stage.name!r}: {in_a_row} losses in a row were not finite; lower lr")
            self._on_report(report)
            if self.position.step % self.config.validate_every == 0:
                self._validate(stage, data.validation)
            if time.monotonic() - self._saved_at > self.config.save_minutes * 60:
                self._save(optimiser)
        self._validate(stage, data.validation)

    def _progress(self, stage: Stage) -> float:
        by_steps = self.position.step / stage.steps
        return max(by_steps, self.position.stage_seconds / (stage.minutes * 60)) if stage.minutes else by_steps

    def _step(self, stage: Stage, optimiser: torch.optim.Optimizer, source: PairSource, progress: float) -> StepReport:
        started = time.monotonic()
        lr = learning_rate(progress + 0.5 / stage.steps, stage.lr, stage.final_lr, stage.warmup)
        for group in optimiser.param_groups:
            group["lr"] = lr
        optimiser.zero_grad(set_to_none=True)
        parts, rendering = [], 0.0
        for micro in range(stage.accumulate):
            drawn = time.monotonic()
            batch = self._draw(stage, source, micro)
            rendering += time.monotonic() - drawn
            objective = self._objective(stage, batch)
            (objective.total / stage.accumulate).backward()  # type: ignore[no-untyped-call]
            parts.append(objective)
        average_gradients(self.net, self.process)
        norm = nn.utils.clip_grad_norm_(self.net.parameters(), self.config.clip)
        loss = average_value(torch.stack([p.total.detach() for p in parts]).mean(), self.process)
        if math.isfinite(loss) and bool(norm.isfinite()):
            optimiser.step()
            update_average(self._average, self.net, self.config.ema, self.position.total_steps)
        else:
            self.position.skipped += 1
            loss = math.nan
        taken = time.monotonic() - started
        self._advance(stage, taken)
        points, matching = (torch.stack([getattr(p, kind) for p in parts]).mean() for kind in ("points", "matching"))
        return StepReport(
            stage=stage.name, position=copy.copy(self.position), progress=progress, loss=loss,
            points=float(points), matching=float(matching), gradient=float(norm), lr=lr,
            pairs_per_second=stage.batch / taken, render_share=rendering / taken,
        )  # fmt: skip

    def _draw(self, stage: Stage, source: PairSource, micro: int) -> PairBatch:
        count = max(stage.batch // stage.accumulate // self.process.world, 1)
        number = self.position.step * stage.accumulate + micro
        seed = (self.config.seed * 1000 + self.position.stage) * 1000 + self.process.rank
        last = stage.steps * stage.accumulate - 1
        for coming in range(number, min(number + self.config.prefetch, last) + 1):
            expect_batch(source, count, seed, coming)
        return source.draw(count, seed, number)

    def _objective(self, stage: Stage, batch: PairBatch) -> Objective:
        picks = torch.arange(batch.pairs, device=batch.metric.device) < round(stage.metric_share * batch.pairs)
        return evaluate_objective(
            self.net, batch, stage, self.config.losses, PRECISIONS[self.config.precision], batch.metric & picks, self._predict
        )

    def _advance(self, stage: Stage, seconds: float) -> None:
        position = self.position
        position.step += 1
        position.total_steps += 1
        position.pairs += stage.batch
        position.stage_seconds += seconds
        position.seconds += seconds

    def _validate(self, stage: Stage, batch: PairBatch | None) -> None:
        if not self.process.first or batch is None:
            return
        averaged = copy.deepcopy(self.net)
        untie_views(averaged)
        averaged.load_state_dict(self._average)
        figures = validate(averaged.eval(), batch, points=stage.points_weight > 0)
        self._on_report(ValidationReport(stage.name, copy.copy(self.position), figures))

    def _save(self, optimiser: torch.optim.Optimizer | None) -> None:
        self._saved_at = time.monotonic()
        if self.process.first:
            weights = {key: value.detach().cpu() for key, value in self.net.state_dict().items()}
            average = {key: value.cpu() for key, value in self._average.items()}
            state = optimiser.state_dict() if optimiser else None
            write_state(self.folder, RunState(self.position, weights, average, state))
