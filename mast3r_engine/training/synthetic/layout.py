"""Drawing scenes: what stands where, how large, under which textures and light."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from mast3r_engine.training.synthetic.meshes import draw_meshes
from mast3r_engine.training.synthetic.randomness import log_uniform, normal, uniform
from mast3r_engine.training.synthetic.scene import Scenes, SlotCounts
from mast3r_engine.training.synthetic.textures import TextureSet

TABLE, FLOOR, WALL = 0, 1, 2  # where the solids gather
LAYOUT_SHARES = (0.45, 0.3, 0.25)
OPEN_AIR_SHARE = 0.15
UNEVEN_SHARE = 0.5  # of the scenes on the floor


def draw_scenes(
    count: int,
    slots: SlotCounts,
    textures: TextureSet,
    generator: torch.Generator,
) -> tuple[Scenes, Tensor]:  # and layout (B,) int64: TABLE, FLOOR or WALL
    """Draw `count` furnished rooms; the +y wall is the one that WALL scenes are hung on."""
    device = generator.device
    layout = torch.multinomial(torch.tensor(LAYOUT_SHARES, device=device), count, True, generator=generator)
    room_half = torch.stack(
        [
            log_uniform(generator, (count,), 1.6, 5.0),
            log_uniform(generator, (count,), 1.6, 5.0),
            uniform(generator, (count,), 1.2, 2.2),
        ],
        1,
    )
    half, centre, upright = _place_solids(layout, room_half, slots, generator)
    K = slots.total
    spin = functional.normalize(normal(generator, (count, K, 4), 1.0), dim=-1)
    yaw = torch.stack([torch.cos(upright / 2), *[torch.zeros_like(upright)] * 2, torch.sin(upright / 2)], -1)
    tumbled = uniform(generator, (count, K, 1), 0, 1) < 0.15
    tumbled[:, :2] = False
    active = uniform(generator, (count, K), 0, 1) < 0.85
    active[:, 0] = True
    active[:, 1] = True
    open_air = uniform(generator, (count,), 0, 1) < OPEN_AIR_SHARE
    room_half = torch.where(open_air[:, None] & (layout != WALL)[:, None], room_half * 3, room_half)
    half[:, 0], centre[:, 0, 2] = room_half, room_half[:, 2]
    if slots.meshes:
        ground = slots.total - slots.meshes
        half[:, ground] = torch.stack((2 + 2 * half[:, ground, 0], 2 + 2 * half[:, ground, 1], half[:, ground, 2] * 0.7), 1)
        centre[:, ground] = torch.zeros_like(centre[:, ground])
        upright[:, ground] = 0
        tumbled[:, ground] = False
        active[:, ground] = (layout == FLOOR) & (uniform(generator, (count,), 0, 1) < UNEVEN_SHARE)
    extent = 1 / (2 * half.amax(2, keepdim=True)) * uniform(generator, (count, K, 6), 0.6, 1.3)
    extent[:, 0] = log_uniform(generator, (count, 6), 0.22, 0.8)
    scenes = Scenes(
        slots=slots,
        centre=centre,
        half=half,
        rotation=rotation_of_quaternion(torch.where(tumbled, spin, yaw)),
        active=active,
        triangles=draw_meshes(count, slots.meshes, generator),
        open_air=open_air,
        texture=torch.randint(textures.texels.shape[0], (count, K, 6), generator=generator, device=device),
        texture_scale=extent,
        texture_offset=uniform(generator, (count, K, 6, 2), 0.0, 2.0),
        gloss=uniform(generator, (count, K), 0.0, 0.5) ** 2,
        light=functional.normalize(normal(generator, (count, 3), 1.0) + torch.tensor([0.0, -0.3, 1.2], device=device), dim=1),
        ambient=uniform(generator, (count,), 0.4, 0.85),
        sky=uniform(generator, (count, 2, 3), 0.4, 1.0),
        textures=textures,
    )
    return scenes, layout


def rotation_of_quaternion(
    q: Tensor,  # (..., 4) unit, w first
) -> Tensor:  # (..., 3, 3)
    """The rotation matrix."""
    w, x, y, z = q.unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, -1).reshape(*q.shape[:-1], 3, 3)


def _place_solids(
    layout: Tensor, room_half: Tensor, slots: SlotCounts, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Half extents (B, K, 3), centres (B, K, 3) and yaw (B, K) of all slots."""
    count, K = layout.shape[0], slots.total
    device = generator.device
    on_table, on_wall = (layout == TABLE)[:, None], (layout == WALL)[:, None]
    small, large = log_uniform(generator, (count, K, 3), 0.04, 0.28), log_uniform(generator, (count, K, 3), 0.1, 0.6)
    relief = torch.stack([large[..., 0], large[..., 1] * 0.5, large[..., 2]], -1)
    half = torch.where(on_table[..., None], small, torch.where(on_wall[..., None], relief, large))
    number = torch.arange(K, device=device)
    round_slots = (number > slots.boxes + slots.ellipsoids) & (number < K - slots.meshes)
    radius = half[..., :1].clamp(max=0.25) * uniform(generator, (count, K, 1), 0.1, 1.0)  # from poles to drums
    half = torch.where(round_slots[:, None], torch.cat((radius, radius, half[..., 2:] * 1.5), -1), half)

    table_half = torch.stack(
        [
            uniform(generator, (count,), 0.5, 1.1),
            uniform(generator, (count,), 0.35, 0.8),
            uniform(generator, (count,), 0.15, 0.45),
        ],
        1,
    )
    reach_x = torch.where(on_table, table_half[:, :1] * 0.85, torch.where(on_wall, 2.5, 1.4))
    reach_y = torch.where(on_table, table_half[:, 1:2] * 0.85, 1.2)
    x = uniform(generator, (count, K), -1, 1) * reach_x
    y = uniform(generator, (count, K), -1, 1) * reach_y
    ground = torch.where(on_table, 2 * table_half[:, 2:], 0.0)
    z = ground + half[..., 2]
    wall_y = room_half[:, 1:2] - half[..., 1] * uniform(generator, (count, K), -0.3, 1.0)
    y = torch.where(on_wall, wall_y, y)
    z = torch.where(on_wall, uniform(generator, (count, K), 0.1, 1.0) * 2 * room_half[:, 2:], z)

    # Two boxes of every scene are furniture behind or beside the rest.
    furniture = (torch.arange(K, device=device) == 2) | (torch.arange(K, device=device) == 3)
    far_x = torch.sign(x) * room_half[:, :1] * uniform(generator, (count, K), 0.5, 0.95)
    far_y = room_half[:, 1:2] * uniform(generator, (count, K), 0.3, 0.95)
    half = torch.where(furniture[:, None], large * 1.4, half)
    x, y = torch.where(furniture, far_x, x), torch.where(furniture & ~on_wall, far_y, y)
    z = torch.where(furniture, half[..., 2], z)
    centre = torch.stack((x, y, z), -1)

    is_table = on_table & (torch.arange(K, device=device) == 1)
    half = torch.where(is_table[..., None], table_half[:, None], half)
    table_centre = torch.stack((torch.zeros_like(layout), torch.zeros_like(layout), table_half[:, 2]), -1).float()
    centre = torch.where(is_table[..., None], table_centre[:, None], centre)
    half[:, 0] = room_half
    centre[:, 0] = torch.stack((torch.zeros_like(room_half[:, 0]), torch.zeros_like(room_half[:, 0]), room_half[:, 2]), -1)
    yaw = uniform(generator, (count, K), -math.pi, math.pi)
    yaw = torch.where(on_wall, yaw * (uniform(generator, (count, K), 0, 1) < 0.3), yaw)
    yaw[:, 0] = 0
    return half, centre, yaw * ~is_table
