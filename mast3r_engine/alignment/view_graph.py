"""Which pairs contradict the others, and which images hang together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.alignment.pair_geometry import PairGeometry
from mast3r_engine.alignment.similarity import invert_similarity, rotation_log, split_similarity

Floats = NDArray[np.float64]

MAX_LOOP_ROTATION = np.radians(15.0)
MAX_LOOP_SHIFT = 0.3  # of the median depth
MAX_LOOP_SCALE = 0.35  # logarithm


def split_contradicting(pairs: Sequence[PairGeometry]) -> tuple[list[PairGeometry], list[PairGeometry]]:
    """Part the pairs into those that agree around triplets and those that do not.

    Of three pairs that do not close, the one that closes with the fewest others is wrong: pairs are dropped one by one, always
    the one with most contradiction beyond its support, until none is contradicted more than supported.
    A pair in no triplet stays.
    """
    kept = sorted(pairs, key=lambda p: (p.i, p.j))
    triplets = _triplets(kept)
    closes = _closures(kept, triplets)
    alive = np.ones(len(kept), bool)
    while True:
        worst = _most_contradicted(kept, triplets, closes, alive)
        if worst is None:
            break
        alive[worst] = False
    return [p for p, a in zip(kept, alive) if a], [p for p, a in zip(kept, alive) if not a]


def components(views: int, pairs: Sequence[PairGeometry]) -> list[list[int]]:
    """Sets of two or more images that pairs connect, the largest first, then by first image."""
    label = list(range(views))

    def root(k: int) -> int:
        while label[k] != k:
            label[k] = label[label[k]]
            k = label[k]
        return k

    for pair in pairs:
        label[root(pair.i)] = root(pair.j)
    groups: dict[int, list[int]] = {}
    for k in range(views):
        groups.setdefault(root(k), []).append(k)
    return sorted((g for g in groups.values() if len(g) > 1), key=lambda g: (-len(g), g[0]))


def _triplets(pairs: Sequence[PairGeometry]) -> NDArray[np.int64]:  # (T, 3) numbers of the pairs ab, bc, ac
    number = {(p.i, p.j) if p.i < p.j else (p.j, p.i): k for k, p in enumerate(pairs)}
    neighbours: dict[int, set[int]] = {}
    for a, b in number:
        neighbours.setdefault(a, set()).add(b)
    found = [(number[a, b], number[b, c], number[a, c]) for a, b in number for c in neighbours.get(b, set()) & neighbours[a]]
    return np.array(sorted(found), np.int64).reshape(-1, 3)


def _closures(pairs: Sequence[PairGeometry], triplets: NDArray[np.int64]) -> NDArray[np.bool_]:  # (T,)
    if not len(triplets):
        return np.zeros(0, bool)
    upward = np.stack([p.relative if p.i < p.j else invert_similarity(p.relative) for p in pairs])
    depth = np.array([np.median((p.points.points_j if p.i < p.j else p.points.points_i)[p.inliers, 2]) for p in pairs])
    ab, bc, ac = triplets.T
    loop = upward[bc] @ upward[ab] @ invert_similarity(upward[ac])
    s, R, _ = split_similarity(loop)
    direct, around = upward[ac], upward[bc] @ upward[ab]
    # compare where the scene is moved to, not the cameras: the middle of the scene of a stands at the depth of its matches
    scene = np.stack([np.median(p.points.points_i if p.i < p.j else p.points.points_j, axis=0) for p in pairs])[ac]
    shift = np.linalg.norm(_move(around, scene) - _move(direct, scene), axis=1) / depth[ac]
    angle = np.linalg.norm(rotation_log(R), axis=1)
    closed: NDArray[np.bool_] = (angle < MAX_LOOP_ROTATION) & (shift < MAX_LOOP_SHIFT) & (np.abs(np.log(s)) < MAX_LOOP_SCALE)
    return closed


def _move(matrix: Floats, points: Floats) -> Floats:  # (T, 4, 4), (T, 3)
    moved: Floats = np.einsum("tij,tj->ti", matrix[:, :3, :3], points) + matrix[:, :3, 3]
    return moved


def _most_contradicted(
    pairs: Sequence[PairGeometry], triplets: NDArray[np.int64], closes: NDArray[np.bool_], alive: NDArray[np.bool_]
) -> int | None:
    present = alive[triplets].all(1) if len(triplets) else np.zeros(0, bool)
    against = np.bincount(triplets[present & ~closes].ravel(), minlength=len(pairs))
    for_it = np.bincount(triplets[present & closes].ravel(), minlength=len(pairs))
    excess = against - for_it
    if not len(pairs) or excess.max() <= 0:
        return None
    support = np.array([p.support for p in pairs])
    return int(np.lexsort((support, -excess))[0])
