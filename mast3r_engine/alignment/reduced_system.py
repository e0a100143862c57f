"""The Schur complement: normal equations of the cameras alone, after eliminating the anchors' depths.

Columns of an image: rotation (3) and translation (3) in its own frame, log focal, log size of its canonical depths, principal
point (2); what is not refined is held.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from mast3r_engine.alignment.camera_state import CameraState, ReprojectionOptions
from mast3r_engine.alignment.reprojection_problem import ReprojectionProblem
from mast3r_engine.alignment.similarity import skew
from mast3r_kernels.alignment_normal_equations import CAMERA_COLUMNS, PRINCIPAL_COLUMNS, PairBlocks

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

COLUMNS, FOCAL, SIZE, PRINCIPAL = 10, 6, 7, slice(8, 10)


@dataclass(frozen=True)
class ReducedSystem:
    """Cameras' equations H x = -g without the depths, and what is needed to find the depths afterwards."""

    H: Floats  # (10N, 10N)
    g: Floats  # (10N,)
    curvature: Floats  # (A,)
    slope: Floats  # (A,)
    problem: ReprojectionProblem
    coupling: Floats  # (G, C) second derivatives by a group's depth and its pair's columns
    to_source: Floats  # (P, C, 10) derivative of a pair's columns by those of its source
    to_target: Floats  # (P, C, 10)
    depth_weight: Floats  # (A,) couples every depth to its image's size

    def solve(self, root: int, damping: float, options: ReprojectionOptions) -> tuple[Floats, Floats]:  # (N, 10), (A,)
        """Steps of cameras and log-depths; the root's pose is held, as is the mean log-size."""
        views = len(self.problem.anchor_start) - 1
        H, g = self.H.copy(), self.g.copy()
        H[np.diag_indices_from(H)] *= 1.0 + damping
        sizes = np.arange(views) * COLUMNS + SIZE
        if options.known is None or not options.known.in_given_frame:
            H[np.ix_(sizes, sizes)] += max(float(H[sizes, sizes].max()), 1.0)
        focals = np.arange(views) * COLUMNS + FOCAL
        leaders = focal_leaders(views, root, options)
        for leader in np.unique(leaders):  # its column stands for all of its camera
            members = focals[leaders == leader]
            if len(members) > 1:
                H[:, focals[leader]] = H[:, members].sum(1)
                H[focals[leader]] = H[members].sum(0)
                g[focals[leader]] = g[members].sum()
        free = np.flatnonzero(_free_columns(views, root, options))
        step = np.zeros(COLUMNS * views)
        step[free] = -_solve_positive(H[np.ix_(free, free)], g[free])
        step[focals] = step[focals[leaders]]
        return step.reshape(views, COLUMNS), self._depth_step(step.reshape(views, COLUMNS))

    def _depth_step(self, step: Floats) -> Floats:  # (A,)
        problem = self.problem
        of_pair = np.einsum("pab,pb->pa", self.to_source, step[problem.source])
        of_pair += np.einsum("pab,pb->pa", self.to_target, step[problem.target])
        pulled = np.einsum("gc,gc->g", self.coupling, of_pair[problem.group_pair])
        right = self.slope + np.bincount(problem.group_anchor, pulled, len(self.slope))
        right -= self.depth_weight * np.repeat(step[:, SIZE], np.diff(problem.anchor_start))
        depth_step: Floats = -right / self.curvature
        return depth_step


def reduce_depths(
    problem: ReprojectionProblem, state: CameraState, blocks: PairBlocks, options: ReprojectionOptions
) -> ReducedSystem:
    """Chain the pairs' blocks to the cameras, add the priors, eliminate the depths."""
    views = len(problem.anchor_start) - 1
    used = blocks.gradient.shape[1]
    to_source, to_target = (chain[:, :used] for chain in _chain(problem, state))
    H, g = _camera_blocks(problem, blocks, to_source, to_target, views)
    focal_weight, depth_weight, size_weight = options.focal_sigma**-2, depth_weights(problem, options), options.size_sigma**-2
    anchors = np.diff(problem.anchor_start)
    principal_weight = _principal_weights(views, options)[:, None]
    H[np.arange(views)[:, None], np.arange(views)[:, None], (8, 9), (8, 9)] += principal_weight
    g[:, PRINCIPAL] += principal_weight * state.principal_shift
    if options.known is not None:
        options.known.add_to(H, g, state)
    H[np.arange(views), np.arange(views), FOCAL, FOCAL] += focal_weight
    g[:, FOCAL] += focal_weight * (state.log_focal - np.log(problem.focal))
    deviation = state.log_depth - np.log(problem.canonical_depth) - np.repeat(state.log_size, anchors)
    H[np.arange(views), np.arange(views), SIZE, SIZE] += np.add.reduceat(depth_weight, problem.anchor_start[:-1]) + size_weight
    g[:, SIZE] += size_weight * (state.log_size - state.first_log_size)
    g[:, SIZE] -= np.add.reduceat(depth_weight * deviation, problem.anchor_start[:-1])
    total = int(problem.anchor_start[-1])
    curvature = depth_weight + np.bincount(problem.group_anchor, blocks.groups[:, -2], total).astype(np.float64)
    slope: Floats = np.bincount(problem.group_anchor, blocks.groups[:, -1], total) + depth_weight * deviation
    flat_H, flat_g = np.swapaxes(H, 1, 2).reshape(COLUMNS * views, -1).copy(), g.ravel().copy()
    active = COLUMNS if options.move_principal_points else PRINCIPAL.start
    for k in range(views):
        E, columns = _coupling(problem, blocks.groups, to_source, to_target, k, depth_weight, active)
        mine = slice(problem.anchor_start[k], problem.anchor_start[k + 1])
        spread = np.sqrt(curvature[mine])
        E /= spread[:, None]
        flat_H[np.ix_(columns, columns)] -= E.T @ E  # half the work of a product of two different matrices
        flat_g[columns] -= E.T @ (slope[mine] / spread)
    return ReducedSystem(flat_H, flat_g, curvature, slope, problem, blocks.groups[:, :-2], to_source, to_target, depth_weight)


