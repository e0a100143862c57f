"""Which photographs of which maps the query is matched with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mast3r_engine.localisation.global_descriptor import describe
from mast3r_engine.localisation.map_prior import SHARED_VIEW, MapPrior, shared_view
from mast3r_engine.localisation.reference import Reference
from mast3r_engine.localisation.scene_map import SceneMap

LEAST = 2  # photographs of each map, however many maps are searched


@dataclass(frozen=True)
class Retrieved:
    """One photograph to match with."""

    map_index: int
    photo_index: int
    similarity: float  # cosine of the global descriptors; comparable within a map only, since each has its own vocabulary


def retrieve(
    query: Reference,
    maps: Sequence[SceneMap],
    priors: Sequence[MapPrior | None],  # one per map
    top_k: int,
) -> list[Retrieved]:
    """The most similar photographs of each map within its prior: `top_k` over all maps, evenly, and two of each at least."""
    ranked = [_rank(query, k, scene_map, prior) for k, (scene_map, prior) in enumerate(zip(maps, priors, strict=True))]
    chosen: list[Retrieved] = []
    for place in range(max((len(photos) for photos in ranked), default=0)):
        chosen += [photos[place] for photos in ranked if place < len(photos)]
    return sorted(chosen[: max(top_k, LEAST * len(maps))], key=lambda photo: (photo.map_index, -photo.similarity))


def _rank(query: Reference, map_index: int, scene_map: SceneMap, prior: MapPrior | None) -> list[Retrieved]:
    own = describe(query.encoded.tokens[0], scene_map.vocabulary)
    similarity: list[float] = torch.mv(scene_map.descriptors, own).tolist()
    photos = range(len(scene_map.photos))
    if prior is not None:
        photos_seen = [k for k in photos if shared_view(prior, scene_map.photos[k]) >= SHARED_VIEW]
    else:
        photos_seen = list(photos)
    return [Retrieved(map_index, k, similarity[k]) for k in sorted(photos_seen, key=lambda k: -similarity[k])]
