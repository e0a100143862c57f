"""Which priors the photographs contradict, told after the alignment: by whose prior, in which way and by how much."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.alignment.camera_state import ReprojectionOptions
from mast3r_engine.alignment.dense_depth import smooth_corrections
from mast3r_engine.alignment.given_frame import GivenFrame
from mast3r_engine.alignment.known_cameras import KnownCameras
from mast3r_engine.alignment.reduced_system import FOCAL, reduce_depths
from mast3r_engine.alignment.reprojection_problem import ReprojectionProblem
from mast3r_engine.alignment.reprojection_stage import ReprojectionResult, evaluate
from mast3r_engine.alignment.similarity import rotation_log

Floats = NDArray[np.float64]

SIGMAS = 4.0  # a prior further off than that is told
HELD_FOCAL = 0.02  # relative change that the photographs ask of a held focal length before it is told
DEPTH_FLOOR = 0.02  # of a depth map's scale: what the photographs know of it


@dataclass(frozen=True)
class Contradiction:
    """One prior of one view that does not fit."""

    view: int  # -1: of no single photograph
    prior: str  # camera, pose, position, depth, distance, up
    message: str
    amount: float  # sigmas; of a held camera the relative change asked for; of a refused depth map its spread


def correction_fields(problem: ReprojectionProblem, fine: ReprojectionResult) -> list[Floats]:  # N of (h, w), logarithms
    """What alignment did to the canonical depths, smooth, at the anchors."""
    correction = fine.state.log_depth - np.log(problem.canonical_depth)
    fields = []
    for k, grid in enumerate(problem.grid):
        mine = slice(problem.anchor_start[k], problem.anchor_start[k + 1])
        fields.append(smooth_corrections(correction[mine].reshape(grid), fine.curvature[mine].reshape(grid)))
    return fields


def measured_sizes(fields: list[Floats], known: KnownCameras) -> dict[int, float]:
    """Of views with a metric depth map: the logarithm of what alignment multiplied it by."""
    depths = enumerate(known.views.depth)
    return {k: float(np.median(fields[k])) for k, measured in depths if measured is not None and measured.metric}


def find_contradictions(
    problem: ReprojectionProblem,
    fine: ReprojectionResult,
    options: ReprojectionOptions,
    frame: GivenFrame | str | None,
    sizes: dict[int, float],  # `measured_sizes`
    excess: float,  # what the result's depths were divided by, logarithm
) -> list[Contradiction]:
    """All of them, in the order of the views."""
    known = options.known
    if known is None:
        return []
    found = [*_focals(fine, known), *_bound_focals(problem, fine, options, known), *_poses(fine, known, frame)]
    found += _sizes(sizes, known, excess)
    if isinstance(frame, str):
        found.append(Contradiction(-1, "position", frame, 0.0))
    return sorted(found, key=lambda c: (c.view, c.prior))


def _focals(fine: ReprojectionResult, known: KnownCameras) -> Iterator[Contradiction]:
    deviations = known.deviations(fine.state)["focal"]
    for k in np.flatnonzero(deviations > SIGMAS):
        given, found = known.views.focal[k], np.exp(fine.state.log_focal[k])
        text = f"its focal length came out {100 * (found / given - 1):+.1f} % from the prior, {deviations[k]:.0f} sigmas"
        yield Contradiction(int(k), "camera", text, float(deviations[k]))


def _bound_focals(
    problem: ReprojectionProblem, fine: ReprojectionResult, options: ReprojectionOptions, known: KnownCameras
) -> Iterator[Contradiction]:
    """The step that focal lengths would take if they were neither held nor shared."""
    shares = np.bincount(known.leaders, minlength=len(known.leaders))[known.leaders] > 1
    bound = known.focal_held | shares
    if not bound.any() or options.max_steps == 0:
        return
    views = replace(
        known.views,
        focal_sigma=np.where(known.focal_held, np.inf, known.views.focal_sigma),
        camera=np.arange(len(bound)),
    )
    free = replace(options, known=replace(known, views=views), focal_sigma=1.0)
    blocks = evaluate(problem, fine.state, fine.sigma, free)
    system = reduce_depths(problem, fine.state, blocks, free)
    step, _ = system.solve(fine.root, 0.0, free)
    # For one freed unknown, its slope times its step is the square of the step over its standard deviation.
    squares = -system.g.reshape(step.shape)[:, FOCAL] * step[:, FOCAL]
    for k in np.flatnonzero(bound & (np.abs(step[:, FOCAL]) > HELD_FOCAL) & (squares > SIGMAS**2)):
        asked = float(np.expm1(step[k, FOCAL]))
        how = "is held" if known.focal_held[k] else "is that of the other photographs of its camera"
        text = f"its focal length {how} and the photographs ask for one that is {100 * asked:+.1f} % different"
        yield Contradiction(int(k), "camera", text, abs(asked))


def _poses(fine: ReprojectionResult, known: KnownCameras, frame: GivenFrame | str | None) -> Iterator[Contradiction]:
    if not isinstance(frame, GivenFrame) or not frame.scaled:
        return
    deviations = known.deviations(fine.state)
    for k in np.flatnonzero(known.views.posed | known.views.placed):
        posed, fixed = bool(known.views.posed[k]), bool(known.views.pose_fixed[k])
        # A fixed pose is where it was put: what says something is where the photographs alone would have put it.
        amount = float(frame.deviation[k] if fixed else deviations["pose" if posed else "position"][k])
        if amount <= SIGMAS:
            continue
        if fixed:
            text = f"its fixed pose is {frame.distance[k]:.3g} m or {amount:.0f} sigmas from where the photographs put it"
        else:
            given = known.views.pose[k, :3, 3] if posed else known.views.position[k]
            text = f"it came out {np.linalg.norm(fine.state.centre[k] - given):.3g} m"
            if posed:
                turned = rotation_log(fine.state.rotation[k] @ known.views.pose[k, :3, :3].T)
                text += f" and {np.degrees(np.linalg.norm(turned)):.2g} degrees"
            text += f" from its {'pose' if posed else 'position'} prior, {amount:.0f} sigmas"
        yield Contradiction(int(k), "pose" if posed else "position", text, amount)


def _sizes(sizes: dict[int, float], known: KnownCameras, excess: float) -> Iterator[Contradiction]:
    for k, size in sizes.items():
        measured = known.views.depth[k]
        assert measured is not None
        amount = abs(size - excess) / float(np.hypot(measured.sigma, DEPTH_FLOOR))
        if amount > SIGMAS:
            text = f"its depth map is {100 * np.expm1(excess - size):+.0f} % off the size that everything else agrees on"
            yield Contradiction(k, "depth", text, amount)
