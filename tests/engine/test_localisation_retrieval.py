"""Retrieval in maps: the descriptor by hand, its vocabulary, and what a prior leaves to be searched."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mast3r_engine.localisation import MapPhoto, MapPrior, PinholeCamera, Reference
from mast3r_engine.localisation.global_descriptor import describe, learn_vocabulary
from mast3r_engine.localisation.map_prior import shared_view
from mast3r_engine.localisation.map_search import retrieve
from mast3r_engine.localisation.scene_map import SceneMap
from mast3r_engine.predictions import Encoded
from mast3r_engine.views import ImageGeometry

SIDE = 32
K = np.array([[32.0, 0.0, 15.5], [0.0, 32.0, 15.5], [0.0, 0.0, 1.0]])


def test_the_descriptor_by_hand() -> None:
    words = torch.tensor([[0.0, 0.0], [10.0, 0.0]])
    tokens = torch.tensor(
        [[1.0, 0.0], [2.0, 4.0], [10.0, 3.0]]
    )  # residuals (1, 0) + (2, 4) at the first word, (0, 3) at the second
    expected = torch.tensor([0.6, 0.8, 0.0, 1.0]) / np.sqrt(2)
    torch.testing.assert_close(describe(tokens, words), expected)
    torch.testing.assert_close(describe(words, words), torch.zeros(4))


def test_the_vocabulary_finds_the_clusters_and_is_the_same_every_time() -> None:
    rng = np.random.default_rng(0)
    centres = 10 * rng.standard_normal((5, 6))
    tokens = [torch.from_numpy(centres[rng.integers(5, size=40)] + 0.01 * rng.standard_normal((40, 6))) for _ in range(4)]
    words = learn_vocabulary(tokens)
    nearest = torch.cdist(torch.from_numpy(centres).float(), words).min(dim=1).values
    assert float(nearest.max()) < 0.05
    torch.testing.assert_close(words, learn_vocabulary(tokens))
    assert len(learn_vocabulary([torch.ones(7, 3)])) == 1  # nothing but one token


def test_the_photograph_with_the_querys_tokens_comes_first() -> None:
    rng = np.random.default_rng(1)
    tokens = [torch.from_numpy(rng.standard_normal((60, 8)) + rng.standard_normal(8)).float() for _ in range(12)]
    scene_map = frozen(tokens, np.tile(np.eye(4), (12, 1, 1)))
    query = reference("query", tokens[7] + 0.05)
    found = retrieve(query, [scene_map], [None], top_k=3)
    assert found[0].photo_index == 7
    assert [f.similarity for f in found] == sorted((f.similarity for f in found), reverse=True)
    assert len(found) == 3
    split = retrieve(query, [scene_map, scene_map, scene_map], [None] * 3, top_k=3)
    assert [f.map_index for f in split] == [0, 0, 1, 1, 2, 2]  # two of each at least


@pytest.mark.parametrize(
    ("centre", "turned", "shares"),
    [
        ((0, 0, 0), 0, True),
        ((0, 0, 0), 180, False),  # looks away
        ((0.5, 0, 0), 20, True),
        ((0, 0, 40), 180, False),  # the same wall from behind
        ((0, 0, -60), 0, False),  # too far to match
    ],
)
def test_a_prior_keeps_the_photographs_that_could_share_the_view(centre: tuple[float, ...], turned: float, shares: bool) -> None:
    """One photograph at the origin that sees a wall four metres ahead."""
    photo = frozen([torch.ones(4, 8)], np.eye(4)[None]).photos[0]
    angle = np.radians(turned)
    pose = np.eye(4)
    pose[:3, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    pose[:3, 3] = centre
    assert (shared_view(MapPrior.near(pose, 0.2, 10.0), photo) > 0.5) == shares


def test_a_wide_prior_leaves_nothing_out() -> None:
    photo = frozen([torch.ones(4, 8)], np.eye(4)[None]).photos[0]
    assert shared_view(MapPrior.at([0, 0, -10], 30.0), photo) == 1.0


def reference(name: str, tokens: torch.Tensor) -> Reference:
    geometry = ImageGeometry(SIDE, SIDE, SIDE, SIDE, 0, 0, SIDE, SIDE)
    return Reference(name, geometry, Encoded(tokens[None], SIDE, SIDE), camera=PinholeCamera(K, SIDE, SIDE))


def frozen(tokens: list[torch.Tensor], poses: np.ndarray) -> SceneMap:
    wall = np.full((SIDE, SIDE), 4.0, np.float32)
    photos = tuple(
        MapPhoto(reference(f"photo {k}", t), pose, wall) for k, (t, pose) in enumerate(zip(tokens, poses, strict=True))
    )
    vocabulary = learn_vocabulary(tokens)
    return SceneMap(photos, vocabulary, torch.stack([describe(t, vocabulary) for t in tokens]), True, "test", 0.0)
