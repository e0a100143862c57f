"""Where rays meet unit shapes, in closed form."""

from __future__ import annotations

import torch
from torch import Tensor

from mast3r_engine.training.synthetic.scene import SlotCounts

FAR = 1e6  # stands for no hit; finite, so that arithmetic on it makes no NaN
NEAR = 0.02  # metres along z: nothing nearer to the camera is seen


def intersect(
    slots: SlotCounts,
    world2local: Tensor,  # (B, K, 3, 4)
    active: Tensor,  # (B, K) bool
    origin: Tensor,  # (B, V, 3)
    rays: Tensor,  # (B, V, P, 3) directions of any length
) -> tuple[Tensor, Tensor]:  # t (B, V, P) in units of the direction, FAR without a hit; slot (B, V, P) int64
    """The nearest hit of each ray over all solids."""
    best = torch.full(rays.shape[:3], FAR, dtype=rays.dtype, device=rays.device)
    slot = torch.zeros(rays.shape[:3], dtype=torch.int64, device=rays.device)
    direction = rays.unbind(-1)
    for k in range(slots.total):
        rows = world2local[:, k]
        start = [_apply(rows[:, i], origin) for i in range(3)]
        step = [sum_of_products(rows[:, i, None, None, :3], direction) for i in range(3)]
        if k == 0:
            t = _leave_box(start, step)
        elif k <= slots.boxes:
            t = _enter_box(start, step)
        elif k <= slots.boxes + slots.ellipsoids:
            t = _enter_ball(start, step)
        else:
            t = _enter_cylinder(start, step)
        hit = (t > NEAR) & (t < best) & active[:, k, None, None]
        best = torch.where(hit, t, best)
        slot = torch.where(hit, k, slot)
    return best, slot


def sum_of_products(rows: Tensor, direction: tuple[Tensor, ...]) -> Tensor:
    """A dot product of (..., 3) coefficients with three component maps."""
    return rows[..., 0] * direction[0] + rows[..., 1] * direction[1] + rows[..., 2] * direction[2]


def _apply(row: Tensor, point: Tensor) -> Tensor:  # (B, 4), (B, V, 3) -> (B, V, 1)
    return ((point * row[:, None, :3]).sum(-1) + row[:, 3:4])[..., None]


def _slabs(start: list[Tensor], step: list[Tensor]) -> tuple[Tensor, Tensor]:
    near, far = [], []
    for o, d in zip(start, step, strict=True):
        inverse = 1.0 / torch.where(d.abs() < 1e-9, 1e-9, d)
        a, b = (-1.0 - o) * inverse, (1.0 - o) * inverse
        near.append(torch.minimum(a, b))
        far.append(torch.maximum(a, b))
    enter = torch.maximum(torch.maximum(near[0], near[1]), near[2])
    leave = torch.minimum(torch.minimum(far[0], far[1]), far[2])
    return enter, leave


def _enter_box(start: list[Tensor], step: list[Tensor]) -> Tensor:
    enter, leave = _slabs(start, step)
    return torch.where(leave > enter, enter, FAR)


def _leave_box(start: list[Tensor], step: list[Tensor]) -> Tensor:
    enter, leave = _slabs(start, step)
    return torch.where(leave > enter, leave, FAR)


def _enter_ball(start: list[Tensor], step: list[Tensor]) -> Tensor:
    a = step[0] ** 2 + step[1] ** 2 + step[2] ** 2
    b = start[0] * step[0] + start[1] * step[1] + start[2] * step[2]
    c = start[0] ** 2 + start[1] ** 2 + start[2] ** 2 - 1.0
    inside = b * b - a * c
    return torch.where(inside > 0, (-b - inside.clamp(min=0).sqrt()) / a, FAR)


def _enter_cylinder(start: list[Tensor], step: list[Tensor]) -> Tensor:
    """The later of entering the infinite tube and entering the slab, if both come before leaving either."""
    a = (step[0] ** 2 + step[1] ** 2).clamp(min=1e-12)
    b = start[0] * step[0] + start[1] * step[1]
    c = start[0] ** 2 + start[1] ** 2 - 1.0
    inside = b * b - a * c
    root = inside.clamp(min=0).sqrt()
    inverse = 1.0 / torch.where(step[2].abs() < 1e-9, 1e-9, step[2])
    low, high = (-1.0 - start[2]) * inverse, (1.0 - start[2]) * inverse
    enter = torch.maximum((-b - root) / a, torch.minimum(low, high))
    leave = torch.minimum((-b + root) / a, torch.maximum(low, high))
    return torch.where((inside > 0) & (leave > enter), enter, FAR)
