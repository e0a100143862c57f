"""Localisation on the oracle: calibration of the covariance, and pose error against noise, baseline, field of view and overlap.

    python benchmarks/bench_localisation.py --cases 200 --plots localisation-plots

Prints one table: median errors, the worst and the best axis' fraction within 3 sigma, and the mean NEES per degree of freedom.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from mast3r_engine.evaluation.localisation_study import (
    PoseCase,
    StudySummary,
    case_of,
    localize_view,
    measure_pose,
    observe_directly,
    random_scene,
    relative_pose,
    summarise,
)
from mast3r_engine.evaluation.oracle import OracleNoise, OracleScene, furnished_room, look_at, render_view
from mast3r_engine.localisation.pair_pose import estimate_pair_pose
from mast3r_engine.options import LocalizeOptions

HEIGHT, WIDTH = 144, 192
Case = PoseCase | str


@dataclass(frozen=True)
class Study:
    """A row of the table: a name, the sweep it belongs to, its value there, and how one case of it is made."""

    name: str
    sweep: str
    value: float
    run: Callable[[int], Case]


def main() -> None:
    """Run all studies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=50, help="cases per row")
    parser.add_argument(
        "--calibration-cases", type=int, default=None, help="cases of the calibration rows; default: 4 times --cases"
    )
    parser.add_argument("--plots", type=Path, help="folder for plots")
    chosen = parser.parse_args()
    print(f"{'study':36} {'cases':>5} {'refused':>7} {'t mm':>7} {'rot deg':>8} {'scale %':>8} {'in 3 sigma %':>17} {'NEES':>6}")
    rows: list[tuple[Study, StudySummary]] = []
    for study in studies():
        count = (chosen.calibration_cases or 4 * chosen.cases) if study.sweep == "calibration" else chosen.cases
        summary = summarise(study.run(seed) for seed in range(10_000, 10_000 + count))
        rows.append((study, summary))
        print(_row(study.name, summary), flush=True)
    if chosen.plots:
        save_plots(rows, chosen.plots)


def studies() -> Iterator[Study]:
    """Everything that is measured."""
    noise = OracleNoise()
    yield Study("calibration, given cameras", "calibration", 0, lambda seed: through_network(seed, noise))
    yield Study("calibration, estimated cameras", "calibration", 1, lambda seed: through_network(seed, noise, given=False))
    yield Study("calibration, integer matches", "calibration", 2, lambda seed: from_matches(seed, noise))
    for factor in (0.0, 0.5, 1.0, 2.0):
        scaled = replace(noise, depth=0.02 * factor, scale=0.02 * factor, focal=0.01 * factor)
        yield Study(f"depth noise {2 * factor:g} %", "depth noise [%]", 2 * factor, partial(through_network, noise=scaled))
    for degrees in (2, 5, 10, 20, 40, 60):
        yield Study(
            f"views {degrees} degrees apart",
            "angle between the views [degrees]",
            degrees,
            partial(through_network, noise=noise, arc=(degrees, degrees)),
        )
    for degrees in (40, 55, 70, 90):
        yield Study(
            f"field of view {degrees} degrees",
            "field of view [degrees]",
            degrees,
            partial(turned, noise=noise, away=10, field_of_view=degrees),
        )
    for degrees in (10, 20, 30, 40, 50, 180):
        yield Study(
            f"query turned away by {degrees} degrees",
            "turned away [degrees]",
            degrees,
            partial(turned, noise=noise, away=degrees, field_of_view=60),
        )


def through_network(seed: int, noise: OracleNoise, given: bool = True, arc: tuple[float, float] = (5, 50)) -> Case:
    """The whole of `localize`, matching included."""
    scene = random_scene(seed, HEIGHT, WIDTH, arc)
    return case_of(localize_view(scene, noise, seed, given), scene)


def from_matches(seed: int, noise: OracleNoise) -> Case:
    """Pose estimation alone, on integer matches drawn by the oracle."""
    scene = random_scene(seed, HEIGHT, WIDTH)
    estimate = estimate_pair_pose(observe_directly(scene, noise, seed), (0.0, 0.0), LocalizeOptions())
    if estimate.refusal is not None:
        return estimate.refusal[0]
    return measure_pose(estimate.query2reference, estimate.covariance, relative_pose(scene))


def turned(seed: int, noise: OracleNoise, away: float, field_of_view: float) -> Case:
    """A query half a metre aside that is turned away from what the reference sees."""
    rng = np.random.default_rng([seed, 602])
    room, focal = furnished_room(seed), WIDTH / 2 / np.tan(np.radians(field_of_view / 2))
    centre = np.array([0.0, -0.3, -2.2]) + rng.uniform(-0.2, 0.2, 3)
    aside = centre + [0.5, 0.0, 0.0] + rng.uniform(-0.1, 0.1, 3)
    angle = np.radians(away) * rng.choice([-1, 1])
    views = [(centre, [0.0, 0.2, 0.6]), (aside, aside + [np.sin(angle), 0.1, np.cos(angle)])]
    scene = OracleScene(room, tuple(render_view(room, look_at(c, np.asarray(t)), focal, HEIGHT, WIDTH) for c, t in views))
    return case_of(localize_view(scene, noise, seed), scene)


def save_plots(rows: list[tuple[Study, StudySummary]], folder: Path) -> None:
    """One picture per sweep: median errors, and the fraction refused."""
    import matplotlib.pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    for sweep in sorted({study.sweep for study, _ in rows} - {"calibration"}):
        chosen = [(study.value, summary) for study, summary in rows if study.sweep == sweep]
        x = [value for value, _ in chosen]
        figure, panels = plt.subplots(1, 4, figsize=(16, 3.5), layout="constrained")
        series = {
            "translation error, median [mm]": [1e3 * s.translation for _, s in chosen],
            "rotation error, median [degrees]": [s.rotation for _, s in chosen],
            "scale error, RMS [%]": [1e2 * s.scale for _, s in chosen],
            "refused [%]": [1e2 * sum(s.refused.values()) / s.cases for _, s in chosen],
        }
        for panel, (label, y) in zip(panels, series.items(), strict=True):
            panel.plot(x, y, "o-")
            panel.set(xlabel=sweep, ylabel=label, ylim=(0, 105 if label.startswith("refused") else None))
            panel.grid(alpha=0.3)
        figure.savefig(folder / f"localisation-{sweep.split(' [')[0].replace(' ', '-')}.png", dpi=80)
        plt.close(figure)


def _row(name: str, summary: StudySummary) -> str:
    inside = 100 * summary.within_3_sigma
    refused = sum(summary.refused.values())
    reasons = f"  {summary.refused}" if refused else ""
    return (
        f"{name:36} {summary.cases:5d} {refused:7d} {1e3 * summary.translation:7.1f} {summary.rotation:8.3f} "
        f"{1e2 * summary.scale:8.2f} {inside.min():8.1f} – {inside.max():5.1f} {summary.nees:6.2f}{reasons}"
    )


if __name__ == "__main__":
    main()
