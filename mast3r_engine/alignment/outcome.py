"""Gathers what becomes of every photograph and every pair, and puts the components into frames of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.alignment.canonical_view import CanonicalView
from mast3r_engine.alignment.component import ComponentResult
from mast3r_engine.alignment.contradictions import Contradiction
from mast3r_engine.alignment.known_views import plausible_focal
from mast3r_engine.reconstruction import Alignment, PairStats
from mast3r_engine.view_priors import ViewPriors

Floats = NDArray[np.float64]


class Outcome:
    """Collects components as they are solved; `finish` gives the alignment of all photographs."""

    def __init__(
        self,
        canonicals: Sequence[CanonicalView | None],
        pairs: Sequence[tuple[int, int, int]],  # i, j, number of matches
    ) -> None:
        self._canonicals = canonicals
        self._pairs = pairs
        views = len(canonicals)
        self._cam2world = np.full((views, 4, 4), np.nan)
        self._component = np.full(views, -1, np.int64)
        self._intrinsics = np.stack([_intrinsics(view) for view in canonicals]) if views else np.zeros((0, 3, 3))
        self._depth = [_unknown(view) for view in canonicals]
        self._confidence = [_unknown(view) for view in canonicals]
        self._inliers: dict[tuple[int, int], int] = {}
        self._dropped: dict[tuple[int, int], str] = {}
        self._lost: dict[int, str] = {}
        self._components: list[list[int]] = []
        self._given: list[int] = []  # places of components in the priors' frame
        self._in_given_unit: list[bool] = []
        self.contradictions: list[Contradiction] = []  # numbered as all photographs
        self.stats: dict[str, Any] = {"components": []}

    def drop(self, i: int, j: int, reason: str) -> None:
        """Say that a pair does not count."""
        self._dropped[i, j] = reason

    def refuse_depths(self, refused: dict[int, str]) -> None:
        """Say which depth maps were not used, and why."""
        self.contradictions += [Contradiction(k, "depth", reason, 0.0) for k, reason in sorted(refused.items())]

    def register(self, group: Sequence[int], result: ComponentResult, pairs: Sequence[tuple[int, int]], min_inliers: int) -> None:
        """Enter a solved component; its images without enough agreeing matches stay unregistered."""
        self._inliers.update(zip(pairs, result.inliers, strict=True))
        support = dict.fromkeys(group, 0)
        for (i, j), inliers in zip(pairs, result.inliers, strict=True):
            support[i] += inliers
            support[j] += inliers
        held = [k for k, image in enumerate(group) if support[image] >= min_inliers and np.isfinite(result.cam2world[k]).all()]
        for k, image in enumerate(group):
            if k not in held:
                self._lost[image] = "too few matches agree with the refined cameras"
        self.stats["components"].append({"images": [group[k] for k in held], **result.stats})
        self.contradictions += [replace(c, view=group[c.view] if c.view >= 0 else -1) for c in result.contradictions]
        if len(held) < 2:
            self._lost.update({group[k]: "too few matches agree with the refined cameras" for k in held})
            return
        first = np.eye(4) if result.in_given_frame else np.linalg.inv(result.cam2world[held[0]])
        for k in held:
            centre = (float(result.principal_point[k, 0]), float(result.principal_point[k, 1]))
            self._enter(group[k], first @ result.cam2world[k], float(result.focal[k]), centre, result.depth[k])
        if result.in_given_frame:
            self._given.append(len(self._components))
        else:
            self._cam2world[group[held[0]]] = np.eye(4)
        self._in_given_unit.append(result.in_given_unit)
        self._components.append([group[k] for k in held])

    def register_alone(self, image: int, priors: ViewPriors) -> None:
        """Enter a photograph by itself, with its own point map."""
        view = self._canonicals[image]
        if view is None:
            self._lost[image] = "nothing was predicted"
            return
        posed, measured = bool(priors.posed[image]), priors.depth[image]
        focal = plausible_focal(view.focal, float(priors.focal[image]), float(priors.focal_sigma[image]))
        self._enter(image, priors.pose[image] if posed else np.eye(4), focal, view.principal_point, view.depth.copy())
        self._given += [len(self._components)] if posed else []
        self._in_given_unit.append(measured is not None and measured.metric)
        self._components.append([image])

    def finish(self) -> Alignment:
        """Number the components by size and name the reason for every photograph outside them."""
        ordered = sorted(self._in_one_frame(), key=lambda images: (-len(images), images[0]))
        for number, images in enumerate(ordered):
            self._component[images] = number
        self.stats["dropped_pairs"] = [{"i": i, "j": j, "reason": reason} for (i, j), reason in sorted(self._dropped.items())]
        return Alignment(
            cam2world=self._cam2world,
            component=self._component,
            unregistered=[(int(k), self._reason(int(k))) for k in np.flatnonzero(self._component < 0)],
            intrinsics=self._intrinsics,
            depth=self._depth,
            confidence=self._confidence,
            pairs=[PairStats(i, j, count, self._inliers.get((i, j), 0)) for i, j, count in self._pairs],
            stats={**self.stats, "contradictions": [asdict(c) for c in self.contradictions]},
            given_component=int(self._component[self._components[self._given[0]][0]]) if self._given else -1,
            in_given_unit=bool(self._components) and all(self._in_given_unit),
        )

    def _in_one_frame(self) -> list[list[int]]:
        """The components; those in the priors' frame are one, whether matches connect them or not."""
        joined = sorted(image for place in self._given for image in self._components[place])
        others = [images for place, images in enumerate(self._components) if place not in self._given]
        return [*([joined] if joined else []), *others]

    def _enter(
        self, image: int, cam2world: Floats, focal: float, centre: tuple[float, float], depth: NDArray[np.float32]
    ) -> None:
        view = self._canonicals[image]
        assert view is not None
        self._cam2world[image] = cam2world
        self._intrinsics[image] = _matrix(focal, centre)
        self._depth[image] = depth
        self._confidence[image] = view.conf

    def _reason(self, image: int) -> str:
        """The reason of the pair with most matches, which came nearest to holding."""
        if image in self._lost:
            return self._lost[image]
        mine = [pair for pair in self._pairs if image in pair[:2]]
        if not mine:
            return "in no pair with another photograph"
        i, j, _ = max(mine, key=lambda pair: pair[2])
        return f"no overlap: {self._dropped.get((i, j), 'its partner is unregistered')}"


def _matrix(focal: float, principal_point: tuple[float, float]) -> Floats:  # (3, 3)
    return np.array([[focal, 0.0, principal_point[0]], [0.0, focal, principal_point[1]], [0.0, 0.0, 1.0]])


def _intrinsics(view: CanonicalView | None) -> Floats:  # (3, 3)
    return np.full((3, 3), np.nan) if view is None else _matrix(view.focal, view.principal_point)


def _unknown(view: CanonicalView | None) -> NDArray[np.float32]:  # (H, W); (0, 0) where the size is not known
    return np.full((0, 0) if view is None else view.conf.shape, np.nan, np.float32)
