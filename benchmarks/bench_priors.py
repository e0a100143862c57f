"""Every prior on the noisy oracle: the error without it, with it, and with one of it wrong.

    python -m benchmarks.bench_priors --seeds 0 1 2 3 --pictures docs/pictures

Medians over the seeds. The last column says whether the wrong one was named in the warnings (or its photograph left out with a
reason), in how many of the runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.lens_study import study_lens
from benchmarks.prior_studies import STUDIES, Study, gps_scene, true_poses
from mast3r_engine import Priors, reconstruct
from mast3r_engine.evaluation.oracle import OracleNetwork, OracleNoise, grey_image

LENSES = (
    Study("lens, OPENCV", "half the true distortion", "position error, mm", partial(study_lens, "OPENCV")),
    Study("lens, OPENCV_FISHEYE", "taken for OPENCV", "position error, mm", partial(study_lens, "OPENCV_FISHEYE")),
)


PLAIN = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}  # behind numbers, so that no line runs through them


@dataclass(frozen=True)
class Row:
    """Medians over S seeds."""

    study: Study
    errors: tuple[float, float, float]  # without, right, wrong
    told: int  # runs in which the wrong one was named
    of: int
    example: str


def measure(study: Study, seeds: Sequence[int]) -> Row:
    """Run a study on every seed."""
    runs = [study.run(seed) for seed in seeds]
    without, right, wrong = (float(np.median([run[k] for run in runs])) for k in range(3))
    told = [run[3] for run in runs]
    return Row(study, (without, right, wrong), sum(map(bool, told)), len(runs), next((t[0] for t in told if t), ""))


def print_row(row: Row) -> None:
    """One line of the table."""
    without, right, wrong = (f"{error:.3g}" for error in row.errors)
    study = row.study
    cells = (study.name, study.measure, without, right, study.wrong_how, wrong, f"{row.told} of {row.of}")
    print(f"| {' | '.join(cells)} |", flush=True)


def draw(rows: Sequence[Row], place: Path) -> None:
    """Errors relative to those without the prior, on a logarithmic axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.55 * len(rows) + 1.4), layout="constrained")
    axes = figure.subplots()
    y = np.arange(len(rows))[::-1]
    for place_of_bar, (label, colour) in enumerate((("with the prior", "#2a7f62"), ("with a wrong one among them", "#c2571a"))):
        ratios = [row.errors[1 + place_of_bar] / row.errors[0] for row in rows]
        height = y + 0.2 - 0.4 * place_of_bar
        axes.barh(height, [ratio - 1e-4 for ratio in ratios], 0.36, left=1e-4, color=colour, label=label)
        for ratio, at in zip(ratios, height, strict=True):
            axes.text(ratio * 1.06, at, f"{ratio:.2f}", va="center", fontsize=8, bbox=PLAIN)
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_xscale("log")
    lowest = min(min(row.errors[1:]) / row.errors[0] for row in rows)
    highest = max(max(row.errors[1:]) / row.errors[0] for row in rows)
    axes.set_xlim(max(lowest / 2, 1e-3), highest * 2)
    axes.set_yticks(y, [f"{row.study.name}\n{row.study.measure}" for row in rows], fontsize=8)
    axes.set_xlabel("error, as a multiple of the error without the prior")
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    figure.savefig(place, dpi=110)


def draw_plan(place: Path, seed: int) -> None:
    """The room from above: fixes, one of them wrong, where the photographs were taken, and where they came out."""
    from matplotlib.figure import Figure

    scene, _, wrong = gps_scene(seed)
    photos = [grey_image(k, view.height, view.width) for k, view in enumerate(scene.views)]
    found = reconstruct(photos, OracleNetwork(scene, OracleNoise(), seed=seed), priors=Priors(positions=wrong))
    fixes = np.stack([position.position for position in wrong.values()])
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.scatter(fixes[:, 0], fixes[:, 2], marker="x", s=60, color="#c2571a", label="GPS fixes of 0.1 m, one 3 m off")
    true = true_poses(scene)
    axes.scatter(true[:, 0, 3], true[:, 2, 3], s=90, facecolors="none", edgecolors="black", label="true places")
    axes.scatter(found.cam2world[:, 0, 3], found.cam2world[:, 2, 3], s=16, color="#2a7f62", label="found")
    for fix, centre in zip(fixes, found.cam2world[:, :3, 3], strict=True):
        axes.plot([fix[0], centre[0]], [fix[2], centre[2]], color="#c2571a", linewidth=0.6)
    axes.set(aspect="equal", xlabel="x, metres", ylabel="z, metres")
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(place, dpi=110)


def main() -> None:
    """Print the table and draw the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--only", help="part of a study's name")
    parser.add_argument("--pictures", type=Path, help="folder for priors-gain.png and priors-gps.png")
    parser.add_argument("--say", action="store_true", help="print one warning of each wrong run below the table")
    args = parser.parse_args()
    print("| prior | measure | without | with | what is wrong | with it | told |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    rows = []
    for study in (*STUDIES[:4], *LENSES, *STUDIES[4:]):
        if args.only is None or args.only in study.name:
            rows.append(measure(study, args.seeds))
            print_row(rows[-1])
    if args.say:
        print("\n" + "\n".join(f"{row.study.name}: {row.example}" for row in rows if row.example))
    if args.pictures is not None:
        draw(rows, args.pictures / "priors-gain.png")
        draw_plan(args.pictures / "priors-gps.png", args.seeds[0])


if __name__ == "__main__":
    main()
