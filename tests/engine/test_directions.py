"""One decoder pass a pair: every photograph comes first somewhere, half the passes are decoded, the geometry holds."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from mast3r_engine import Options, OptionsError, reconstruct
from mast3r_engine.evaluation.oracle import OracleNetwork, OracleNoise, make_scene
from mast3r_engine.pairs import build_pairs, plan_directions
from tests.engine.standing_in import StandIn, exact_oracle, numbers, photos, true_poses


@pytest.mark.parametrize("graph", ["complete", "swin-2", "swin-1-noncyclic", "oneref-0", "logwin-3"])
@pytest.mark.parametrize("images", [2, 3, 4, 9, 10])
def test_each_pair_gets_one_direction_and_each_photograph_comes_first(graph: str, images: int) -> None:
    pairs = build_pairs(graph, images).pairs
    directed, back = plan_directions(pairs, images)
    assert [tuple(sorted(ends)) for ends in directed] == [tuple(sorted(pair)) for pair in pairs]
    assert {first for first, _ in (*directed, *back)} == set(range(images))
    assert {(second, first) for first, second in back} <= set(directed)
    if graph == "complete" and images > 2:
        firsts = Counter(first for first, _ in directed)
        assert max(firsts.values()) - min(firsts.values()) <= 2
        assert not back


@pytest.mark.parametrize("mode", ["sparse", "dense"])
def test_the_geometry_holds_with_half_the_passes(mode: str) -> None:
    oracle = exact_oracle(views=4)
    net = StandIn(oracle)
    scene = reconstruct(photos(oracle), net, Options.from_dict({"directions": "one", "alignment": {"mode": mode}}))
    passes = [tuple(zip(numbers(a), numbers(b), strict=True)) for a, b in net.decoded]
    ends = [tuple(sorted(pair)) for batch in passes for pair in batch]
    assert sorted(ends) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert scene.component.tolist() == [0, 0, 0, 0]
    np.testing.assert_allclose(scene.cam2world[:, :3, 3], true_poses(oracle)[:, :3, 3], atol=0.03)


def test_a_chain_decodes_one_pass_back_and_registers_all() -> None:
    oracle = exact_oracle(views=3)
    net = StandIn(oracle)
    scene = reconstruct(photos(oracle), net, Options(pairs=((0, 1), (1, 2)), directions="one"))
    passes = [pair for a, b in net.decoded for pair in zip(numbers(a), numbers(b), strict=True)]
    assert len(passes) == 3
    assert {first for first, _ in passes} == {0, 1, 2}
    assert scene.component.tolist() == [0, 0, 0]
    np.testing.assert_allclose(scene.cam2world[:, :3, 3], true_poses(oracle)[:, :3, 3], atol=0.03)


def test_photographs_of_two_sizes() -> None:
    oracle = OracleNetwork(make_scene(3, arc_degrees=40, sizes=[(96, 128), (128, 96), (96, 128)]), OracleNoise.none())
    scene = reconstruct(photos(oracle), oracle, Options(directions="one"))
    assert scene.component.tolist() == [0, 0, 0]
    np.testing.assert_allclose(scene.cam2world[:, :3, 3], true_poses(oracle)[:, :3, 3], atol=0.03)


def test_another_word_is_refused() -> None:
    with pytest.raises(OptionsError, match="option directions is 'three'; it must be both or one"):
        Options.from_dict({"directions": "three"})
