"""The reprojection problem of one component as flat arrays: every match in both directions, grouped by the depth it uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.alignment.canonical_view import CanonicalView
from mast3r_engine.alignment.order_statistics import order_by
from mast3r_engine.alignment.pair_geometry import PairGeometry
from mast3r_kernels.alignment_normal_equations import DirectedMatches

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

CONFIDENCE_CLASSES = 8  # quantiles of match confidence that get a noise level of their own


@dataclass(frozen=True)
class ReprojectionProblem:
    """N images, P directed pairs, G groups, M directed matches (every match twice), A anchors in all."""

    matches: DirectedMatches
    source: Integers  # (P,)
    target: Integers  # (P,)
    group_pair: Integers  # (G,)
    group_anchor: Integers  # (G,) into all anchors
    confidence_class: Integers  # (M,)
    class_members: tuple[Integers, ...]  # matches of each class
    undirected: Integers  # (M,) number of the match among all matches of all pairs, in the pairs' order
    anchor_start: Integers  # (N + 1,)
    canonical_depth: Floats  # (A,)
    depth_sigma: Floats  # (A,) of the logarithm, around the canonical depth times the image's size; NaN: as the options say
    focal: Floats  # (N,) start and prior
    grid: tuple[tuple[int, int], ...]  # anchors per column and row, per image


def build_problem(
    views: Sequence[CanonicalView],
    pairs: Sequence[PairGeometry],  # i, j into `views`
) -> ReprojectionProblem:
    """Flatten, sort and group the matches of a component."""
    grid = tuple((len(view.anchor_rows), len(view.anchor_columns)) for view in views)
    anchor_start = np.concatenate([[0], np.cumsum([h * w for h, w in grid])]).astype(np.int64)
    classes = _confidence_classes(pairs)
    first_match = np.concatenate([[0], np.cumsum([len(pair.points) for pair in pairs])]).astype(np.int64)
    parts = []
    for pair, start in zip(pairs, first_match, strict=False):
        there, back = np.flatnonzero(pair.points.forward), np.flatnonzero(pair.points.backward)
        xy_i, xy_j = pair.points.xy_i, pair.points.xy_j
        parts.append((pair.i, pair.j, xy_i[there], xy_j[there], start + there))
        parts.append((pair.j, pair.i, xy_j[back], xy_i[back], start + back))
    sorted_parts = [_sort_by_anchor(views, anchor_start, *part) for part in parts]
    anchors, here, there, offset, numbers = (np.concatenate(column) for column in zip(*sorted_parts, strict=True))
    pair_start = np.concatenate([[0], np.cumsum([len(part[0]) for part in sorted_parts])]).astype(np.int64)
    pair_of_match = np.repeat(np.arange(len(parts)), np.diff(pair_start))
    new_group = np.ones(len(anchors), bool)
    new_group[1:] = (anchors[1:] != anchors[:-1]) | (pair_of_match[1:] != pair_of_match[:-1])
    first = np.flatnonzero(new_group)
    return ReprojectionProblem(
        matches=DirectedMatches(
            pair_start=pair_start,
            pair_group_start=np.searchsorted(pair_of_match[first], np.arange(len(parts) + 1)).astype(np.int64),
            group_start=np.append(first, len(anchors)).astype(np.int64),
            source_xy=np.ascontiguousarray(here.T),
            target_xy=np.ascontiguousarray(there.T),
            offset=offset,
        ),
        source=np.array([part[0] for part in parts]),
        target=np.array([part[1] for part in parts]),
        group_pair=pair_of_match[first],
        group_anchor=anchors[first],
        confidence_class=classes[numbers],
        class_members=_members(classes[numbers]),
        undirected=numbers,
        anchor_start=anchor_start,
        canonical_depth=np.concatenate([_anchor_depth(view) for view in views]),
        depth_sigma=np.concatenate([_anchor_sigma(view) for view in views]),
        focal=np.array([view.focal for view in views]),
        grid=grid,
    )


def _confidence_classes(pairs: Sequence[PairGeometry]) -> Integers:  # (all matches,)
    """Quantile class of each match's confidence; the scale of confidences differs between checkpoints, their order does not."""
    conf = np.concatenate([pair.points.conf for pair in pairs])
    borders = np.quantile(conf, np.arange(1, CONFIDENCE_CLASSES) / CONFIDENCE_CLASSES)
    return np.searchsorted(borders, conf).astype(np.int64)


def _members(classes: Integers) -> tuple[Integers, ...]:
    order = np.argsort(classes.astype(np.int8), kind="stable").astype(np.int64)  # one pass: small integers are sorted by radix
    return tuple(np.split(order, np.cumsum(np.bincount(classes, minlength=CONFIDENCE_CLASSES))[:-1]))


def _sort_by_anchor(
    views: Sequence[CanonicalView],
    anchor_start: Integers,
    source: int,
    target: int,
    xy_source: Floats,  # whole numbers
    xy_target: Floats,
    numbers: Integers,
) -> tuple[Integers, Floats, Floats, Floats, Integers]:
    view = views[source]
    x, y = xy_source.astype(np.int64).T
    anchors = anchor_start[source] + (y // view.subsample) * len(view.anchor_columns) + x // view.subsample
    place = (anchors * view.height + y) * view.width + x
    order = order_by(place, xy_target @ np.array([1.0, 1e6]))
    return (
        anchors[order],
        xy_source[order] - np.array(view.principal_point),
        xy_target[order] - np.array(views[target].principal_point),
        view.offset[y[order], x[order]].astype(np.float64),
        numbers[order],
    )


def _anchor_depth(view: CanonicalView) -> Floats:  # (h * w,)
    return view.depth[np.ix_(view.anchor_rows, view.anchor_columns)].astype(np.float64).ravel()


def _anchor_sigma(view: CanonicalView) -> Floats:  # (h * w,)
    if view.depth_sigma is None:
        return np.full(len(view.anchor_rows) * len(view.anchor_columns), np.nan)
    return view.depth_sigma[np.ix_(view.anchor_rows, view.anchor_columns)].astype(np.float64).ravel()
