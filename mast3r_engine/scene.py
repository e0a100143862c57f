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
from mast3r_engine.priors import Priors
from mast3r_engine.reconstruction import Alignment, Reconstruction
from mast3r_engine.resolved_priors import lens_of
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


def masked(
    alignment: Alignment,
    usable: Sequence[NDArray[np.bool_] | None],  # (H, W) per photograph; None: everything
) -> Alignment:
    """Take depth and confidence away where masks say so, and with them points and exported maps."""

    def kept(maps: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        return [
            values if use is None else np.where(use, values, np.float32(np.nan)) for values, use in zip(maps, usable, strict=True)
        ]

    return dataclasses.replace(alignment, depth=kept(alignment.depth), confidence=kept(alignment.confidence))


def assemble_scene(
    views: Sequence[View],
    alignment: Alignment,
    cloud: Cloud,
    net: PairNetwork,
    graph_choice: str,
    seconds: dict[str, float],
    matches: Sequence[PairMatches] = (),
    sources: Sequence[Path | None] = (),
    priors: Priors | None = None,
) -> Reconstruction:
    """The result of a job, with intrinsics carried to the originals' pixels, statistics and warnings."""
    priors = priors or Priors()
    lenses = [lens_of(view, K) for view, K in zip(views, alignment.intrinsics, strict=True)]
    to_original = [
        view.geometry.intrinsics_to_original(K) if lens is None else lens.undistorted_K
        for view, K, lens in zip(views, alignment.intrinsics, lenses, strict=True)
    ]
    return Reconstruction(
        names=[view.name for view in views],
        metric=bool(getattr(net, "metric", True)) or alignment.in_given_unit,
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
        stats={**_stats(alignment, cloud, graph_choice, seconds), "priors": _priors_stats(priors, views, alignment)},
        warnings=[*_warnings(alignment, net, len(views)), *_contradicted(views, alignment), *cloud.warnings],
        matches=_of_pairs_that_hold(matches, alignment),
        sources=list(sources),
        lenses=lenses,
        usable=[view.usable for view in views],
        masked=bool(priors.masks),
        timestamps=[priors.timestamps.get(view.name) for view in views] if priors.timestamps else [],
        world=_world(priors, alignment),
    )


def _priors_stats(priors: Priors, views: Sequence[View], alignment: Alignment) -> dict[str, Any]:
    """What was said beforehand, and what of it the photographs contradict."""
    kinds = ("cameras", "shared_cameras", "poses", "positions", "distances", "masks", "depths")
    found = alignment.stats.get("contradictions", [])
    named = [{**c, "photo": views[c["view"]].name if c["view"] >= 0 else None} for c in found]
    return {
        **{kind: len(getattr(priors, kind)) for kind in kinds},
        "in_given_frame": alignment.given_component == 0,
        "in_given_unit": alignment.in_given_unit,
        "gps_origin": None if priors.gps_origin is None else dataclasses.asdict(priors.gps_origin),
        "contradictions": [{key: c[key] for key in ("photo", "prior", "message", "amount")} for c in named],
    }


def _contradicted(views: Sequence[View], alignment: Alignment) -> list[str]:
    found = alignment.stats.get("contradictions", [])
    return [(f"{views[c['view']].name}: " if c["view"] >= 0 else "priors: ") + c["message"] for c in found]


def _world(priors: Priors, alignment: Alignment) -> str:
    if alignment.given_component == 0:
        return "the frame of the pose or position priors" + (", east north up" if priors.gps_origin is not None else "")
    if priors.up is not None and 0 in alignment.stats.get("upright", []):
        return f"centred on the first registered photo of component 0, {priors.up.axis} up"
    return Reconstruction.world


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
    if (left_out := alignment.stats.get("bundle", {}).get("left_out")) and alignment.stats["bundle"]["asked_for"]:
        warnings.append(f"the cameras are those of the alignment: {left_out}")
    components = int(alignment.component.max(initial=-1)) + 1
    if components > 1:
        warnings.append(f"the photographs fall into {components} components that nothing connects; each has a frame of its own")
    return warnings
