"""What the decoder passes leave behind: canonical views and matches. No dense map of a pair is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from mast3r_engine.alignment import CanonicalAccumulator, CanonicalView
from mast3r_engine.correspondences import PairMatches
from mast3r_engine.inference import PairPasses
from mast3r_engine.predictions import ViewPrediction


@dataclass
class PairEvidence:
    """Gathers the passes of all pairs online; each image's canonical view is closed with the image's last pass."""

    shapes: Sequence[tuple[int, int]]  # (H, W) per image
    pairs: Sequence[tuple[int, int]]
    subsample: int
    mode: Literal["sparse", "dense"] | None = None
    matches: list[PairMatches] = field(default_factory=list)
    canonicals: list[CanonicalView | None] = field(init=False)

    def __post_init__(self) -> None:
        self.canonicals = [None] * len(self.shapes)
        self._open: dict[int, CanonicalAccumulator] = {}
        self._missing = Counter(image for pair in self.pairs for image in pair)

    def add_pair(self, passes: PairPasses) -> None:
        """Add both images' own point maps."""
        self.add_view(passes.i, passes.pass_ij[0])
        self.add_view(passes.j, passes.pass_ji[0])

    def add_view(self, image: int, prediction: ViewPrediction) -> None:
        """Add one prediction of an image in its own frame (the first view of a pass)."""
        if image not in self._open:
            self._open[image] = CanonicalAccumulator(*self.shapes[image], self.subsample)
        self._open[image].add(prediction.pts3d[0].cpu().numpy(), prediction.conf[0].cpu().numpy())
        self._missing[image] -= 1
        if self._missing[image] <= 0:
            self.canonicals[image] = self._open.pop(image).finish()

    def sorted_matches(self) -> list[PairMatches]:
        """The matches in the order of their pairs, whatever the order of batches was."""
        return sorted(self.matches, key=lambda pair: (pair.i, pair.j))
