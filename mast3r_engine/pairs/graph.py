"""From a graph text or the user's list to the unordered pairs of images, each once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mast3r_engine.errors import OptionsError
from mast3r_engine.pairs.scene_graph import SceneGraph, parse_scene_graph

Pair = tuple[int, int]

COMPLETE_UP_TO = 14  # images; 91 pairs. Above, `auto` grows with n log n instead of n²


@dataclass(frozen=True)
class PairGraph:
    """The pairs to run: (i, j) with i < j, each once, sorted; `choice` says which graph it is and why."""

    count: int  # images
    pairs: tuple[Pair, ...]
    choice: str


def build_pairs(
    scene_graph: str,
    count: int,
    pairs: Sequence[Sequence[int]] | None = None,
    seed: int = 0,  # noqa: ARG001 - part of the interface: graphs that draw at random come with retrieval
) -> PairGraph:
    """Choose the pairs of `count` images, by `scene_graph` or, when given, by the user's own list `pairs`.

    `seed` is for graphs that draw at random; none of those offered here does, so that it changes nothing yet.
    OptionsError for an unknown graph, an index out of range, a pair of an image with itself, or an empty list.
    """
    if pairs is not None:
        own = _user_pairs(pairs, count)
        return PairGraph(count, own, f"the caller's list: {_counted(own)}")
    graph = parse_scene_graph(scene_graph)
    reason = ""
    if graph.kind == "auto":
        graph, reason = _choose(count)
    found = _sorted_unique(_pairs_of(graph, count))
    return PairGraph(count, found, f"{graph}: {_counted(found)} of {count} image{'s' * (count != 1)}{reason}")


def _user_pairs(pairs: Sequence[Sequence[int]], count: int) -> tuple[Pair, ...]:
    if not pairs and count > 1:
        raise OptionsError("pairs is empty; give at least one [i, j], or leave it out and choose a scene_graph")
    for pair in pairs:
        if len(pair) != 2 or any(isinstance(k, bool) or not isinstance(k, int) for k in pair):
            raise OptionsError(f"pairs holds {pair!r}; each entry must be two image indices [i, j]")
        i, j = pair
        if not (0 <= i < count and 0 <= j < count):
            raise OptionsError(f"pairs holds [{i}, {j}]; indices must be 0 to {count - 1} for {count} images")
        if i == j:
            raise OptionsError(f"pairs holds [{i}, {j}]; an image cannot be paired with itself")
    return _sorted_unique((min(i, j), max(i, j)) for i, j in pairs)


def _choose(count: int) -> tuple[SceneGraph, str]:
    if count <= COMPLETE_UP_TO:
        return SceneGraph("complete"), f" (auto: up to {COMPLETE_UP_TO} images are all paired)"
    graph = SceneGraph("logwin", window=(count - 1).bit_length(), cyclic=False)
    return graph, (
        f" (auto: above {COMPLETE_UP_TO} images each is paired with those 1, 2, 4, … places away, taking the order given for the"
        " order of capture)"
    )


def _pairs_of(graph: SceneGraph, count: int) -> Iterable[Pair]:
    if graph.kind == "complete":
        return ((i, j) for i in range(count) for j in range(i + 1, count))
    if graph.kind == "oneref":
        return _star(graph.reference, count)
    if graph.kind == "swin":
        return _window(range(1, min(graph.window, count - 1) + 1), graph.cyclic, count)
    # Distances of `count` and more say nothing new: without the cycle they leave the row, with it they come round again.
    steps = min(graph.window, max(count - 1, 0).bit_length())
    return _window([2**t for t in range(steps)], graph.cyclic, count)


def _star(reference: int, count: int) -> Iterable[Pair]:
    if reference >= count > 0:
        raise OptionsError(f"scene_graph is 'oneref-{reference}'; the reference must be 0 to {count - 1} for {count} images")
    return ((min(reference, j), max(reference, j)) for j in range(count) if j != reference)


def _window(distances: Iterable[int], cyclic: bool, count: int) -> Iterable[Pair]:
    for distance in distances:
        for i in range(count if cyclic else count - distance):
            j = (i + distance) % count
            if i != j:
                yield min(i, j), max(i, j)


def _sorted_unique(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    return tuple(sorted(set(pairs)))


def _counted(pairs: tuple[Pair, ...]) -> str:
    return f"{len(pairs)} pair{'s' * (len(pairs) != 1)}"
