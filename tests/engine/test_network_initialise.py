"""Weights of an untrained network: reproducible, and useful as a start."""

from __future__ import annotations

import pytest
import torch

from mast3r_engine.network import build_network, build_on_meta, initialise
from tests.engine.tiny_networks import BODY, DPT, LINEAR, MAST3R, NARROW_DPT


def test_the_seed_alone_decides() -> None:
    torch.manual_seed(1)
    first = build_network(MAST3R, seed=3).state_dict()
    torch.manual_seed(2)
    second, other = build_network(MAST3R, seed=3).state_dict(), build_network(MAST3R, seed=4).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["enc_blocks.0.attn.qkv.weight"], other["enc_blocks.0.attn.qkv.weight"])
    # A key's values do not depend on what else is in the network.
    assert torch.equal(
        first["downstream_head1.dpt.head.0.weight"], build_network(DPT, seed=3).state_dict()["downstream_head1.dpt.head.0.weight"]
    )


def test_every_weight_is_set() -> None:
    net = build_on_meta(MAST3R).to_empty(device="cpu")
    for parameter in net.parameters():
        torch.nn.init.constant_(parameter, float("nan"))
    initialise(net)
    assert all(bool(parameter.isfinite().all()) for parameter in net.parameters())


@pytest.mark.parametrize("config", [MAST3R, BODY | NARROW_DPT | MAST3R | {"enc_depth": 8, "dec_depth": 8}])
def test_descriptors_vary_with_the_input_from_the_first_step(config: dict) -> None:
    net = build_network(config)
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(1, 3, 64, 64, generator=generator) * 2 - 1 for _ in range(2))
    with torch.inference_mode():
        first, second = net(x, y)
    for view in (first, second):
        assert view.desc is not None
        assert view.desc.mean((0, 1, 2)).norm() < 0.3  # 1 would be one descriptor for all pixels
        within_patches = view.desc[0].reshape(4, 16, 4, 16, -1)[0, :, 0]
        assert within_patches.mean((0, 1)).norm() < 0.5


@pytest.mark.parametrize("config", [LINEAR, DPT, MAST3R], ids=["linear", "dpt", "catmlp+dpt"])
def test_points_begin_in_front_of_the_camera_and_vary(config: dict) -> None:
    net = build_network(config)
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        for view in net(x, x.flip(0)):
            depth = view.pts3d[..., 2]
            assert 0.5 < depth.median() < 4
            assert (depth > 0).float().mean() > 0.99
            assert view.pts3d.std((1, 2)).min() > 0.01
