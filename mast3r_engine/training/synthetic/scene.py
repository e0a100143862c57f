"""What a batch of scenes is: textured solids in fixed slots, light and sky."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mast3r_engine.training.synthetic.textures import TextureSet


@dataclass(frozen=True)
class SlotCounts:
    """How many solids of each kind a scene has room for; slot 0 is the room, seen from inside."""

    boxes: int = 9
    ellipsoids: int = 3
    cylinders: int = 2
    meshes: int = 2  # the first may be uneven ground

    @property
    def total(self) -> int:
        """All slots, with the room."""
        return 1 + self.boxes + self.ellipsoids + self.cylinders + self.meshes


@dataclass(frozen=True)
class Scenes:
    """B scenes in metres, z up; solids are unit boxes, balls, cylinders (along z) and meshes, from -1 to 1, under affine maps."""

    slots: SlotCounts
    centre: Tensor  # (B, K, 3)
    half: Tensor  # (B, K, 3) half extents along the solid's own axes
    rotation: Tensor  # (B, K, 3, 3) solid's axes in the world, as columns
    active: Tensor  # (B, K) bool
    triangles: Tensor  # (B, M, T, 3, 3) corners of the M meshes' triangles, in the unit box
    open_air: Tensor  # (B,) bool: of the room only the floor is seen, and the sky above it
    texture: Tensor  # (B, K, 6) int64, per side: -x +x -y +y -z +z
    texture_scale: Tensor  # (B, K, 6) texture edges per metre
    texture_offset: Tensor  # (B, K, 6, 2)
    gloss: Tensor  # (B, K) strength of the highlight
    light: Tensor  # (B, 3) unit, towards the light
    ambient: Tensor  # (B,) share of the light that comes from everywhere
    sky: Tensor  # (B, 2, 3) colours of horizon and zenith
    textures: TextureSet

    def world2local(self) -> Tensor:  # (B, K, 3, 4)
        """The map from the world to each unit shape."""
        linear = self.rotation.transpose(2, 3) / self.half[..., None]
        return torch.cat((linear, -linear @ self.centre[..., None]), dim=3)
