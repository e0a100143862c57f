"""The dense prediction head (DPT, arXiv:2103.13413) as DUSt3R uses it: four token layers to one map of full resolution.

Tokens arrive channel-last, so every map here is a channels-last view from the start and no layout is ever converted.
All upsampling is bilinear with align_corners.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mast3r_engine.network.config import NetworkConfig

CHANNELS = 4  # x, y, z, confidence


class ResidualConvUnit(nn.Module):
    """x + conv(relu(conv(relu(x)))); the skip adds the raw x."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, h, w) -> (B, C, h, w)
        """Apply the unit."""
        refined: Tensor = self.conv2(functional.relu(self.conv1(functional.relu(x)), inplace=True))
        return refined + x


class FeatureFusion(nn.Module):
    """Add a finer level to the coarser one, refine, and upsample by two."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(width, width, 1)
        self.resConfUnit1 = ResidualConvUnit(width)
        self.resConfUnit2 = ResidualConvUnit(width)

    def forward(
        self,
        x: Tensor,  # (B, C, h, w)
        skip: Tensor | None = None,  # (B, C, h, w)
    ) -> Tensor:  # (B, C, 2h, 2w)
        """Fuse; without a skip only the second unit runs."""
        if skip is not None:
            x = x + self.resConfUnit1(skip)
        # The published order is upsampling, then 1x1 convolution: they commute, and this one costs a quarter.
        projected = self.out_conv(self.resConfUnit2(x))
        return _upsample(projected, 2 * x.shape[-2], 2 * x.shape[-1])


class Scratch(nn.Module):
    """Projections of the four levels to one width, and their fusion from coarse to fine.

    The published state dict names each projection twice, `layer1_rn` and `layer_rn.0`; both are one module here.
    """

    def __init__(self, layer_dims: Sequence[int], width: int) -> None:
        super().__init__()
        self.layer1_rn, self.layer2_rn, self.layer3_rn, self.layer4_rn = projections = [
            nn.Conv2d(dim, width, 3, padding=1, bias=False) for dim in layer_dims
        ]
        self.layer_rn = nn.ModuleList(projections)
        self.refinenet1 = FeatureFusion(width)
        self.refinenet2 = FeatureFusion(width)
        self.refinenet3 = FeatureFusion(width)
        self.refinenet4 = FeatureFusion(width)

    def forward(
        self,
        levels: Sequence[Tensor],  # four maps, finest first: 4h x 4w, 2h x 2w, h x w, ceil(h/2) x ceil(w/2)
    ) -> Tensor:  # (B, C, 8h, 8w)
        """Project and fuse."""
        level1, level2, level3, level4 = (project(level) for project, level in zip(self.layer_rn, levels, strict=True))
        path: Tensor = self.refinenet4(level4)[..., : level3.shape[-2], : level3.shape[-1]]  # odd grids: cropped, not resized
        path = self.refinenet3(path, level3)
        path = self.refinenet2(path, level2)
        fused: Tensor = self.refinenet1(path, level1)
        return fused


class Dpt(nn.Module):
    """The whole head: reassemble four layers, fuse them, and predict four channels a pixel."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        depth, width, half = config.dec_depth, config.feature_dim, config.feature_dim // 2
        E, D = config.enc_embed_dim, config.dec_embed_dim
        dim1, dim2, dim3, dim4 = config.layer_dims
        self.hooks = (0, depth * 2 // 4, depth * 3 // 4, depth)  # entries of the decoder's list of outputs
        self.patch_size = config.patch_size
        self.act_postprocess = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(E, dim1, 1), nn.ConvTranspose2d(dim1, dim1, 4, stride=4)),
                nn.Sequential(nn.Conv2d(D, dim2, 1), nn.ConvTranspose2d(dim2, dim2, 2, stride=2)),
                nn.Sequential(nn.Conv2d(D, dim3, 1)),
                nn.Sequential(nn.Conv2d(D, dim4, 1), nn.Conv2d(dim4, dim4, 3, stride=2, padding=1)),
            ]
        )
        self.scratch = Scratch(config.layer_dims, width)
        self.head = nn.ModuleDict(  # keyed as in the published sequence; 1 is the upsampling, 3 the ReLU
            {
                "0": nn.Conv2d(width, half, 3, padding=1),
                "2": nn.Conv2d(half, half, 3, padding=1),
                "4": nn.Conv2d(half, CHANNELS, 1),
            }
        )

    def forward(
        self,
        layers: Sequence[Tensor],  # the decoder's list: (B, S, E), then (B, S, D) each
        rows: int,  # token grid
        columns: int,
    ) -> Tensor:  # (B, H, W, 4) raw values
        """Predict raw points and confidence."""
        dtype = self.scratch.layer1_rn.weight.dtype
        levels = [
            assemble(torch.unflatten(layers[hook].to(dtype), 1, (rows, columns)).permute(0, 3, 1, 2))
            for hook, assemble in zip(self.hooks, self.act_postprocess, strict=True)
        ]
        features = self.head["0"](self.scratch(levels))
        features = _upsample(features, rows * self.patch_size, columns * self.patch_size)
        features = functional.relu(self.head["2"](features), inplace=True)
        raw: Tensor = self.head["4"](features.to(next(self.head["4"].parameters()).dtype))
        return raw.permute(0, 2, 3, 1)


def _upsample(x: Tensor, height: int, width: int) -> Tensor:  # (B, C, h, w) -> (B, C, height, width)
    return torch.nn.functional.interpolate(x, size=(height, width), mode="bilinear", align_corners=True)
