"""The baseline of the network's benchmark: an eager float32 forward of a directed pair that remembers nothing.

Written from the formulas with the network's own layers: attention as a softmax over an explicit matrix, every head of both views,
both images encoded anew for each directed pair.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from mast3r_engine.network.activations import activate_confidence, activate_points, normalise_descriptors
from mast3r_engine.network.attention import CrossAttention, SelfAttention
from mast3r_engine.network.blocks import DecoderBlock, EncoderBlock
from mast3r_engine.network.heads import CatMlpDptHead, DptHead, LinearHead
from mast3r_engine.network.model import Network
from mast3r_engine.network.positions import RopeTables, rope_tables
from mast3r_engine.predictions import ViewPrediction
from mast3r_kernels.rope2d.reference import rope2d_reference

Grid = tuple[int, int]  # rows and columns of patches


def eager_pair(
    net: Network,
    image_a: Tensor,  # (B, 3, H, W) float32 in [-1, 1]
    image_b: Tensor,  # (B, 3, H2, W2)
) -> tuple[ViewPrediction, ViewPrediction]:
    """Both views of a directed pair, from the images on."""
    grid_a, grid_b = eager_grid(net, image_a), eager_grid(net, image_b)
    layers_a, layers_b = eager_decode(net, eager_encode(net, image_a), grid_a, eager_encode(net, image_b), grid_b)
    return eager_heads(net, layers_a, grid_a, layers_b, grid_b)


def eager_grid(net: Network, images: Tensor) -> Grid:
    """Rows and columns of patches of images (B, 3, H, W)."""
    return images.shape[2] // net.patch_size, images.shape[3] // net.patch_size


def eager_encode(
    net: Network,
    images: Tensor,  # (B, 3, H, W)
) -> Tensor:  # (B, S, C)
    """Tokens of images of one size."""
    config = net.config
    rope = rope_tables(*eager_grid(net, images), config.enc_embed_dim // config.enc_num_heads, config.rope_base, images.device)
    x: Tensor = net.patch_embed(images)
    for block in cast("list[EncoderBlock]", list(net.enc_blocks)):
        x = x + _self_attention(block.attn, block.norm1(x), rope)
        x = x + block.mlp(block.norm2(x))
    tokens: Tensor = net.enc_norm(x)
    return tokens


def eager_decode(
    net: Network,
    tokens_a: Tensor,  # (B, S, C)
    grid_a: Grid,
    tokens_b: Tensor,  # (B, S2, C)
    grid_b: Grid,
) -> tuple[list[Tensor], list[Tensor]]:
    """Each view's layers, the encoder's first."""
    config = net.config
    head_dim = config.dec_embed_dim // config.dec_num_heads
    rope_a, rope_b = (rope_tables(*grid, head_dim, config.rope_base, tokens_a.device) for grid in (grid_a, grid_b))
    x, y = net.decoder_embed(tokens_a), net.decoder_embed(tokens_b)
    layers_a, layers_b = [tokens_a], [tokens_b]
    blocks = (cast("list[DecoderBlock]", list(half)) for half in (net.dec_blocks, net.dec_blocks2))
    for block_a, block_b in zip(*blocks, strict=True):
        x, y = _decoder_block(block_a, x, y, rope_a, rope_b), _decoder_block(block_b, y, x, rope_b, rope_a)
        layers_a.append(x)
        layers_b.append(y)
    layers_a[-1], layers_b[-1] = net.dec_norm(x), net.dec_norm(y)
    return layers_a, layers_b


def eager_heads(
    net: Network, layers_a: list[Tensor], grid_a: Grid, layers_b: list[Tensor], grid_b: Grid
) -> tuple[ViewPrediction, ViewPrediction]:
    """Points and descriptors of both views."""
    return _head(net, net.downstream_head1, layers_a, grid_a), _head(net, net.downstream_head2, layers_b, grid_b)


def _decoder_block(block: DecoderBlock, x: Tensor, memory: Tensor, rope: RopeTables, rope_memory: RopeTables) -> Tensor:
    x = x + _self_attention(block.attn, block.norm1(x), rope)
    x = x + _cross_attention(block.cross_attn, block.norm2(x), block.norm_y(memory), rope, rope_memory)
    out: Tensor = x + block.mlp(block.norm3(x))
    return out


def _self_attention(layer: SelfAttention, x: Tensor, rope: RopeTables) -> Tensor:
    q, k, v = (_split_heads(part, layer.heads) for part in layer.qkv(x).chunk(3, dim=-1))
    out: Tensor = layer.proj(_attend(rope2d_reference(q, *rope), rope2d_reference(k, *rope), v))
    return out


def _cross_attention(layer: CrossAttention, x: Tensor, memory: Tensor, rope: RopeTables, rope_memory: RopeTables) -> Tensor:
    q, k, v = (_split_heads(part, layer.heads) for part in (layer.projq(x), layer.projk(memory), layer.projv(memory)))
    out: Tensor = layer.proj(_attend(rope2d_reference(q, *rope), rope2d_reference(k, *rope_memory), v))
    return out


def _split_heads(x: Tensor, heads: int) -> Tensor:  # (B, S, C) -> (B, heads, S, C / heads)
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:  # (B, heads, S, d), (B, heads, T, d) twice -> (B, S, C)
    weights = torch.softmax(q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5, dim=-1)
    return (weights @ v).transpose(1, 2).flatten(2)


def _head(net: Network, head: LinearHead | DptHead, layers: list[Tensor], grid: Grid) -> ViewPrediction:
    config = net.config
    raw = head.predict_points(layers, *grid)
    points, conf = activate_points(raw[..., :3], config.depth_mode), activate_confidence(raw[..., 3], config.conf_mode)
    if not isinstance(head, CatMlpDptHead):
        return ViewPrediction(points, conf)
    raw = head.predict_descriptors(layers, *grid)
    desc, desc_conf = raw[..., : config.desc_dim], conf
    if "norm" in config.desc_mode:
        desc = normalise_descriptors(desc)
    if config.two_confs:
        desc_conf = activate_confidence(raw[..., config.desc_dim], config.desc_conf_mode or config.conf_mode)
    return ViewPrediction(points, conf, desc, desc_conf)
