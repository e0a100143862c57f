"""The kinematic tree: which camera hangs on which, by Ward clustering of match counts."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage

Floats = NDArray[np.float64]


def kinematic_tree(
    score: Floats,  # (N, N) number of correspondences, symmetric
    anchors: NDArray[np.int64],  # (N,) anchors per image
) -> tuple[int, list[tuple[int, int]]]:
    """Root, and (parent, child) edges in breadth-first order from it."""
    views = len(score)
    if views == 1:
        return 0, []
    affinity = np.minimum(score / (3 * np.minimum(anchors[:, None], anchors[None, :])), 1.0)
    np.fill_diagonal(affinity, 1.0)
    distance = np.where(affinity == 0, 2.0, 1.0 - affinity)
    merges = linkage(distance[np.triu_indices(views, 1)], "ward")
    links = _walk_merges(merges, affinity.copy())
    neighbours: dict[int, list[int]] = {k: [] for k in range(views)}
    for a, b in links:
        neighbours[a].append(b)
        neighbours[b].append(a)
    first = _breadth_first(neighbours, 0)
    second = _breadth_first(neighbours, first[-1])
    third = _breadth_first(neighbours, second[-1])
    root = max(range(views), key=lambda k: min(second.index(k), third.index(k)))
    return root, _edges(neighbours, root)


def _walk_merges(merges: Floats, affinity: Floats) -> list[tuple[int, int]]:
    views = len(affinity)
    representative = dict(enumerate(range(views)))
    links = []
    for k, (a, b) in enumerate(merges[:, :2].astype(int)):
        i, j = representative[int(a)], representative[int(b)]
        links.append((i, j))
        chosen = i if affinity[i].sum() > affinity[j].sum() else j
        affinity[chosen] = np.maximum(affinity[i], affinity[j])
        representative[views + k] = chosen
    return links


def _breadth_first(neighbours: dict[int, list[int]], start: int) -> list[int]:
    return [start, *(child for _, child in _edges(neighbours, start))]


def _edges(neighbours: dict[int, list[int]], start: int) -> list[tuple[int, int]]:
    seen, queue, edges = {start}, deque([start]), []
    while queue:
        parent = queue.popleft()
        for child in neighbours[parent]:
            if child not in seen:
                seen.add(child)
                queue.append(child)
                edges.append((parent, child))
    return edges
