"""Putting a Reconstruction together from what the stages gave."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.correspondences import PairMatches
from mast3r_engine.fusion import Cloud
from mast3r_engine.predictions import PairNetwork
from mast3r_engine.reconstruction import Alignment, Reconstruction
from mast3r_engine.stage_clock import peak_memory
from mast3r_engine.views import View


def fill_unknown_shapes(
    alignment: Alignment,
    shapes: Sequence[tuple[int, int]],  # (H, W) per photograph
) -> Alignment:
    """Give photographs that were in no pair maps of their own size, all NaN."""

    def filled(maps: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        return [
            values if values.shape == shape else np.full(shape, np.nan, np.float32)
            for values, shape in zip(maps, shapes, strict=True)
        ]

    return dataclasses.replace(alignment, depth=filled(alignment.depth), confidence=filled(alignment.confidence))


def assemble_scene(
    views: Sequence[View],
    alignment: Alignment,
    cloud: Cloud,
    net: PairNetwork,
    graph_choice: str,
    seconds: dict[str, float],
    matches: Sequence[PairMatches] = (),
    sources: Sequence[Path | None] = (),
) -> Reconstruction:
    """The result of a job, with intrinsics carried to the originals' pixels, statistics and warnings."""
    to_original = [view.geometry.intrinsics_to_original(K) for view, K in zip(views, alignment.intrinsics, strict=True)]
    return Reconstruction(
        names=[view.name for view in views],
        metric=bool(getattr(net, "metric", True)),
        cam2world=alignment.cam2world,
        component=alignment.component,
        unregistered=[(i, views[i].name, reason) for i, reason in alignment.unregistered],
        intrinsics=np.stack(to_original),
        network_intrinsics=alignment.intrinsics,
        geometry=[view.geometry for view in views],
        exif_orientation=[view.exif_orientation for view in views],
        depth=alignment.depth,
        confidence=alignment.confidence,
        points=cloud.points,
        colors=cloud.colors,
        point_confidence=cloud.confidence,
        normals=cloud.normals,
        point_component=cloud.component,
        pairs=alignment.pairs,
        stats=_stats(alignment, cloud, graph_choice, seconds),
        warnings=[*_warnings(alignment, net, len(views)), *cloud.warnings],
        matches=_of_pairs_that_hold(matches, alignment),
        sources=list(sources),
    )


def _of_pairs_that_hold(matches: Sequence[PairMatches], alignment: Alignment) -> list[PairMatches]:
    """What exports build tracks of; nothing is copied, and there is no more of it than alignment had in memory."""
    holding = {(pair.i, pair.j) for pair in alignment.pairs if pair.inliers > 0}
    registered = alignment.component >= 0
    return [pair for pair in matches if (pair.i, pair.j) in holding and registered[pair.i] and registered[pair.j]]


def _stats(alignment: Alignment, cloud: Cloud, graph_choice: str, seconds: dict[str, float]) -> dict[str, Any]:
    return {
        "seconds": seconds,
        "images": len(alignment.component),
        "registered": int((alignment.component >= 0).sum()),
        "components": int(alignment.component.max(initial=-1)) + 1,
        "pairs": len(alignment.pairs),
        "pairs_that_hold": sum(pair.inliers > 0 for pair in alignment.pairs),
        "matches": sum(pair.matches for pair in alignment.pairs),
        "scene_graph": graph_choice,
        "alignment": alignment.stats,
        "fusion": cloud.stats,
        "peak_rss_bytes": peak_memory(),
    }


def _warnings(alignment: Alignment, net: PairNetwork, count: int) -> list[str]:
    warnings = []
    if not getattr(net, "trained", True):
        warnings.append("the network is untrained: the geometry means nothing")
    if count == 1:
        warnings.append("one photograph alone: its points are the network's own and no second view confirms them")
    if len(alignment.unregistered):
        warnings.append(f"{len(alignment.unregistered)} of {count} photographs could not be registered; see unregistered")
    components = int(alignment.component.max(initial=-1)) + 1
    if components > 1:
        warnings.append(f"the photographs fall into {components} components that nothing connects; each has a frame of its own")
    return warnings
