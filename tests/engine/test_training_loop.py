"""The training loop: it learns, survives kills, refuses bad configs, and skips bad batches with a count."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, multiprocessing
from typer.testing import CliRunner

from m3r.main import app
from mast3r_engine.checkpoints import load_network
from mast3r_engine.errors import TrainingError
from mast3r_engine.network import Network, build_network
from mast3r_engine.training.batch import PairBatch
from mast3r_engine.training.captures.source import CaptureSource
from mast3r_engine.training.config import Augmentation, Stage, TrainConfig, parse_config, read_config
from mast3r_engine.training.distributed import Process, average_gradients, join_processes
from mast3r_engine.training.loop import Report, StageData, StepReport, Trainer, ValidationReport
from mast3r_engine.training.mixture import SizesSource
from mast3r_engine.training.optimiser import learning_rate
from mast3r_engine.training.quarter_turns import TurnedSource
from mast3r_engine.training.run_state import read_state
from mast3r_engine.training.structured_start import start_structured
from mast3r_engine.training.synthetic.photos import procedural_photos
from mast3r_engine.training.synthetic.scene import SlotCounts
from mast3r_engine.training.synthetic.source import SyntheticOptions, SyntheticSource
from mast3r_engine.training.tying import tie_views, untie_views
from mast3r_engine.training.validation import calibration_ratio, validate

NETWORK: dict[str, Any] = {
    "img_size": [32, 24], "patch_size": 4, "enc_embed_dim": 64, "enc_depth": 2, "enc_num_heads": 4, "dec_embed_dim": 32,
    "dec_depth": 3, "dec_num_heads": 2, "head_type": "catmlp+dpt", "output_mode": "pts3d+desc16", "two_confs": True,
    "desc_conf_mode": ["exp", 0.0, "inf"], "feature_dim": 16, "layer_dims": [16, 16, 16, 16], "local_feature_mlp_ratio": 2.0,
}  # fmt: skip
STAGE: dict[str, Any] = {
    "name": "both", "steps": 4, "batch": 4, "height": 24, "width": 32, "lr": 1e-3, "matches": 32, "meshes": 0, "shadows": False,
}  # fmt: skip
EXAMPLES = Path(__file__).parents[2] / "examples" / "train"


def a_config(*stages: dict[str, Any], **values: Any) -> TrainConfig:
    stages = stages or ({},)
    merged = [{**STAGE, **stage} for stage in stages]
    return parse_config({"network": NETWORK, "precision": "float32", "validation_pairs": 4, "stages": merged, **values})


def a_network(seed: int = 0) -> Network:
    net = build_network(NETWORK, seed)
    start_structured(net, torch.Generator().manual_seed(seed))
    return net


def stage_data(stage: Stage) -> StageData:
    options = SyntheticOptions(
        height=stage.height, width=stage.width, matches=stage.matches, texture_size=32, textures=16, slots=SlotCounts(meshes=0)
    )
    source = SyntheticSource(procedural_photos(8, torch.Generator().manual_seed(0), size=48), options)
    return StageData(source, source.draw(4, 77, 0))


def train_in(folder: Path, config: TrainConfig, on_report: Callable[[Report], None] = lambda _: None) -> dict[str, Tensor]:
    return Trainer(a_network(), config, stage_data, folder, Process(), on_report).run()


class Killed(BaseException):
    """Stands for a process that ends between two steps."""


def test_a_killed_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    config = a_config({"points_weight": 0.0, "tie_views": True, "symmetrise": False, "steps": 3}, {"steps": 4}, save_minutes=0.0)
    expected = train_in(whole, config)
    steps: list[int] = []

    def die_at(*fatal: int) -> Callable[[Report], None]:
        def on_report(report: Report) -> None:
            if isinstance(report, StepReport):
                steps.append(report.position.total_steps)
                if report.position.total_steps in fatal:
                    raise Killed

        return on_report

    for fatal in (2, 5, 6):
        with pytest.raises(Killed):
            train_in(parts, config, die_at(fatal))
        (parts / "state.pt.partial").write_bytes(b"half a file")  # as a kill while writing leaves it
    got = train_in(parts, config, die_at())
    assert steps == [1, 2, 2, 3, 4, 5, 5, 6, 6, 7]  # a step whose state was not written yet is done again
    assert got.keys() == expected.keys()
    assert all(torch.equal(got[key], expected[key]) for key in expected)


def test_a_killed_run_that_reads_captures_ahead_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    """Three sizes, crops, turns, jitter, threads: the batch of a step is the same whoever reads it and whenever."""
    from tests.engine.test_training_captures import write_capture

    write_capture(tmp_path / "mine")
    config, weights = a_config({"steps": 5, "batch": 2}, save_minutes=0.0), []
    augment = Augmentation(second_crop=0.1, quarter_turns="diff", colour_jitter=1.0, monocular=0.1)

    def run(folder: Path, pool: ThreadPoolExecutor | None, fatal: int = 0) -> dict[str, Tensor]:
        captures = CaptureSource(tmp_path / "mine", 24, 32, 32, augment=augment, pool=pool)
        sizes = [captures.resized(*size) for size in ((24, 32), (24, 40), (16, 32))]
        source = TurnedSource(SizesSource(sizes, config.seed), "diff")

        def on_report(report: Report) -> None:
            if isinstance(report, StepReport) and report.position.total_steps == fatal:
                raise Killed

        folder.mkdir(exist_ok=True)
        return Trainer(a_network(), config, lambda _: StageData(source, None), folder, Process(), on_report).run()

    weights.append(run(tmp_path / "whole", None))
    with ThreadPoolExecutor(3) as pool:
        with pytest.raises(Killed):
            run(tmp_path / "killed", pool, fatal=3)
        weights.append(run(tmp_path / "killed", pool))
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_a_finished_run_does_nothing_more(tmp_path: Path) -> None:
    config = a_config({"steps": 1})
    average = train_in(tmp_path, config)
    reports: list[Report] = []
    again = train_in(tmp_path, config, reports.append)
    assert reports == []
    assert all(torch.equal(again[key], average[key]) for key in average)


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.pt").write_bytes(b"PK not a state")
    with pytest.raises(TrainingError, match=r"state\.pt cannot be read"):
        read_state(tmp_path)
    assert read_state(tmp_path / "elsewhere") is None


@pytest.mark.slow
def test_one_fixed_batch_is_overfitted(tmp_path: Path) -> None:
    """Matching falls far below chance and the points far below what any fixed answer could reach."""
    batch = stage_data(a_config().stages[0]).source.draw(2, 1, 0)

    class Fixed:
        def draw(self, count: int, seed: int, number: int) -> PairBatch:
            return batch

    config = a_config({"steps": 160, "batch": 2, "lr": 1e-3, "matching_weight": 0.2}, ema=0.9, weight_decay=0.0)
    reports: list[StepReport] = []
    trainer = Trainer(
        a_network(), config, lambda _: StageData(Fixed(), None), tmp_path, Process(),
        lambda report: reports.append(report) if isinstance(report, StepReport) else None,
    )  # fmt: skip
    net = a_network()
    before = validate(net.eval(), batch).point_error
    net.load_state_dict(trainer.run())
    figures = validate(net.eval(), batch)
    assert reports[-1].matching < 0.1 * math.log(32)
    assert before is not None
    assert figures.point_error is not None
    assert figures.point_error < 0.15 < 0.3 < before
    assert figures.match_within is not None
    assert figures.match_within[2] > 0.7


class Poisoned:
    """A source whose batches have NaN depth and pixels where `is_bad` says so."""

    def __init__(self, source: Any, is_bad: Callable[[int], bool]) -> None:
        self.source, self.is_bad = source, is_bad

    def draw(self, count: int, seed: int, number: int) -> PairBatch:
        batch: PairBatch = self.source.draw(count, seed, number)
        return dataclasses.replace(batch, images=batch.images * math.nan) if self.is_bad(number) else batch


def test_steps_without_a_finite_loss_are_skipped_and_counted(tmp_path: Path) -> None:
    config = a_config({"steps": 4})
    reports: list[Report] = []

    def data(stage: Stage) -> StageData:
        return StageData(Poisoned(stage_data(stage).source, lambda number: number == 1), None)

    trainer = Trainer(a_network(), config, data, tmp_path, Process(), reports.append)
    average = trainer.run()
    steps = [r for r in reports if isinstance(r, StepReport)]
    assert [math.isfinite(r.loss) for r in steps] == [True, False, True, True]
    assert steps[-1].position.skipped == 1
    assert all(bool(w.isfinite().all()) for w in average.values())


def test_a_run_that_only_skips_stops(tmp_path: Path) -> None:
    def data(stage: Stage) -> StageData:
        return StageData(Poisoned(stage_data(stage).source, lambda _: True), None)

    with pytest.raises(TrainingError, match="21 losses in a row were not finite"):
        Trainer(a_network(), a_config({"steps": 40, "batch": 1}), data, tmp_path, Process(), lambda _: None).run()


def test_unknown_depth_and_no_match_at_all_give_finite_losses(tmp_path: Path) -> None:
    class Empty:
        def draw(self, count: int, seed: int, number: int) -> PairBatch:
            batch = stage_data(a_config().stages[0]).source.draw(count, seed, number)
            return dataclasses.replace(
                batch, depth=torch.full_like(batch.depth, math.nan), matched=torch.zeros_like(batch.matched)
            )

    reports: list[Report] = []
    Trainer(a_network(), a_config({"steps": 2}), lambda _: StageData(Empty(), None), tmp_path, Process(), reports.append).run()
    assert [r.loss for r in reports if isinstance(r, StepReport)] == [0.0, 0.0]


def test_frozen_weights_stay(tmp_path: Path) -> None:
    before = {key: value.clone() for key, value in a_network().state_dict().items()}
    after = train_in(tmp_path, a_config({"steps": 2, "frozen": ["enc_blocks", "patch_embed"]}, ema=0.0))
    changed = {key.split(".")[0] for key in after if not torch.equal(after[key], before[key])}
    assert "enc_blocks" not in changed
    assert "patch_embed" not in changed
    assert {"dec_blocks", "dec_blocks2", "downstream_head1"} <= changed
    with pytest.raises(TrainingError, match="'encoder'"):
        train_in(tmp_path / "other", a_config({"frozen": ["encoder"]}))


def test_tied_views_learn_one_decoder_and_part_afterwards(tmp_path: Path) -> None:
    net = a_network()
    tie_views(net)
    assert net.dec_blocks2 is net.dec_blocks
    untie_views(net)
    assert net.dec_blocks2 is not net.dec_blocks
    tied = {"points_weight": 0.0, "tie_views": True, "symmetrise": False, "steps": 2}
    average = train_in(tmp_path, a_config(tied))
    for key in average:
        if key.startswith("dec_blocks2."):
            assert torch.equal(average[key], average[key.replace("dec_blocks2", "dec_blocks")])


def test_a_structured_start_matches_above_chance() -> None:
    batch = stage_data(a_config().stages[0]).validation
    assert batch is not None
    plain = validate(build_network(NETWORK, 1).eval(), batch, points=False).match_within
    structured = validate(a_network(1).eval(), batch, points=False).match_within
    assert plain is not None
    assert structured is not None
    assert structured[2] > 3 * max(plain[2], 0.02)


def test_validation_reports_come_when_asked_for(tmp_path: Path) -> None:
    reports: list[Report] = []
    train_in(tmp_path, a_config({"steps": 4}, validate_every=2), reports.append)
    checks = [r for r in reports if isinstance(r, ValidationReport)]
    assert [c.position.step for c in checks] == [2, 4, 4]
    assert checks[0].figures.plateau is not None
    assert 0 < checks[0].figures.plateau < 1


def test_calibration_tells_a_good_confidence() -> None:
    error = torch.linspace(0.1, 1, 100)
    assert calibration_ratio(error, 1 / error) < 0.3
    assert calibration_ratio(error, error) > 3


def test_learning_rate_rises_and_falls() -> None:
    rates = [learning_rate(p, 1.0, 0.1, 0.2) for p in (0.0, 0.1, 0.2, 0.6, 1.0)]
    assert rates == pytest.approx([0.0, 0.5, 1.0, 0.55, 0.1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stages": [{**STAGE, "batchsize": 3}]}, r"unknown key 'stages\[0\]\.batchsize'"),
        ({"losses": {"temprature": 1.0}}, r"unknown key 'losses\.temprature'"),
        ({"precission": "bfloat16"}, "unknown key 'precission'"),
        ({"precision": "float16"}, "precision is 'float16'"),
        ({"seed": "one"}, "seed is 'one'"),
        ({"stages": []}, "stages is empty"),
        ({"stages": [{"name": "x"}]}, r"stages\[0\]\.steps is missing"),
        ({"stages": [{**STAGE, "batch": 5, "accumulate": 2}]}, "multiple of accumulate"),
        ({"stages": [{**STAGE, "tie_views": True}]}, "points_weight = 0"),
        ({"betas": [0.9]}, "a list of 2"),
    ],
)
def test_bad_configs_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        parse_config({"network": NETWORK, "stages": [STAGE], **change})


def test_the_shipped_configs_are_valid() -> None:
    files = sorted(EXAMPLES.glob("*.toml"))
    assert files
    for file in files:
        build_network(read_config(file).network) if "preview" in file.name else read_config(file)


def test_the_command_trains_exports_and_resumes(tmp_path: Path) -> None:
    config = tmp_path / "tiny.toml"
    config.write_text(
        'precision = "bfloat16"\nvalidation_pairs = 2\nstructured_start = true\n\n[network]\n'
        + "".join(f"{key} = {json.dumps(value)}\n" for key, value in NETWORK.items())
        + "\n[[stages]]\n"
        + "".join(f"{key} = {json.dumps(value)}\n" for key, value in {**STAGE, "steps": 2, "batch": 2}.items())
    )
    out = tmp_path / "run"
    result = CliRunner().invoke(app, ["train", str(config), "-o", str(out)])
    assert result.exit_code == 0, result.output
    net = load_network(str(out / "checkpoint"))
    assert net.config.enc_embed_dim == 64
    assert net.trained
    kinds = [json.loads(line)["kind"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert "validation" in kinds
    bad = tmp_path / "bad.toml"
    bad.write_text(config.read_text().replace("precision", "precisian"))
    refused = CliRunner().invoke(app, ["train", str(bad), "-o", str(out)])
    assert refused.exit_code == 1
    assert "unknown key 'precisian'" in refused.output


def _average_in_process(rank: int, folder: str) -> None:
    import os

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="0", WORLD_SIZE="2", RANK=str(rank))
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    layer = torch.nn.Linear(2, 1)
    layer.weight.grad, layer.bias.grad = torch.full((1, 2), float(rank)), torch.full((1,), 10.0 * rank)
    average_gradients(layer, Process(rank, 2))
    Path(folder, f"{rank}.json").write_text(json.dumps([layer.weight.grad.tolist(), layer.bias.grad.tolist()]))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_average_their_gradients(tmp_path: Path) -> None:
    multiprocessing.spawn(_average_in_process, args=(str(tmp_path),), nprocs=2)
    assert [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)] == [[[[0.5, 0.5]], [5.0]]] * 2


def test_one_process_needs_no_group() -> None:
    with join_processes("cpu", 1, 0) as process:
        assert process == Process(0, 1, 0)
        assert process.first
