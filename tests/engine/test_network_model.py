"""How the network is called: batches, mixed shapes, skipped heads, gradients, bad input."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mast3r_engine.errors import InvalidImageError
from mast3r_engine.network import Network, build_network
from mast3r_engine.predictions import Encoded, Outputs, PairNetwork, ViewPrediction
from tests.engine.tiny_networks import DPT, LINEAR, MAST3R

HEADS = pytest.mark.parametrize("config", [LINEAR, DPT, MAST3R], ids=["linear", "dpt", "catmlp+dpt"])


def images(batch: int, height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def select(encoded: Encoded, index: int) -> Encoded:
    return Encoded(encoded.tokens[index : index + 1], encoded.height, encoded.width)


def maps(view: ViewPrediction) -> list[Tensor]:
    return [m for m in (view.pts3d, view.conf, view.desc, view.desc_conf) if m is not None]


def assert_close(got: ViewPrediction, right: ViewPrediction) -> None:
    for one, other in zip(maps(got), maps(right), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5 * float(other.abs().max()), rtol=0)


@HEADS
@pytest.mark.parametrize(("first", "second"), [((48, 64), (48, 64)), ((48, 80), (80, 48)), ((16, 16), (16, 64))])
def test_shapes_also_of_odd_and_single_token_grids(
    config: dict[str, Any], first: tuple[int, int], second: tuple[int, int]
) -> None:
    net = build_network(config)
    with torch.inference_mode():
        views = net.decode(net.encode(images(2, *first)), net.encode(images(2, *second, seed=1)))
    for view, (height, width) in zip(views, (first, second)):
        assert view.pts3d.shape == (2, height, width, 3)
        assert view.conf.shape == (2, height, width)
        assert bool((view.conf > 1).all())
        assert all(bool(m.isfinite().all()) and m.dtype == torch.float32 for m in maps(view))
        if config["head_type"] != "catmlp+dpt":
            assert view.desc is None
            assert view.desc_conf is None
            continue
        assert view.desc is not None
        assert view.desc_conf is not None
        torch.testing.assert_close(view.desc.norm(dim=-1), torch.ones(2, height, width))
        assert view.desc.shape == (2, height, width, 8)
        assert bool((view.desc_conf > 0).all())


@HEADS
def test_a_pair_alone_equals_the_pair_in_a_batch(config: dict[str, Any]) -> None:
    net = build_network(config)
    with torch.inference_mode():
        a, b = net.encode(images(3, 48, 64)), net.encode(images(3, 64, 48, seed=1))
        batched = net.decode(a, b)
        for k in range(3):
            alone = net.encode(images(3, 48, 64)[k : k + 1])
            for got, right in zip(net.decode(alone, select(b, k)), batched):
                assert_close(got, ViewPrediction(*(m[k : k + 1] for m in maps(right))))


def test_forward_equals_encode_then_decode() -> None:
    net = build_network(MAST3R)
    with torch.inference_mode():
        for second in (images(2, 48, 64, seed=1), images(2, 64, 48, seed=1)):
            right = net.decode(net.encode(images(2, 48, 64)), net.encode(second))
            for got, expected in zip(net(images(2, 48, 64), second), right):
                assert_close(got, expected)


def test_both_sides_have_their_own_weights_and_order_matters() -> None:
    net = build_network(MAST3R)
    with torch.inference_mode():
        a, b = net.encode(images(1, 48, 64)), net.encode(images(1, 48, 64, seed=1))
        first, second = net.decode(a, b)
        other_first, _ = net.decode(b, a)
    assert (first.pts3d - second.pts3d).abs().max() > 1e-2
    assert (second.pts3d - other_first.pts3d).abs().max() > 1e-2


@pytest.mark.parametrize("points", [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize("descriptors", [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("two_confs", [True, False])
def test_skipped_heads_leave_the_others_alone(points: tuple[bool, bool], descriptors: tuple[bool, bool], two_confs: bool) -> None:
    net = build_network(MAST3R | {"two_confs": two_confs})
    ran: list[str] = []
    for name in ("downstream_head1.dpt", "downstream_head2.dpt", "downstream_head1.head_local_features"):
        net.get_submodule(name).register_forward_hook(lambda *_, name=name: ran.append(name))
    with torch.inference_mode():
        a, b = net.encode(images(2, 48, 64)), net.encode(images(2, 32, 64, seed=1))
        full = net.decode(a, b)
        ran.clear()
        partial = net.decode(a, b, Outputs(points=points, descriptors=descriptors))
    for got, right, with_points, with_descriptors in zip(partial, full, points, descriptors):
        assert torch.equal(got.pts3d, right.pts3d if with_points else right.pts3d.new_empty(2, 0, 0, 3))
        assert torch.equal(got.conf, right.conf if with_points else right.conf.new_empty(2, 0, 0))
        if with_descriptors:
            assert torch.equal(got.desc, right.desc)
            assert torch.equal(got.desc_conf, right.desc_conf)
        else:
            assert got.desc is None
            assert got.desc_conf is None
    assert ("downstream_head1.head_local_features" in ran) == descriptors[0]
    for side in (0, 1):  # with one confidence the descriptors' is the points' own
        assert (f"downstream_head{side + 1}.dpt" in ran) == (points[side] or (descriptors[side] and not two_confs))


def test_one_confidence_serves_both() -> None:
    net = build_network(MAST3R | {"two_confs": False})
    with torch.inference_mode():
        view, _ = net(images(1, 32, 32), images(1, 32, 32, seed=1))
    assert torch.equal(view.desc_conf, view.conf)


def test_tokens_may_have_been_kept_in_bfloat16() -> None:
    """A caller that stores encodings may round them; a float32 network takes them back."""
    net = build_network(MAST3R)
    with torch.inference_mode():
        a = net.encode(images(1, 48, 64))
        kept = Encoded(a.tokens.bfloat16(), a.height, a.width)
        for got, right in zip(net.decode(kept, kept), net.decode(a, a)):
            assert all(m.dtype == torch.float32 for m in maps(got))
            assert 0 < (got.pts3d - right.pts3d).abs().max() < 0.05 * right.pts3d.abs().max()


@HEADS
def test_gradients_reach_every_weight_that_is_used(config: dict[str, Any]) -> None:
    net = build_network(config)
    with torch.inference_mode():
        net(images(1, 48, 64), images(1, 48, 64))  # tables cached here must serve autograd below
    views = net(images(2, 48, 64), images(2, 48, 64, seed=1))
    torch.stack([m.square().mean() + m[..., 0].mean() for view in views for m in maps(view)]).sum().backward()
    without = {name for name, parameter in net.named_parameters() if parameter.grad is None or not parameter.grad.any()}
    unused = {"mask_token"} | {name for name, _ in net.named_parameters() if "refinenet4.resConfUnit1" in name}
    # A key's bias shifts all scores of a query alike, and the softmax does not see it.
    assert {name for name in without if not name.endswith("projk.bias")} == unused


@pytest.mark.parametrize("patch_size", [8, 14, 16])
def test_any_patch_size(patch_size: int) -> None:
    side = 4 * patch_size
    net = build_network(MAST3R | {"patch_size": patch_size, "img_size": (side, side)})
    with torch.inference_mode():
        view, _ = net(images(1, side, 3 * patch_size), images(1, side, side))
    assert view.pts3d.shape == (1, side, 3 * patch_size, 3)
    assert view.desc is not None
    assert view.desc.shape == (1, side, 3 * patch_size, 8)


def test_attributes() -> None:
    mast3r, dust3r = build_network(MAST3R), build_network(LINEAR | {"img_size": (224, 224)})
    assert isinstance(mast3r, PairNetwork)
    assert (mast3r.metric, mast3r.patch_size, mast3r.image_size, mast3r.square_crop) == (True, 16, 64, False)
    assert (dust3r.metric, dust3r.image_size, dust3r.square_crop) == (False, 224, True)
    assert build_network(MAST3R | {"metric": False}).metric is False
    assert mast3r.supports_outputs
    assert not mast3r.trained
    assert not mast3r.training


def test_sizes_that_do_not_fit_are_named() -> None:
    net = build_network(LINEAR)
    with pytest.raises(InvalidImageError, match=r"70x48 pixels.*multiples of the network's patch, 16"):
        net.encode(images(1, 48, 70))
    with pytest.raises(ValueError, match=r"\(1, 1, 48, 64\).*\(B, 3, H, W\)"):
        net.encode(torch.zeros(1, 1, 48, 64))
    encoded = net.encode(images(2, 48, 64))
    with pytest.raises(ValueError, match="2 first and 1 second"):
        net.decode(encoded, select(encoded, 0))
    with pytest.raises(ValueError, match=r"\(B, 16, 32\) for an image of 64x64 pixels"):
        net.decode(encoded, Encoded(encoded.tokens, 64, 64))


def test_nothing_global_is_touched() -> None:
    def state() -> list[Any]:
        backends = torch.backends
        return [
            torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads(), torch.is_autocast_enabled("cpu"),
            backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32, torch.get_float32_matmul_precision(),
            torch.are_deterministic_algorithms_enabled(), torch.get_rng_state().tolist(),
        ]  # fmt: skip

    before = state()
    net: Network = build_network(MAST3R)
    net(images(1, 32, 32), images(1, 32, 32))
    assert state() == before
