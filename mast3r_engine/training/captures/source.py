"""Batches of pairs from captures, with bad frames and useless pairs skipped and counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mast3r_engine.errors import TrainingError
from mast3r_engine.training.batch import PairBatch
from mast3r_engine.training.captures.frames import Capture, Frame, find_captures
from mast3r_engine.training.captures.reciprocal import reciprocal_pixels, sample_matches
from mast3r_engine.training.captures.sized import SizedFrame, read_sized
from mast3r_engine.training.synthetic.photometry import photograph

TRIES = 50  # pairs drawn for one place in a batch before giving up


@dataclass(frozen=True)
class PairEntry:
    """A pair that may be drawn."""

    first: Frame
    second: Frame
    metric: bool


class CaptureSource:
    """Draws pairs of frames of one scene that overlap enough; `skipped` counts what could not be used, by reason."""

    def __init__(
        self,
        root: Path,
        height: int,
        width: int,
        matches: int,
        min_overlap: float = 0.05,  # share of the first view's pixels that must have a match
        jitter: float = 0.5,  # strength of colour and lens changes
    ) -> None:
        captures = find_captures(root)
        self.entries = [entry for capture in captures for entry in list_pairs(capture)]
        self.skipped: Counter[str] = Counter(reason for capture in captures for reason in capture.refused)
        self.name = root.name
        self._height, self._width, self._matches = height, width, matches
        self._min_overlap, self._jitter = min_overlap, jitter
        if not self.entries:
            raise TrainingError(f"captures: {root.name} has no two usable frames of one scene")

    def draw(self, count: int, seed: int, number: int) -> PairBatch:
        """Batch `number` of the sequence that `seed` starts; TrainingError if no usable pair is found in many tries."""
        generator = torch.Generator().manual_seed((seed * 1_000_003 + number) % 2**63)
        pairs = [self._draw_pair(generator) for _ in range(count)]
        stacked = {key: torch.stack([pair[key] for pair in pairs]) for key in pairs[0]}
        images = photograph(stacked.pop("images").flatten(0, 1), generator, self._jitter)
        return PairBatch(images=(images * 2 - 1).reshape(count, 2, *images.shape[1:]), **stacked)

    def _draw_pair(self, generator: torch.Generator) -> dict[str, Tensor]:
        for _ in range(TRIES):
            entry = self.entries[int(torch.randint(len(self.entries), (1,), generator=generator))]
            try:
                frames = [read_sized(frame, self._height, self._width) for frame in (entry.first, entry.second)]
            except TrainingError as error:
                self.skipped[str(error)] += 1
                continue
            pair = self._assemble(entry, frames, generator)
            if pair is not None:
                return pair
            self.skipped["pairs with too little overlap"] += 1
        raise TrainingError(
            f"captures: no usable pair of {self.name} in {TRIES} tries; skipped so far: {dict(self.skipped.most_common(3))}"
        )

    def _assemble(self, entry: PairEntry, frames: list[SizedFrame], generator: torch.Generator) -> dict[str, Tensor] | None:
        depth = torch.stack([torch.from_numpy(frame.depth) for frame in frames])
        K = torch.stack([torch.from_numpy(frame.K) for frame in frames]).float()
        poses = torch.stack([torch.from_numpy(frame.cam2world) for frame in (entry.first, entry.second)])
        poses = (torch.linalg.inv(poses[:1]) @ poses).float()  # relative, so that far origins cost no precision
        partner, kept = reciprocal_pixels(depth, K, poses)
        if float(kept[0].float().mean()) < self._min_overlap:
            return None
        xy_first, xy_second, matched = sample_matches(partner, kept, self._width, self._matches, generator)
        return {
            "images": torch.stack([torch.from_numpy(frame.pixels).permute(2, 0, 1).float() / 255 for frame in frames]),
            "depth": depth, "cam2world": poses, "K": K, "metric": torch.tensor(entry.metric),
            "xy_first": xy_first, "xy_second": xy_second, "matched": matched,
        }  # fmt: skip


def list_pairs(capture: Capture) -> list[PairEntry]:
    """The pairs the capture lists, both ways round, or else all ordered pairs of frames of one scene."""
    frames = capture.frames
    if capture.pairs is not None:
        listed = [*capture.pairs, *((b, a) for a, b in capture.pairs)]
    else:
        listed = [(a, b) for a in range(len(frames)) for b in range(len(frames)) if a != b and frames[a].scene == frames[b].scene]
    return [PairEntry(frames[a], frames[b], capture.metric) for a, b in listed]
