"""Weights that already compare pixels before the first step, so that training begins above chance.

From random weights the contrastive loss stays at chance for many hundred steps: descriptors of the two views come from
different random heads, and of one patch's pixels from different random rows. Everything set here is an ordinary weight and
is trained on:

* both views start with the same decoder and the same head;
* the descriptor MLP reads the patch back from the encoder's token and applies one set of small filters around each of its
  pixels; a pair of hidden units h and -h carries each value unchanged, because gelu(x) - gelu(-x) = x;
* patches are embedded by an orthonormal map, so that nothing of them is lost, and the encoder's blocks begin by adding little;
* half of the encoder's heads look at a fixed neighbour (a bias on queries and keys under rotary positions depends on the
  offset alone);
* cross-attention starts with equal query and key projections, so that a token attends to tokens like itself.
"""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor, nn

from mast3r_engine.network import Network
from mast3r_engine.network.attention import SelfAttention
from mast3r_engine.network.blocks import DecoderBlock, EncoderBlock
from mast3r_engine.network.heads import CatMlpDptHead

B = TypeVar("B", EncoderBlock, DecoderBlock)

NEIGHBOURS = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, -1), (1, -1), (-1, 1))  # (row, column) offsets
LOCALITY = 4.0  # amplitude of the biases; one token further off costs about 2 in the exponent
QUIET = 0.1  # scale of what the encoder's blocks add at the start
FILTER_SIGMA = 1.3  # pixels


@torch.no_grad()
def start_structured(net: Network, generator: torch.Generator) -> None:
    """Overwrite parts of an untrained network's weights, in place."""
    embed = net.patch_embed.proj.weight
    basis = torch.linalg.qr(
        torch.randn(max(embed[0].numel(), embed.shape[0]), min(embed[0].numel(), embed.shape[0]), generator=generator)
    ).Q
    embed.copy_((basis if embed.shape[0] >= embed[0].numel() else basis.T).view_as(embed))
    for number, block in enumerate(_blocks(net.enc_blocks, EncoderBlock)):
        block.attn.proj.weight.mul_(QUIET)
        block.mlp.fc2.weight.mul_(QUIET)
        _look_at_neighbours(block.attn, net.config.rope_base, number)
    for decoder_block in _blocks(net.dec_blocks, DecoderBlock):
        cross = decoder_block.cross_attn
        cross.projk.weight.copy_(cross.projq.weight)
    if isinstance(net.downstream_head1, CatMlpDptHead):
        _describe_pixels(net, net.downstream_head1, generator)
    net.dec_blocks2.load_state_dict(net.dec_blocks.state_dict())
    net.downstream_head2.load_state_dict(net.downstream_head1.state_dict())


def _blocks(modules: nn.ModuleList, kind: type[B]) -> list[B]:
    return [module for module in modules if isinstance(module, kind)]


def _look_at_neighbours(attention: SelfAttention, base: float, block: int) -> None:
    width = attention.proj.weight.shape[0]
    quarter = width // attention.heads // 4
    frequencies = base ** (-torch.arange(quarter, dtype=torch.float32) / quarter)
    query, key = attention.qkv.bias[: 2 * width].view(2, attention.heads, 2, 2, quarter).unbind(0)  # heads, axis, (u, v), Q
    for head in range(attention.heads // 2):
        offset = NEIGHBOURS[(head + block * (attention.heads // 2)) % len(NEIGHBOURS)]
        for axis in range(2):
            key[head, axis, 0] = LOCALITY
            query[head, axis, 0] = LOCALITY * torch.cos(frequencies * offset[axis])
            query[head, axis, 1] = LOCALITY * torch.sin(frequencies * offset[axis])


def _describe_pixels(net: Network, head: CatMlpDptHead, generator: torch.Generator) -> None:
    mlp, p, desc = head.head_local_features, net.patch_size, net.config.desc_dim
    pixels = 3 * p * p
    hidden = mlp.fc1.weight.shape[0]
    embed = net.patch_embed.proj.weight.flatten(1)  # (E, 3 p p)
    if embed.shape[0] < pixels or hidden < 2 * pixels:
        return  # too narrow to carry a patch; the random start stands
    read = embed.T  # of an orthonormal map, the inverse
    mlp.fc1.weight[: 2 * pixels].zero_()
    mlp.fc1.weight[:pixels, : embed.shape[0]] = read
    mlp.fc1.weight[pixels : 2 * pixels, : embed.shape[0]] = -read
    write = _pixel_filters(desc, p, generator).reshape(desc * p * p, pixels)
    mlp.fc2.weight.mul_(0.1)
    mlp.fc2.weight[: desc * p * p, :pixels] = write
    mlp.fc2.weight[: desc * p * p, pixels : 2 * pixels] = -write


def _pixel_filters(desc: int, p: int, generator: torch.Generator) -> Tensor:  # (D, p, p, 3, p, p)
    """For each channel a colour, a wave and a Gaussian window, centred on every pixel and cut at the patch's edge."""
    y, x = torch.meshgrid(torch.arange(p), torch.arange(p), indexing="ij")
    dy, dx = (y[None, None] - y[:, :, None, None]).float(), (x[None, None] - x[:, :, None, None]).float()
    wave = torch.randn(desc, 2, generator=generator) * (math.pi / 5)
    wave[: desc // 4] = 0  # plain colours
    phase = torch.rand(desc, generator=generator) * 2 * math.pi
    phase[: desc // 4] = 0
    sigma = FILTER_SIGMA * torch.where(torch.arange(desc) < desc // 4, 0.7, 1.2).view(-1, 1, 1, 1, 1)
    window = torch.exp(-(dx**2 + dy**2) / (2 * sigma**2))
    argument = wave[:, 0].view(-1, 1, 1, 1, 1) * dy + wave[:, 1].view(-1, 1, 1, 1, 1) * dx + phase.view(-1, 1, 1, 1, 1)
    kernel = window * torch.cos(argument)
    kernel = kernel / kernel.flatten(3).norm(dim=-1).clamp(min=1e-3)[..., None, None]
    colour = torch.randn(desc, 3, generator=generator)
    colour[desc // 4 :] += 2 * torch.randn(desc - desc // 4, 1, generator=generator)  # waves are mostly grey
    colour = colour / colour.norm(dim=1, keepdim=True)
    filters: Tensor = kernel[:, :, :, None] * colour.view(desc, 1, 1, 3, 1, 1)
    return filters
