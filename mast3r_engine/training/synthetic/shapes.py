"""Where rays meet unit shapes, in closed form."""

from __future__ import annotations

import torch
from torch import Tensor

from mast3r_engine.training.synthetic.scene import Scenes

FAR = 1e6  # stands for no hit; finite, so that arithmetic on it makes no NaN
NEAR = 0.02  # metres along z: nothing nearer to the camera is seen
TINY = 1e-9
TRIANGLES_AT_ONCE = 10

Components = tuple[Tensor, Tensor, Tensor]


def intersect(
    scenes: Scenes,
    origin: Tensor,  # (B, V, P or 1, 3)
    rays: Tensor,  # (B or 1, V or 1, P or 1, 3) directions of any length
    with_room: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:  # t (B, V, P) in units of the direction, FAR without a hit; slot, triangle (B, V, P) int64
    """The nearest hit of each ray over all solids; `triangle` means something on meshes only."""
    best = torch.full_like(origin[..., 0] + rays[..., 0], FAR)
    slot = torch.zeros_like(best, dtype=torch.int64)
    triangle = torch.zeros_like(slot)
    counts, world2local = scenes.slots, scenes.world2local()
    first_mesh = counts.total - counts.meshes
    for k in range(0 if with_room else 1, counts.total):
        rows = world2local[:, k, :, None, None]  # (B, 3, 1, 1, 4)
        start = _components(rows, origin, 1.0)
        step = _components(rows, rays, 0.0)
        face = None
        if k == 0:
            t = _leave_box(start, step)
        elif k <= counts.boxes:
            t = _enter_box(start, step)
        elif k <= counts.boxes + counts.ellipsoids:
            t = _enter_ball(start, step)
        elif k < first_mesh:
            t = _enter_cylinder(start, step)
        else:
            t, face = _enter_mesh(scenes.triangles[:, k - first_mesh], start, step)
        hit = (t > NEAR) & (t < best) & scenes.active[:, k, None, None]
        best = torch.where(hit, t, best)
        slot = torch.where(hit, k, slot)
        if face is not None:
            triangle = torch.where(hit, face, triangle)
    return best, slot, triangle


def _components(rows: Tensor, vectors: Tensor, translation: float) -> Components:
    x, y, z = vectors.unbind(-1)
    a, b, c = (
        rows[:, i, ..., 0] * x + rows[:, i, ..., 1] * y + rows[:, i, ..., 2] * z + translation * rows[:, i, ..., 3]
        for i in range(3)
    )
    return a, b, c


def _slabs(start: Components, step: Components) -> tuple[Tensor, Tensor]:
    near, far = [], []
    for o, d in zip(start, step, strict=True):
        inverse = 1.0 / torch.where(d.abs() < TINY, TINY, d)
        a, b = (-1.0 - o) * inverse, (1.0 - o) * inverse
        near.append(torch.minimum(a, b))
        far.append(torch.maximum(a, b))
    enter = torch.maximum(torch.maximum(near[0], near[1]), near[2])
    leave = torch.minimum(torch.minimum(far[0], far[1]), far[2])
    return enter, leave


def _enter_box(start: Components, step: Components) -> Tensor:
    enter, leave = _slabs(start, step)
    return torch.where(leave > enter, enter, FAR)


def _leave_box(start: Components, step: Components) -> Tensor:
    enter, leave = _slabs(start, step)
    return torch.where(leave > enter, leave, FAR)


def _enter_ball(start: Components, step: Components) -> Tensor:
    a = step[0] ** 2 + step[1] ** 2 + step[2] ** 2
    b = start[0] * step[0] + start[1] * step[1] + start[2] * step[2]
    c = start[0] ** 2 + start[1] ** 2 + start[2] ** 2 - 1.0
    inside = b * b - a * c
    return torch.where(inside > 0, (-b - inside.clamp(min=0).sqrt()) / a, FAR)


def _enter_cylinder(start: Components, step: Components) -> Tensor:
    """The later of entering the infinite tube and entering the slab, if both come before leaving either."""
    a = (step[0] ** 2 + step[1] ** 2).clamp(min=1e-12)
    b = start[0] * step[0] + start[1] * step[1]
    c = start[0] ** 2 + start[1] ** 2 - 1.0
    inside = b * b - a * c
    root = inside.clamp(min=0).sqrt()
    inverse = 1.0 / torch.where(step[2].abs() < TINY, TINY, step[2])
    low, high = (-1.0 - start[2]) * inverse, (1.0 - start[2]) * inverse
    enter = torch.maximum((-b - root) / a, torch.minimum(low, high))
    leave = torch.minimum((-b + root) / a, torch.maximum(low, high))
    return torch.where((inside > 0) & (leave > enter), enter, FAR)


def _enter_mesh(triangles: Tensor, start: Components, step: Components) -> tuple[Tensor, Tensor]:
    """The nearest triangle of (B, T, 3, 3) by Moeller and Trumbore (1997), both sides; a few triangles at a time."""
    best = torch.full((), FAR, dtype=start[0].dtype, device=start[0].device)
    index = torch.zeros((), dtype=torch.int64, device=start[0].device)
    for first in range(0, triangles.shape[1], TRIANGLES_AT_ONCE):
        t, among = _triangle_hits(triangles[:, first : first + TRIANGLES_AT_ONCE], start, step).min(-1)
        index = torch.where(t < best, first + among, index)
        best = torch.minimum(t, best)
    return best, index


def _triangle_hits(triangles: Tensor, start: Components, step: Components) -> Tensor:  # (B, V, P, T)
    corner, second, third = (_spread(triangles[:, None, None, :, i]) for i in range(3))
    a, b = _minus(second, corner), _minus(third, corner)
    d = (step[0][..., None], step[1][..., None], step[2][..., None])
    offset = _minus((start[0][..., None], start[1][..., None], start[2][..., None]), corner)
    across = _cross(d, b)
    volume = _dot(a, across)
    inverse = 1.0 / torch.where(volume.abs() < TINY, TINY, volume)
    u = _dot(offset, across) * inverse
    turned = _cross(offset, a)
    v = _dot(d, turned) * inverse
    t = _dot(b, turned) * inverse
    inside = (volume.abs() >= TINY) & (u >= 0) & (v >= 0) & (u + v <= 1) & (t > NEAR)
    return torch.where(inside, t, FAR)


def _spread(vectors: Tensor) -> Components:  # (..., 3)
    return vectors[..., 0], vectors[..., 1], vectors[..., 2]


def _minus(a: Components, b: Components) -> Components:
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


def _cross(a: Components, b: Components) -> Components:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def _dot(a: Components, b: Components) -> Tensor:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
