"""Matches of pixels joined to tracks, none of which holds two places of one photograph that are more than a pixel apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Integers = NDArray[np.int64]
Box = tuple[int, int, int, int]  # x and y, lowest and highest

WIDEST = 1  # pixels that the members of a track may lie apart in one photograph


def join_pixels(
    first: Integers,  # (M,) node of each match, 0 .. P-1
    second: Integers,  # (M,)
    conf: NDArray[np.float32],  # (M,)
    image: Integers,  # (P,) photograph of each node
    xy: Integers,  # (P, 2) pixel of each node
) -> Integers:  # (P,) label of each node's track
    """Join by connected components; those that contradict themselves are joined anew, surest matches first, as far as they agree.

    With dense matches the rounding of chains links everything to everything, so that components alone would not do.
    """
    if len(image) == 0:
        return np.zeros(0, np.int64)
    joined = coo_array((np.ones(len(first), np.int8), (first, second)), shape=(len(image), len(image)))
    label = connected_components(joined, directed=False)[1].astype(np.int64)
    wrong = _contradicting(label, image, xy)
    matches = np.flatnonzero(wrong[label[first]])
    order = matches[np.argsort(-conf[matches], kind="stable")]
    root = _join_consistently(first[order], second[order], image, xy)
    anew = np.flatnonzero(wrong[label])
    label[anew] = len(image) + np.array([root.get(int(node), int(node)) for node in anew], np.int64)
    return label


def _contradicting(label: Integers, image: Integers, xy: Integers) -> NDArray[np.bool_]:  # (labels,)
    """True for the components whose members in one photograph lie too far apart."""
    order = np.lexsort((image, label))
    leads = np.ones(len(order), bool)
    leads[1:] = (np.diff(label[order]) != 0) | (np.diff(image[order]) != 0)
    starts = np.flatnonzero(leads)
    spread = np.maximum.reduceat(xy[order], starts) - np.minimum.reduceat(xy[order], starts)
    wrong = np.zeros(int(label.max()) + 1, bool)
    wrong[label[order][starts][(spread > WIDEST).any(axis=1)]] = True
    return wrong


def _join_consistently(first: Integers, second: Integers, image: Integers, xy: Integers) -> dict[int, int]:  # node -> root
    """Union-find that refuses a match which would make a track too wide in some photograph."""
    parent: dict[int, int] = {}
    boxes: dict[int, dict[int, Box]] = {}

    def find(node: int) -> int:
        if node not in parent:
            x, y = xy[node].tolist()
            parent[node], boxes[node] = node, {int(image[node]): (x, x, y, y)}
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for one, other in zip(first.tolist(), second.tolist(), strict=True):
        a, b = find(one), find(other)
        if len(boxes[a]) < len(boxes[b]):
            a, b = b, a
        merged = _merged(boxes[a], boxes[b]) if a != b else None
        if merged is not None:
            boxes[a].update(merged)
            del boxes[b]
            parent[b] = a
    return {node: find(node) for node in list(parent)}


def _merged(large: dict[int, Box], small: dict[int, Box]) -> dict[int, Box] | None:
    """The small one's boxes joined with those of the large one; None when one becomes too wide."""
    merged = {}
    for image, (x0, x1, y0, y1) in small.items():
        u0, u1, v0, v1 = large.get(image, (x0, x1, y0, y1))
        box = min(x0, u0), max(x1, u1), min(y0, v0), max(y1, v1)
        if box[1] - box[0] > WIDEST or box[3] - box[2] > WIDEST:
            return None
        merged[image] = box
    return merged
