"""An endless source of rendered pairs."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from mast3r_engine.training.batch import PairBatch
from mast3r_engine.training.synthetic.cameras import CameraRanges, draw_cameras
from mast3r_engine.training.synthetic.layout import draw_scenes
from mast3r_engine.training.synthetic.matches import draw_matches
from mast3r_engine.training.synthetic.photometry import photograph
from mast3r_engine.training.synthetic.render import render
from mast3r_engine.training.synthetic.scene import SlotCounts
from mast3r_engine.training.synthetic.textures import TextureSet, build_mips, mix_textures


@dataclass(frozen=True)
class SyntheticOptions:
    """What rendered pairs look like."""

    height: int = 96
    width: int = 128
    matches: int = 256
    texture_size: int = 128
    textures: int = 256  # in the bank that scenes choose from
    bank_batches: int = 8  # batches until the whole bank is renewed
    photometry: float = 1.0
    shadows: bool = False
    cameras: CameraRanges = field(default_factory=CameraRanges)
    slots: SlotCounts = field(default_factory=SlotCounts)


class SyntheticSource:
    """Renders pairs from photographs' textures; every batch is decided by its seed and the bank's age alone."""

    def __init__(
        self,
        photos: Tensor,  # (N, 3, R, R) uint8; its device is where everything happens
        options: SyntheticOptions,
        compiled: bool = False,
    ) -> None:
        self.photos = photos
        self.options = options
        self._generator = torch.Generator(device=photos.device)
        self._render = torch.compile(render, dynamic=False) if compiled else render
        self._bank: tuple[int, TextureSet] | None = None

    @torch.no_grad()
    def draw(self, count: int, seed: int, number: int) -> PairBatch:
        """Batch `number` of the sequence that `seed` starts."""
        options, generator = self.options, self._generator
        textures = self._textures(seed, number // options.bank_batches)
        generator.manual_seed((seed * 1_000_003 + number) % 2**63)
        scenes, layout = draw_scenes(count, options.slots, textures, generator)
        cameras = draw_cameras(scenes, layout, options.height, options.width, options.cameras, generator)
        colours, depth = self._render(scenes, cameras.cam2world, cameras.K, options.height, options.width, options.shadows)
        xy_first, xy_second, matched = draw_matches(scenes, cameras.cam2world, cameras.K, depth, options.matches, generator)
        images = photograph(colours.flatten(0, 1).permute(0, 3, 1, 2), generator, options.photometry)
        return PairBatch(
            images=(images * 2 - 1).reshape(count, 2, *images.shape[1:]),
            depth=depth,
            cam2world=cameras.cam2world,
            K=cameras.K,
            metric=torch.ones(count, dtype=torch.bool, device=depth.device),
            xy_first=xy_first.float(),
            xy_second=xy_second,
            matched=matched,
            portrait=torch.zeros(count, 2, dtype=torch.bool, device=depth.device),
        )

    def _textures(self, seed: int, bank: int) -> TextureSet:
        """The bank of that number, made when first asked for."""
        if self._bank is None or self._bank[0] != bank:
            self._generator.manual_seed((seed * 7_368_787 + bank + 1) % 2**63)
            mixed = mix_textures(self.photos, self.options.textures, self.options.texture_size, self._generator)
            self._bank = bank, build_mips(mixed)
        return self._bank[1]
