"""From aligned depth maps to one cloud: choose by confidence, clean across views, thin to the budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mast3r_engine.fusion.cleaning import DepthView, find_floating_points
from mast3r_engine.fusion.cloud import Cloud, join_clouds
from mast3r_engine.fusion.surface import back_project, estimate_normals, find_flying_pixels
from mast3r_engine.fusion.voxels import thin_cloud
from mast3r_engine.options import FusionOptions
from mast3r_engine.reconstruction import Alignment


def fuse(
    alignment: Alignment,
    images: Sequence[NDArray[np.uint8]],  # N of (H, W, 3) RGB at network size
    options: FusionOptions | None = None,
    on_progress: Callable[[float], None] | None = None,
    device: torch.device | str = "cpu",
) -> Cloud:
    """Fuse the registered photographs' depth maps into one cloud of at most `options.max_points` points.

    Each component is thinned on its own, with a share of the budget that follows its share of the points. The result is the
    same for the same input, and does not depend on the order of photographs but for rounding.
    """
    options = options or FusionOptions()
    views = _registered_views(alignment, device)
    neighbours = _covisible_views(alignment)
    clouds, dropped = [], 0
    for done, (i, view) in enumerate(views.items()):
        others = [views[j] for j in neighbours.get(i, ()) if j in views] if options.clean else []
        cloud, floating = _cloud_of_view(view, others, images[i], int(alignment.component[i]))
        clouds.append(cloud)
        dropped += floating
        _report(on_progress, 0.7 * (done + 1) / len(views))
    everything = join_clouds(clouds)
    clouds.clear()
    candidates = len(everything)
    sure, warnings = _choose_sure_points(everything, options.min_confidence)
    del everything  # tens of bytes for each pixel of each photograph
    thinned, sizes = _thin_components(sure, options.max_points)
    _report(on_progress, 1.0)
    stats = {"candidates": candidates, "sure": len(sure), "floating": dropped, "points": len(thinned), "voxel_sizes": sizes}
    return Cloud(
        thinned.points, thinned.colors, thinned.confidence, thinned.normals, thinned.component, warnings=warnings, stats=stats
    )


def _registered_views(alignment: Alignment, device: torch.device | str) -> dict[int, DepthView]:
    return {
        int(i): DepthView(
            depth=torch.from_numpy(alignment.depth[i]).to(device, torch.float32),
            confidence=torch.from_numpy(alignment.confidence[i]).to(device, torch.float32),
            K=torch.from_numpy(alignment.intrinsics[i]).to(device, torch.float32),
            cam2world=torch.from_numpy(alignment.cam2world[i]).to(device, torch.float64),
        )
        for i in np.flatnonzero(alignment.component >= 0)
    }


def _covisible_views(alignment: Alignment) -> dict[int, list[int]]:
    """Partners of each photograph in the pairs that hold, within one component."""
    partners: dict[int, set[int]] = {}
    for pair in alignment.pairs:
        if pair.inliers > 0 and alignment.component[pair.i] == alignment.component[pair.j] != -1:
            partners.setdefault(pair.i, set()).add(pair.j)
            partners.setdefault(pair.j, set()).add(pair.i)
    return {i: sorted(others) for i, others in partners.items()}


def _cloud_of_view(
    view: DepthView,
    others: list[DepthView],
    image: NDArray[np.uint8],  # (H, W, 3)
    component: int,
) -> tuple[Cloud, int]:
    """All usable points of one photograph in the world's frame, and how many floated and were dropped."""
    known = torch.isfinite(view.depth) & (view.depth > 0) & torch.isfinite(view.confidence)
    known &= ~find_flying_pixels(view.depth, view.K)
    floating = known & find_floating_points(view, others)
    keep = known & ~floating
    points = back_project(view.depth, view.K)
    cam2world = view.cam2world.to(points.dtype)
    R, t = cam2world[:3, :3], cam2world[:3, 3]
    cloud = Cloud(
        points=_array(points[keep] @ R.T + t),
        colors=image[keep.cpu().numpy()],
        confidence=_array(view.confidence[keep]),
        normals=_array(estimate_normals(points)[keep] @ R.T),
        component=np.full(int(keep.sum()), component, np.int32),
    )
    return cloud, int(floating.sum())


def _array(values: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = values.cpu().numpy()
    return array


def _choose_sure_points(cloud: Cloud, min_confidence: float) -> tuple[Cloud, list[str]]:
    """Keep points of at least `min_confidence`; a component that would vanish keeps its surer half, with a warning."""
    keep = cloud.confidence >= min_confidence
    warnings = []
    for c in np.unique(cloud.component):
        mine = cloud.component == c
        if not keep[mine].any():
            confidence = cloud.confidence[mine]
            keep[mine] = confidence >= np.median(confidence)
            warnings.append(
                f"no point of component {c} reaches fusion.min_confidence = {min_confidence:g} (the surest has "
                f"{confidence.max():.3g}); the surer half of its points was kept, expect poor geometry"
            )
    return (cloud if keep.all() else cloud[keep]), warnings


def _thin_components(cloud: Cloud, budget: int) -> tuple[Cloud, dict[int, float]]:
    """Thin each component with its share of the budget; also returns the voxel sizes, in units of the scene."""
    if len(cloud) <= budget:
        return cloud, {}
    thinned, sizes = [], {}
    for c, share in _share_budget(cloud.component, budget).items():
        mine = cloud.component == c
        part, sizes[c] = thin_cloud(cloud if mine.all() else cloud[mine], share)
        thinned.append(part)
    return join_clouds(thinned), sizes


def _share_budget(component: NDArray[np.int32], budget: int) -> dict[int, int]:
    """Split the budget by the number of points; a component whose share is less than one point is left out."""
    ids, counts = np.unique(component, return_counts=True)
    ends = np.floor(np.cumsum(counts) / counts.sum() * budget + 1e-9).astype(int)
    shares = np.diff(ends, prepend=0)
    return {int(c): int(share) for c, share in zip(ids, shares) if share > 0}


def _report(on_progress: Callable[[float], None] | None, done: float) -> None:
    if on_progress is not None:
        on_progress(done)
