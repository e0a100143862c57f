"""One vector per photograph for retrieval, from the encoder's own tokens: VLAD with a vocabulary learnt from the map.

Jegou et al., Aggregating local descriptors into a compact image representation, CVPR 2010; each word's residuals normalised by
themselves (Arandjelovic and Zisserman, All about VLAD, CVPR 2013). No model beside the network is needed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

WORDS = 16
SAMPLED = 8_000  # tokens of a map that its vocabulary is learnt from
ROUNDS = 12  # of k-means


def learn_vocabulary(
    tokens: Sequence[Tensor],  # (S, C) per photograph
    seed: int = 0,
) -> Tensor:  # (K, C) float32, K <= WORDS
    """K-means on a sample of the tokens, started as k-means++ (Arthur and Vassilvitskii, SODA 2007)."""
    generator = torch.Generator().manual_seed(seed)
    gathered = torch.cat([t[torch.randperm(len(t), generator=generator)[: max(1, SAMPLED // len(tokens))]] for t in tokens])
    sample = gathered.cpu().float()
    words = _spread_start(sample, generator)
    for _ in range(ROUNDS):
        nearest = torch.cdist(sample, words).argmin(dim=1)
        sums = torch.zeros_like(words).index_add_(0, nearest, sample)
        counts = torch.bincount(nearest, minlength=len(words))
        words = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], words)
    return words


def describe(
    tokens: Tensor,  # (S, C)
    vocabulary: Tensor,  # (K, C)
) -> Tensor:  # (K * C,) float32 of length 1, or 0 where nothing tells the photograph from the vocabulary
    """Sum of each word's residuals, normalised by word and as a whole."""
    features = tokens.cpu().float()
    nearest = torch.cdist(features, vocabulary).argmin(dim=1)
    summed = torch.zeros_like(vocabulary).index_add_(0, nearest, features - vocabulary[nearest])
    return _unit(_unit(summed).reshape(-1))


def _spread_start(sample: Tensor, generator: torch.Generator) -> Tensor:  # (n, C) -> (K, C)
    chosen = [sample[int(torch.randint(len(sample), (1,), generator=generator))]]
    nearest = torch.cdist(sample, chosen[0][None])[:, 0] ** 2
    while len(chosen) < WORDS and float(nearest.max()) > 1e-12:
        chosen.append(sample[int(torch.multinomial(nearest, 1, generator=generator))])
        nearest = torch.minimum(nearest, torch.cdist(sample, chosen[-1][None])[:, 0] ** 2)
    return torch.stack(chosen)


def _unit(vectors: Tensor) -> Tensor:  # (..., n)
    unit: Tensor = vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    return unit