def _chain(problem: ReprojectionProblem, state: CameraState) -> tuple[Floats, Floats]:  # (P, 12, 10) each
    """Derivative of a pair's columns by those of its source and of its target.

    exp(x) T_rel with T_rel = T_target^-1 T_source; steps act on the right of T, so x = Ad(T_rel) x_source - x_target.
    """
    to_target = np.swapaxes(state.rotation[problem.target], 1, 2)
    R = to_target @ state.rotation[problem.source]
    t = np.einsum("pab,pb->pa", to_target, state.centre[problem.source] - state.centre[problem.target])
    of_source = np.zeros((len(R), CAMERA_COLUMNS + PRINCIPAL_COLUMNS, COLUMNS))
    of_source[:, :3, :3] = of_source[:, 3:6, 3:6] = R
    of_source[:, 3:6, :3] = skew(t) @ R
    of_source[:, 6, FOCAL] = 1.0
    of_source[:, (8, 9), (8, 9)] = 1.0
    of_target = np.zeros_like(of_source)
    of_target[:, range(6), range(6)] = -1.0
    of_target[:, 7, FOCAL] = 1.0
    of_target[:, (10, 11), (8, 9)] = 1.0
    return of_source, of_target


def _camera_blocks(
    problem: ReprojectionProblem, blocks: PairBlocks, to_source: Floats, to_target: Floats, views: int
) -> tuple[Floats, Floats]:  # (N, N, 10, 10), (N, 10)
    H = np.zeros((views, views, COLUMNS, COLUMNS))
    g = np.zeros((views, COLUMNS))
    sides = ((problem.source, to_source), (problem.target, to_target))
    for image, chain in sides:
        np.add.at(g, image, np.einsum("pab,pa->pb", chain, blocks.gradient))
        for other, other_chain in sides:
            np.add.at(H, (image, other), np.swapaxes(chain, 1, 2) @ blocks.normal @ other_chain)
    return H, g


def _coupling(
    problem: ReprojectionProblem,
    groups: Floats,
    to_source: Floats,
    to_target: Floats,
    image: int,
    depth_weight: Floats,  # (A,)
    active: int,
) -> tuple[Floats, Integers]:  # (anchors of the image, columns), (columns,)
    """Second derivatives by the image's depths and by the active columns of all cameras they touch: its own, its partners'."""
    pairs = np.flatnonzero(problem.source == image)
    start, stop = problem.anchor_start[image], problem.anchor_start[image + 1]
    E = np.zeros((stop - start, active * (1 + len(pairs))))
    E[:, SIZE] = -depth_weight[start:stop]
    starts = problem.matches.pair_group_start
    for k, p in enumerate(pairs, start=1):
        mine = slice(starts[p], starts[p + 1])
        rows = problem.group_anchor[mine] - start
        E[rows, :active] += groups[mine, :-2] @ to_source[p, :, :active]
        E[rows, active * k : active * (k + 1)] = groups[mine, :-2] @ to_target[p, :, :active]
    images = np.concatenate([[image], problem.target[pairs]])
    columns = (images[:, None] * COLUMNS + np.arange(active)).ravel()
    return E, columns.astype(np.int64)


def depth_weights(problem: ReprojectionProblem, options: ReprojectionOptions) -> Floats:  # (A,)
    """1 / variance of each anchor's log-depth about its canonical depth times its image's size."""
    weights: Floats = np.where(np.isnan(problem.depth_sigma), options.depth_sigma, problem.depth_sigma) ** -2.0
    return weights


def focal_leaders(views: int, root: int, options: ReprojectionOptions) -> Integers:  # (N,)
    """For every view the one whose column of the focal length stands for it."""
    if options.shared_focal:
        return np.full(views, root)
    return np.arange(views) if options.known is None else options.known.leaders


def _principal_weights(views: int, options: ReprojectionOptions) -> Floats:  # (N,) 0 where held
    sigmas = options.principal_sigmas(views)
    weights: Floats = np.where(sigmas > 0, np.where(sigmas > 0, sigmas, 1.0) ** -2.0, 0.0)
    return weights


def _free_columns(views: int, root: int, options: ReprojectionOptions) -> NDArray[np.bool_]:  # (10N,)
    free = np.ones((views, COLUMNS), bool)
    free[:, PRINCIPAL] = (options.principal_sigmas(views) > 0)[:, None]
    leaders = focal_leaders(views, root, options)
    free[:, FOCAL] = leaders == np.arange(views)
    if options.known is None or not options.known.in_given_frame:
        free[root, :6] = False
    if options.known is not None:
        free[options.known.focal_held[leaders], FOCAL] = False
        free[options.known.views.pose_fixed, :6] = False
    return free.ravel()


def _solve_positive(H: Floats, g: Floats) -> Floats:
    H[np.diag_indices_from(H)] *= 1.0 + 1e-13
    try:
        return np.asarray(cho_solve(cho_factor(H), g), np.float64)
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.lstsq(H, g)[0], np.float64)
