"""One decoder pass a pair instead of two: which of its photographs comes first."""

from __future__ import annotations

from collections.abc import Sequence

Directed = tuple[int, int]  # first and second view of a pass; points stand in the first one's frame


def plan_directions(
    pairs: Sequence[tuple[int, int]],
    images: int,
) -> tuple[list[Directed], list[Directed]]:  # one pass a pair; passes back, for those that come first in no other
    """Choose for each pair a direction, so that every photograph comes first about as often as it comes second.

    A photograph's own depth map is the mean of what the passes say in which it comes first, so each needs one at least. A graph
    without cycles cannot give one to all of them: such a photograph gets a pass back, which is decoded for its points alone.
    """
    lead = [0] * images  # how much oftener it came first than second, so far
    directed = []
    for i, j in pairs:
        first, second = (i, j) if (lead[i], (i + j) % 2) <= (lead[j], 1 - (i + j) % 2) else (j, i)
        lead[first] += 1
        lead[second] -= 1
        directed.append((first, second))
    firsts = {first for first, _ in directed}
    back = {second: (second, first) for first, second in directed if second not in firsts}
    return directed, [back[image] for image in sorted(back)]
