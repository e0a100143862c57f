"""Batches mixed from several sources in fixed shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from mast3r_engine.training.batch import PairBatch


class PairSource(Protocol):
    """Where batches come from; the same arguments give the same batch."""

    def draw(self, count: int, seed: int, number: int) -> PairBatch:
        """Batch `number` of the sequence that `seed` starts."""


class MixedSource:
    """Draws every batch's pairs from several sources; each pair's source is drawn by the shares."""

    def __init__(self, sources: Sequence[PairSource], shares: Sequence[float], device: torch.device) -> None:
        self._sources, self._shares, self._device = list(sources), torch.tensor(shares), device

    def draw(self, count: int, seed: int, number: int) -> PairBatch:
        """As each source's; which source a pair comes from depends on seed and number too."""
        generator = torch.Generator().manual_seed((seed * 1_000_003 + number) % 2**63)
        chosen = torch.multinomial(self._shares, count, True, generator=generator).bincount(minlength=len(self._sources))
        # A batch number of its own for each source, so that two sources of one kind do not show the same pairs.
        parts = [
            source.draw(int(pairs), seed, number * len(self._sources) + k).to(self._device)
            for k, (source, pairs) in enumerate(zip(self._sources, chosen, strict=True)) if pairs
        ]  # fmt: skip
        return join_batches(parts)


def join_batches(parts: Sequence[PairBatch]) -> PairBatch:
    """One batch of all pairs; all parts have one image size and number of correspondences."""
    return PairBatch(**{name: torch.cat([getattr(part, name) for part in parts]) for name in vars(parts[0])})
