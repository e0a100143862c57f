"""What the decoder passes leave behind: canonical views, and matches or sparse samples. No dense map of a pair is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from mast3r_engine.alignment import CanonicalAccumulator, CanonicalView, EdgePrediction, sample_edge
from mast3r_engine.correspondences import PairMatches
from mast3r_engine.inference import PairPasses
from mast3r_engine.predictions import ViewPrediction


@dataclass
class PairEvidence:
    """Gathers the passes of all pairs online; each image's canonical view is closed with the image's last pass."""

    shapes: Sequence[tuple[int, int]]  # (H, W) per image
    pairs: Sequence[tuple[int, int]]
    subsample: int
    matches: list[PairMatches] = field(default_factory=list)  # sparse alignment
    edges: list[EdgePrediction] = field(default_factory=list)  # dense alignment
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

    def add_edges(self, passes: PairPasses) -> None:
        """Keep a sample of what each pass says about both images."""
        for first, second, (here, there) in ((passes.i, passes.j, passes.pass_ij), (passes.j, passes.i, passes.pass_ji)):
            pts_first, pts_second = here.pts3d[0].cpu().numpy(), there.pts3d[0].cpu().numpy()
            conf_second = there.conf[0].cpu().numpy()
            self.edges.append(sample_edge(first, second, pts_first, pts_second, conf_second, self.subsample))

    def sort(self) -> None:
        """Bring everything into the order of the pairs, whatever the order of batches was."""
        self.matches.sort(key=lambda pair: (pair.i, pair.j))
        self.edges.sort(key=lambda edge: (edge.first, edge.second))
