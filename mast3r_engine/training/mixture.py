"""Batches mixed from several sources in fixed shares, and batches whose image size changes from one to the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch

from mast3r_engine.training.batch import PairBatch


class PairSource(Protocol):
    """Where batches come from; the same arguments give the same batch."""

    def draw(self, count: int, seed: int, number: int) -> PairBatch:
        """Batch `number` of the sequence that `seed` starts."""


@runtime_checkable
class ForeseeingSource(Protocol):
    """A source that can begin with a batch before it is drawn."""

    def expect(self, count: int, seed: int, number: int) -> None:
        """Be told that this batch will be drawn soon."""


def expect_batch(source: PairSource, count: int, seed: int, number: int) -> None:
    """Tell a source of a batch to come, if it cares."""
    if isinstance(source, ForeseeingSource):
        source.expect(count, seed, number)


def seeded(seed: int, number: int) -> torch.Generator:
    """The generator of one batch, on the CPU."""
    return torch.Generator().manual_seed((seed * 1_000_003 + number) % 2**63)


class MixedSource:
    """Draws every batch's pairs from several sources; each pair's source is drawn by the shares."""

    def __init__(self, sources: Sequence[PairSource], shares: Sequence[float], device: torch.device) -> None:
        self._sources, self._shares, self._device = list(sources), torch.tensor(shares), device

    def draw(self, count: int, seed: int, number: int) -> PairBatch:
        """As each source's; which source a pair comes from depends on seed and number too."""
        return join_batches([source.draw(*asked).to(self._device) for source, asked in self._deal(count, seed, number)])

    def expect(self, count: int, seed: int, number: int) -> None:
        """Tell each source of its part."""
        for source, asked in self._deal(count, seed, number):
            expect_batch(source, *asked)

    def _deal(self, count: int, seed: int, number: int) -> list[tuple[PairSource, tuple[int, int, int]]]:
        chosen = torch.multinomial(self._shares, count, True, generator=seeded(seed, number)).bincount(
            minlength=len(self._sources)
        )
        # A batch number of its own for each source, so that two sources of one kind do not show the same pairs.
        return [
            (source, (int(pairs), seed, number * len(self._sources) + k))
            for k, (source, pairs) in enumerate(zip(self._sources, chosen, strict=True)) if pairs
        ]  # fmt: skip


class SizesSource:
    """One source for each image size; every batch is of one size, which the number decides alike in all processes."""

    def __init__(self, sources: Sequence[PairSource], seed: int) -> None:
        self._sources, self._seed = list(sources), seed

    def draw(self, count: int, seed: int, number: int) -> PairBatch:
        """As the chosen source's."""
        return self._at(number).draw(count, seed, number)

    def expect(self, count: int, seed: int, number: int) -> None:
        """Tell the chosen source."""
        expect_batch(self._at(number), count, seed, number)

    def _at(self, number: int) -> PairSource:
        return self._sources[int(torch.randint(len(self._sources), (1,), generator=seeded(self._seed, number)))]


def join_batches(parts: Sequence[PairBatch]) -> PairBatch:
    """One batch of all pairs; all parts have one image size and number of correspondences."""
    return PairBatch(**{name: torch.cat([getattr(part, name) for part in parts]) for name in vars(parts[0])})
