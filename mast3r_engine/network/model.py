"""The network: a siamese encoder, two decoders that look at each other, two heads.

DUSt3R (arXiv:2312.14132) and MASt3R (arXiv:2406.09756), with the published state-dict keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mast3r_engine.errors import InvalidImageError
from mast3r_engine.network.activations import activate_confidence, activate_points, normalise_descriptors
from mast3r_engine.network.blocks import LAYER_NORM_EPS, DecoderBlock, EncoderBlock, PatchEmbed
from mast3r_engine.network.config import NetworkConfig
from mast3r_engine.network.heads import CatMlpDptHead, DptHead, LinearHead, build_head
from mast3r_engine.network.positions import RopeTables, rope_tables
from mast3r_engine.predictions import Encoded, Outputs, ViewPrediction


class Network(nn.Module):
    """MASt3R or DUSt3R, of any width and depth.

    Usable under autograd; callers that only infer wrap their calls in `torch.inference_mode()`.
    `precision.set_precision` turns a float32 network into a bfloat16 one.
    """

    supports_outputs = True
    trained = False  # set on an instance whose weights mean something

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        E, D = config.enc_embed_dim, config.dec_embed_dim
        self.mask_token = nn.Parameter(torch.zeros(1, 1, D))  # of the pre-training; in the state dict, never used
        self.patch_embed = PatchEmbed(config.patch_size, E)
        self.enc_blocks = nn.ModuleList(EncoderBlock(E, config.enc_num_heads, config.mlp_ratio) for _ in range(config.enc_depth))
        self.enc_norm = nn.LayerNorm(E, eps=LAYER_NORM_EPS)
        self.decoder_embed = nn.Linear(E, D)
        self.dec_blocks = _decoder(config)
        self.dec_norm = nn.LayerNorm(D, eps=LAYER_NORM_EPS)
        self.dec_blocks2 = _decoder(config)
        self.downstream_head1 = build_head(config)
        self.downstream_head2 = build_head(config)

    @property
    def metric(self) -> bool:
        """Whether points are in metres."""
        return self.config.metric

    @property
    def patch_size(self) -> int:
        """Both sides of an image must be multiples of it, pixels."""
        return self.config.patch_size

    @property
    def image_size(self) -> int:
        """The long edge it was trained for, pixels."""
        return max(self.config.img_size)

    @property
    def square_crop(self) -> bool:
        """Whether it wants the square crop of the published 224 models."""
        return self.config.img_size == (224, 224)

    @property
    def dtype(self) -> torch.dtype:
        """What the linear layers compute in, and what `Encoded.tokens` are."""
        return self.decoder_embed.weight.dtype

    def encode(
        self,
        images: Tensor,  # (B, 3, H, W) float32 in [-1, 1]
    ) -> Encoded:
        """Encode images of one size, once each; InvalidImageError if the network cannot take that size."""
        rows, columns = self._check_images(images)
        rope = self._rope(rows, columns, self.config.enc_embed_dim // self.config.enc_num_heads, images.device)
        x = self.patch_embed(images)
        for block in self.enc_blocks:
            x = block(x, rope)
        return Encoded(self.enc_norm(x).to(self.dtype), images.shape[2], images.shape[3])

    def decode(
        self,
        a: Encoded,
        b: Encoded,
        outputs: Outputs | None = None,  # None: everything the network can tell
    ) -> tuple[ViewPrediction, ViewPrediction]:
        """Predict both views of B pairs, points in the frame of `a`'s cameras; the views may differ in size."""
        layers_a, layers_b = self.decode_tokens(a, b)
        outputs = outputs or Outputs()
        first = self._predict(self.downstream_head1, layers_a, a, outputs.points[0], outputs.descriptors[0])
        second = self._predict(self.downstream_head2, layers_b, b, outputs.points[1], outputs.descriptors[1])
        return first, second

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As torch's; a shared DPT projection may stand under either of its two names, or under both."""
        complete = dict(state_dict)
        for alias, name in projection_aliases().items():
            if alias in complete or name in complete:
                complete.setdefault(alias, complete.get(name))
                complete.setdefault(name, complete.get(alias))
        return super().load_state_dict(complete, strict=strict, assign=assign)

    def forward(
        self,
        images_a: Tensor,  # (B, 3, H, W) float32 in [-1, 1]
        images_b: Tensor,  # (B, 3, H2, W2)
        outputs: Outputs | None = None,
    ) -> tuple[ViewPrediction, ViewPrediction]:
        """Encode and decode B pairs."""
        if images_a.shape != images_b.shape:
            return self.decode(self.encode(images_a), self.encode(images_b), outputs)
        both = self.encode(torch.cat((images_a, images_b)))
        a, b = (Encoded(tokens, both.height, both.width) for tokens in both.tokens.chunk(2))
        return self.decode(a, b, outputs)

    def decode_tokens(
        self,
        a: Encoded,
        b: Encoded,
    ) -> tuple[list[Tensor], list[Tensor]]:  # per view: (B, S, E), then dec_depth times (B, S, D)
        """Each view's layers: the encoder's tokens, every decoder block's, the last one normalised."""
        if a.tokens.shape[0] != b.tokens.shape[0]:
            raise ValueError(f"decode: {a.tokens.shape[0]} first and {b.tokens.shape[0]} second views; they must be as many")
        rope_a, rope_b = self._decoder_rope(a), self._decoder_rope(b)
        dtype = self.dtype
        layers_a, layers_b = [a.tokens], [b.tokens]
        # Between the blocks the stream is float32 in every precision (see blocks.py).
        x = self.decoder_embed(a.tokens.to(dtype)).float()
        y = self.decoder_embed(b.tokens.to(dtype)).float()
        for block_a, block_b in zip(self.dec_blocks, self.dec_blocks2, strict=True):
            x, y = block_a(x, y, rope_a, rope_b), block_b(y, x, rope_b, rope_a)  # both read the layer before
            layers_a.append(x)
            layers_b.append(y)
        layers_a[-1], layers_b[-1] = self.dec_norm(x), self.dec_norm(y)
        return layers_a, layers_b

    def _predict(
        self,
        head: LinearHead | DptHead,
        layers: list[Tensor],
        view: Encoded,
        points: bool,
        descriptors: bool,
    ) -> ViewPrediction:
        config, grid = self.config, (view.height // self.patch_size, view.width // self.patch_size)
        descriptors = descriptors and isinstance(head, CatMlpDptHead)
        pts3d, conf = _empty_points(layers[0])
        full_conf = conf
        if points or (descriptors and not config.two_confs):
            raw = head.predict_points(layers, *grid)
            full_conf = activate_confidence(raw[..., 3], config.conf_mode)
            if points:
                pts3d, conf = activate_points(raw[..., :3], config.depth_mode), full_conf
        if not (descriptors and isinstance(head, CatMlpDptHead)):
            return ViewPrediction(pts3d, conf)
        raw = head.predict_descriptors(layers, *grid)
        desc = raw[..., : config.desc_dim]
        desc = normalise_descriptors(desc) if "norm" in config.desc_mode else desc.float()
        if config.two_confs:
            full_conf = activate_confidence(raw[..., config.desc_dim], config.desc_conf_mode or config.conf_mode)
        return ViewPrediction(pts3d, conf, desc, full_conf)

    def _check_images(self, images: Tensor) -> tuple[int, int]:
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"encode: images have shape {tuple(images.shape)}; it must be (B, 3, H, W)")
        height, width = images.shape[2:]
        if height % self.patch_size or width % self.patch_size or not height or not width:
            reason = f"{width}x{height} pixels; both sides must be multiples of the network's patch, {self.patch_size}"
            raise InvalidImageError("image given to the network", reason)
        return height // self.patch_size, width // self.patch_size

    def _decoder_rope(self, view: Encoded) -> RopeTables:
        rows, columns = view.height // self.patch_size, view.width // self.patch_size
        if tuple(view.tokens.shape[1:]) != (rows * columns, self.config.enc_embed_dim):
            right = f"(B, {rows * columns}, {self.config.enc_embed_dim}) for an image of {view.width}x{view.height} pixels"
            raise ValueError(f"decode: tokens have shape {tuple(view.tokens.shape)}; it must be {right}")
        return self._rope(rows, columns, self.config.dec_embed_dim // self.config.dec_num_heads, view.tokens.device)

    def _rope(self, rows: int, columns: int, head_dim: int, device: torch.device) -> RopeTables:
        return rope_tables(rows, columns, head_dim, self.config.rope_base, device)


def _decoder(config: NetworkConfig) -> nn.ModuleList:
    width, heads = config.dec_embed_dim, config.dec_num_heads
    return nn.ModuleList(DecoderBlock(width, heads, config.mlp_ratio, config.norm_im2_in_dec) for _ in range(config.dec_depth))


def _empty_points(tokens: Tensor) -> tuple[Tensor, Tensor]:
    batch = tokens.shape[0]
    return torch.empty(batch, 0, 0, 3, device=tokens.device), torch.empty(batch, 0, 0, device=tokens.device)


def projection_aliases() -> dict[str, str]:
    """The second name of each shared DPT projection, and its first: `…layer_rn.0.weight` is `…layer1_rn.weight`."""
    return {
        f"downstream_head{view}.dpt.scratch.layer_rn.{level}.weight": (
            f"downstream_head{view}.dpt.scratch.layer{level + 1}_rn.weight"
        )
        for view in (1, 2)
        for level in range(4)
    }
