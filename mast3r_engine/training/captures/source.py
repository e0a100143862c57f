"""Batches of pairs from captures, with bad frames and useless pairs skipped and counted."""

from __future__ import annotations

import copy
from collections import Counter
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from mast3r_engine.errors import TrainingError
from mast3r_engine.training.batch import PairBatch
from mast3r_engine.training.captures.colour import jitter_colours
from mast3r_engine.training.captures.frames import Capture, Frame, find_captures
from mast3r_engine.training.captures.reciprocal import reciprocal_pixels, sample_matches
from mast3r_engine.training.captures.second_crop import best_windows, crop_virtually, draw_windows, enlarged
from mast3r_engine.training.captures.sized import SizedFrame, read_sized
from mast3r_engine.training.config import Augmentation
from mast3r_engine.training.mixture import seeded
from mast3r_engine.training.synthetic.photometry import photograph

TRIES = 50  # pairs drawn for one place in a batch before giving up


@dataclass(frozen=True)
class PairEntry:
    """A pair that may be drawn."""

    first: Frame
    second: Frame
    metric: bool


class CaptureSource:
    """Draws pairs of frames of one scene that overlap enough; `skipped` counts what could not be used, by reason.

    A batch is decided by seed and number alone, so that a pool of threads may read batches before they are drawn.
    """

    def __init__(
        self,
        root: Path,
        height: int,
        width: int,
        matches: int,
        min_overlap: float = 0.05,  # share of the first view's pixels that must have a match
        augment: Augmentation | None = None,
        pool: Executor | None = None,  # reads expected batches; None: batches are read when they are drawn
    ) -> None:
        captures = find_captures(root)
        self.entries = [entry for capture in captures for entry in list_pairs(capture)]
        self.skipped: Counter[str] = Counter(reason for capture in captures for reason in capture.refused)
        self.name = root.name
        self._height, self._width, self._matches = height, width, matches
        self._min_overlap, self._augment, self._pool = min_overlap, augment or Augmentation(), pool
        self._lock = Lock()
        self._coming: dict[tuple[int, int, int], Future[PairBatch]] = {}
        if not self.entries:
            raise TrainingError(f"captures: {root.name} has no two usable frames of one scene")

    def resized(self, height: int, width: int) -> CaptureSource:
        """The same captures at another size; the count of what was skipped is shared."""
        other = copy.copy(self)
        other._height, other._width, other._coming = height, width, {}
        return other

    def expect(self, count: int, seed: int, number: int) -> None:
        """Let the pool read this batch."""
        key = count, seed, number
        if self._pool is not None and key not in self._coming:
            self._coming[key] = self._pool.submit(self._read, *key)

    def draw(self, count: int, seed: int, number: int) -> PairBatch:
        """Batch `number` of the sequence that `seed` starts; TrainingError if no usable pair is found in many tries."""
        coming = self._coming.pop((count, seed, number), None)
        return self._read(count, seed, number) if coming is None else coming.result()

    def _read(self, count: int, seed: int, number: int) -> PairBatch:
        generator = seeded(seed, number)
        pairs = [self._draw_pair(generator) for _ in range(count)]
        stacked = {key: torch.stack([pair[key] for pair in pairs]) for key in pairs[0]}
        images = stacked.pop("images").flatten(0, 1)
        if self._augment.colour_jitter:
            images = jitter_colours(images, generator, self._augment.colour_jitter)
        images = photograph(images, generator, self._augment.lens)
        return PairBatch(images=(images * 2 - 1).reshape(count, 2, *images.shape[1:]), **stacked)

    def _draw_pair(self, generator: torch.Generator) -> dict[str, Tensor]:
        for _ in range(TRIES):
            entry = self.entries[int(torch.randint(len(self.entries), (1,), generator=generator))]
            if self._augment.monocular and float(torch.rand(1, generator=generator)) < self._augment.monocular:
                entry = PairEntry(entry.first, entry.first, entry.metric)
            try:
                views = self._read_views(entry, generator)
            except TrainingError as error:
                self._skip(str(error))
                continue
            pair = self._assemble(entry, views, generator)
            if pair is not None:
                return pair
            self._skip("pairs with too little overlap")
        raise TrainingError(
            f"captures: no usable pair of {self.name} in {TRIES} tries; skipped so far: {dict(self.skipped.most_common(3))}"
        )

    def _read_views(self, entry: PairEntry, generator: torch.Generator) -> list[SizedFrame]:
        extra = self._augment.second_crop
        size = enlarged(self._height, self._width, extra)
        upright = (torch.rand(2, generator=generator) < 0.5).tolist()
        views = [read_sized(f, *size, u) for f, u in zip((entry.first, entry.second), upright, strict=True)]
        if not extra:
            return views
        depth, K, poses = _stack(views)
        partner, kept = reciprocal_pixels(depth, K, poses)
        index = kept[0].nonzero()[:, 0]
        xy_first = torch.stack((index % size[1], index // size[1]), -1)
        target = self._height, self._width
        windows = draw_windows(*size, target, generator), draw_windows(*size, target, generator)
        chosen = best_windows(windows, xy_first, partner[0][index])
        return [crop_virtually(view, window, *target) for view, window in zip(views, chosen, strict=True)]

    def _assemble(self, entry: PairEntry, views: list[SizedFrame], generator: torch.Generator) -> dict[str, Tensor] | None:
        depth, K, poses = _stack(views)
        partner, kept = reciprocal_pixels(depth, K, poses)
        if float(kept[0].float().mean()) < self._min_overlap:
            return None
        xy_first, xy_second, matched = sample_matches(partner[0], kept, self._width, self._matches, generator)
        return {
            "images": torch.stack([torch.from_numpy(view.pixels).permute(2, 0, 1).float() / 255 for view in views]),
            "depth": depth, "cam2world": poses.float(), "K": K.float(), "metric": torch.tensor(entry.metric),
            "xy_first": xy_first, "xy_second": xy_second, "matched": matched,
            "portrait": torch.tensor([view.portrait for view in views]),
        }  # fmt: skip

    def _skip(self, reason: str) -> None:
        with self._lock:
            self.skipped[reason] += 1


def _stack(views: list[SizedFrame]) -> tuple[Tensor, Tensor, Tensor]:
    """Depth, intrinsics, and poses relative to the first view, so that far origins cost no precision."""
    depth, K, poses = (
        torch.from_numpy(np.stack([getattr(view, name) for view in views])) for name in ("depth", "K", "cam2world")
    )
    return depth, K, torch.linalg.inv(poses[:1]) @ poses


def list_pairs(capture: Capture) -> list[PairEntry]:
    """The pairs the capture lists, both ways round, or else all ordered pairs of frames of one scene."""
    frames = capture.frames
    if capture.pairs is not None:
        listed = [*capture.pairs, *((b, a) for a, b in capture.pairs)]
    else:
        listed = [(a, b) for a in range(len(frames)) for b in range(len(frames)) if a != b and frames[a].scene == frames[b].scene]
    return [PairEntry(frames[a], frames[b], capture.metric) for a, b in listed]
