"""What the decoder passes leave behind: canonical views, and matches or sparse samples. No dense map of a pair is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.alignment import CanonicalAccumulator, CanonicalView, EdgePrediction, sample_edge, sampled_pixels
from mast3r_engine.correspondences import PairMatches
from mast3r_engine.inference import DirectedPass, PairPasses
from mast3r_engine.predictions import ViewPrediction


@dataclass
class PairEvidence:
    """Gathers the passes of all pairs online; each image's canonical view is closed with the image's last pass."""

    shapes: Sequence[tuple[int, int]]  # (H, W) per image
    pairs: Sequence[tuple[int, int]]
    subsample: int
    firsts: Sequence[int] | None = None  # the first view of every pass to come; None: each pair is decoded in both directions
    matches: list[PairMatches] = field(default_factory=list)  # sparse alignment
    edges: list[EdgePrediction] = field(default_factory=list)  # dense alignment
    canonicals: list[CanonicalView | None] = field(init=False)

    def __post_init__(self) -> None:
        self.canonicals = [None] * len(self.shapes)
        self._open: dict[int, CanonicalAccumulator] = {}
        self._missing = Counter(self.firsts if self.firsts is not None else (image for pair in self.pairs for image in pair))

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

    def add_edges(self, passes: PairPasses) -> None:
        """Keep a sample of what each pass says about both images."""
        self.add_edge(DirectedPass(passes.i, passes.j, passes.pass_ij))
        self.add_edge(DirectedPass(passes.j, passes.i, passes.pass_ji))

    def add_edge(self, directed: DirectedPass) -> None:
        """Keep a sample of what one pass says about both images."""
        here, there = directed.views
        pts_first, pts_second = here.pts3d[0].cpu().numpy(), there.pts3d[0].cpu().numpy()
        conf_second = there.conf[0].cpu().numpy()
        self.edges.append(sample_edge(directed.first, directed.second, pts_first, pts_second, conf_second, self.subsample))

    def leave_out(self, usable: Sequence[NDArray[np.bool_] | None]) -> None:
        """Drop matches and samples that stand on pixels that may not be used; `usable` is (H, W) per image, None: all may."""
        if all(use is None for use in usable):
            return
        self.matches = [_usable_matches(pair, usable[pair.i], usable[pair.j]) for pair in self.matches]
        self.edges = [_usable_samples(edge, usable[edge.second], self.subsample) for edge in self.edges]

    def sort(self) -> None:
        """Bring everything into the order of the pairs, whatever the order of batches was."""
        self.matches.sort(key=lambda pair: (pair.i, pair.j))
        self.edges.sort(key=lambda edge: (edge.first, edge.second))


def _usable_matches(pair: PairMatches, use_i: NDArray[np.bool_] | None, use_j: NDArray[np.bool_] | None) -> PairMatches:
    keep = np.ones(len(pair), bool)
    for xy, use in ((pair.xy_i, use_i), (pair.xy_j, use_j)):
        if use is not None:
            keep &= use[xy[:, 1], xy[:, 0]]
    return PairMatches(pair.i, pair.j, pair.xy_i[keep], pair.xy_j[keep], pair.conf[keep])


def _usable_samples(edge: EdgePrediction, use: NDArray[np.bool_] | None, subsample: int) -> EdgePrediction:
    if use is None:
        return edge
    height, width = use.shape
    kept = use[sampled_pixels(height, width, subsample)][..., None]
    return replace(edge, pts_second=np.where(kept, edge.pts_second, np.float32(np.nan)))
