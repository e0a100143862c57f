"""The network against golden outputs of the published architecture."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mast3r_engine.network import Network, set_precision
from tests.engine.golden_weights import Golden, build_with_golden_weights, golden_images, read_golden

TINY = ("mast3r_tiny", "mast3r_tiny_mixed_shapes", "dust3r_tiny_linear", "dust3r_tiny_dpt")


@pytest.mark.parametrize("name", TINY)
def test_tiny_networks_in_bfloat16(name: str) -> None:
    golden = read_golden(name)
    check_bfloat16(build_with_golden_weights(golden.config, golden.seed), golden)


@pytest.mark.parametrize("name", TINY)
def test_tiny_networks(name: str) -> None:
    golden = read_golden(name)
    check(build_with_golden_weights(golden.config, golden.seed), golden, tolerance=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_vitl() -> None:
    """The full 688.6 M parameters in float32, then in bfloat16 (the error that `set_precision` states)."""
    golden = read_golden("mast3r_vitl")
    net = build_with_golden_weights(golden.config, golden.seed)
    assert sum(parameter.numel() for parameter in net.parameters()) == 688_638_856
    check(net, golden, tolerance=1e-4)
    check_bfloat16(net, golden)


@torch.inference_mode()
def check(net: Network, golden: Golden, tolerance: float) -> None:
    a = net.encode(golden_images(golden.seed + 1, golden.batch, golden.shape1))
    b = net.encode(golden_images(golden.seed + 2, golden.batch, golden.shape2))
    layers, views = net.decode_tokens(a, b), net.decode(a, b)
    got = {"enc1": a.tokens[:, :: golden.token_stride], "enc2": b.tokens[:, :: golden.token_stride]}
    for key in golden.arrays:
        side = int(key[len("dec") if key.startswith("dec") else len("view")]) - 1 if key[:3] in ("dec", "vie") else 0
        if key.startswith("dec"):
            got[key] = layers[side][int(key.split("_")[1])][:, :: golden.token_stride]
        elif key.startswith("view"):
            pixels = getattr(views[side], key.split("_", 1)[1])
            got[key] = pixels[:, :: golden.output_stride, :: golden.output_stride]
    errors = {key: relative_error(got[key].numpy(), right) for key, right in golden.arrays.items()}
    assert {key: error for key, error in errors.items() if not error <= tolerance} == {}


@torch.inference_mode()
def check_bfloat16(net: Network, golden: Golden) -> None:
    """Against the golden float32 maps: descriptors' cosine >= 0.9995 everywhere, points <= 4 % off in the median."""
    set_precision(net, "bfloat16")
    a = net.encode(golden_images(golden.seed + 1, golden.batch, golden.shape1))
    b = net.encode(golden_images(golden.seed + 2, golden.batch, golden.shape2))
    assert a.tokens.dtype == torch.bfloat16
    step = golden.output_stride
    for side, view in enumerate(net.decode(a, b), start=1):
        right = {key: torch.from_numpy(golden.arrays[f"view{side}_{key}"]) for key in ("pts3d", "conf")}
        assert view.pts3d.dtype == view.conf.dtype == torch.float32
        off = (view.pts3d[:, ::step, ::step] - right["pts3d"]).norm(dim=-1) / right["pts3d"].norm(dim=-1)
        assert 1e-4 < off.median() <= 0.04  # 1e-4: it must have computed in bfloat16 at all
        assert ((view.conf[:, ::step, ::step] / right["conf"] - 1).abs().median()) <= 0.04
        if view.desc is not None:
            desc = torch.from_numpy(golden.arrays[f"view{side}_desc"])
            assert view.desc.dtype == torch.float32
            assert (view.desc[:, ::step, ::step] * desc).sum(-1).min() >= 0.9995


def relative_error(got: np.ndarray, right: np.ndarray) -> float:
    assert got.shape == right.shape
    return float(np.linalg.norm(got - right) / np.linalg.norm(right))
