"""The ray-cast room as a finished Reconstruction, for tests of the exports."""

from __future__ import annotations

import dataclasses

import numpy as np

from mast3r_engine.fusion import fuse
from mast3r_engine.options import FusionOptions
from mast3r_engine.reconstruction import Alignment, Reconstruction
from mast3r_engine.views import ImageGeometry
from tests.engine.posed_room import room_scene


def room_reconstruction(n: int = 4, max_points: int = 5000, component: list[int] | None = None) -> Reconstruction:
    """`n` views at 96x72; `component` as in Alignment, -1 takes pose and depth away."""
    alignment, images = room_scene(n)
    if component is not None:
        alignment = _with_components(alignment, component)
    cloud = fuse(alignment, images, FusionOptions(max_points=max_points))
    geometry = ImageGeometry(400, 300, 100, 75, 2, 1, 96, 72)
    return Reconstruction(
        names=[f"photo {i} für.jpg" for i in range(n)],
        metric=True,
        cam2world=alignment.cam2world,
        component=alignment.component,
        unregistered=[(i, f"photo {i} für.jpg", reason) for i, reason in alignment.unregistered],
        intrinsics=np.stack([geometry.intrinsics_to_original(K) for K in alignment.intrinsics]),
        network_intrinsics=alignment.intrinsics,
        geometry=[geometry] * n,
        exif_orientation=[1] * n,
        depth=alignment.depth,
        confidence=alignment.confidence,
        points=cloud.points,
        colors=cloud.colors,
        point_confidence=cloud.confidence,
        normals=cloud.normals,
        point_component=cloud.component,
        pairs=alignment.pairs,
        stats={},
    )


def _with_components(alignment: Alignment, component: list[int]) -> Alignment:
    lost = [i for i, c in enumerate(component) if c < 0]
    for i in lost:
        alignment.cam2world[i] = alignment.depth[i][:] = alignment.confidence[i][:] = np.nan
    return dataclasses.replace(alignment, component=np.array(component), unregistered=[(i, "no pair holds") for i in lost])
