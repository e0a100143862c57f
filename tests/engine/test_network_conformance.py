"""The network against printed vectors of the published one: hashed weights, two images of different shape.

A second check, independent of the golden files: other weights, other sizes (odd token grids), other numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mast3r_engine.network import Network, build_on_meta
from mast3r_engine.predictions import Encoded, ViewPrediction

CONFIG: dict[str, Any] = {
    "img_size": (512, 512), "pos_embed": "RoPE100", "enc_embed_dim": 64, "enc_depth": 2, "enc_num_heads": 2,
    "dec_embed_dim": 48, "dec_depth": 12, "dec_num_heads": 3,
    "depth_mode": ("exp", "-inf", "inf"), "conf_mode": ("exp", 1, "inf"),
}  # fmt: skip
MAST3R = CONFIG | {
    "head_type": "catmlp+dpt", "output_mode": "pts3d+desc24", "two_confs": True, "desc_conf_mode": ("exp", 0, "inf"),
}  # fmt: skip
LINEAR = CONFIG | {"head_type": "linear", "output_mode": "pts3d"}


def hashed(key: int, count: int) -> np.ndarray:
    """Numbers in [-1, 1): a 32-bit integer hash of (key, element)."""
    x = (np.arange(count, dtype=np.uint64) + 1_000_003 * key) & 0xFFFFFFFF
    for factor in (0x7FEB352D, 0x846CA68B):
        x ^= x >> np.uint64(16 if factor == 0x7FEB352D else 15)
        x = (x * np.uint64(factor)) & np.uint64(0xFFFFFFFF)
    x ^= x >> np.uint64(16)
    return 2 * (x / 2**32) - 1


def test_hash() -> None:
    def integers(key: int, count: int) -> list[int]:
        return ((hashed(key, count) + 1) / 2 * 2**32).astype(np.int64).tolist()

    assert integers(0, 4) == [0, 1753845952, 3507691905, 1408362973]
    assert integers(5, 3) == [510352551, 90121450, 3531696432]


def build(config: dict[str, Any]) -> Network:
    net = build_on_meta(config)
    keys = sorted(key for key in net.state_dict() if ".layer_rn." not in key)
    weights = {key: hashed_weight(k, key, tuple(net.state_dict()[key].shape)) for k, key in enumerate(keys)}
    net.load_state_dict(weights, assign=True)
    return net


def hashed_weight(k: int, key: str, shape: tuple[int, ...]) -> Tensor:
    r = hashed(k, int(np.prod(shape))).reshape(shape)
    if len(shape) == 1:
        values = 1 + 0.2 * r if key.endswith(".weight") else 0.1 * r
    else:
        values = r * np.sqrt(3 / np.prod(shape[1:])) * (0.1 if key.endswith("dpt.head.4.weight") else 1.0)
    return torch.from_numpy(values.astype(np.float32))


def image(k: int, height: int, width: int) -> Tensor:
    return torch.from_numpy(hashed(k, 3 * height * width).astype(np.float32).reshape(1, 3, height, width))


@torch.inference_mode()
def run(net: Network) -> tuple[tuple[Encoded, Encoded], tuple[list[Tensor], list[Tensor]], tuple[ViewPrediction, ViewPrediction]]:
    encoded = net.encode(image(9001, 48, 80)), net.encode(image(9002, 80, 48))
    return encoded, net.decode_tokens(*encoded), net.decode(*encoded)


def expect(whole: Tensor, at: tuple[Any, ...], printed: str) -> None:
    """Compare with printed values to 1e-5 of the map's largest magnitude (and what printing six digits rounds away)."""
    right = torch.tensor([float(number) for number in printed.replace("−", "-").split()], dtype=torch.float64)
    tolerance = 1e-5 * float(whole.abs().max()) + 5e-6 * right.abs()
    error = (whole[at].flatten().double() - right).abs()
    assert bool((error <= tolerance).all()), f"{whole[at].flatten().tolist()} instead of {right.tolist()}"


def test_key_indices() -> None:
    """The positions of some keys in the sorted list: weights are hashed by position."""
    for config, count, indices in (
        (MAST3R, 745, {"dec_norm.weight": 577, "enc_blocks.0.attn.qkv.weight": 719, "enc_norm.bias": 740, "mask_token": 742}),
        (LINEAR, 613, {"dec_norm.weight": 577, "enc_blocks.0.attn.qkv.weight": 587, "enc_norm.bias": 608, "mask_token": 610}),
    ):
        keys = sorted(key for key in build_on_meta(config).state_dict() if ".layer_rn." not in key)
        assert len(keys) == count
        assert {key: keys.index(key) for key in indices} == indices


def test_mast3r_head() -> None:
    net = build(MAST3R)
    with torch.inference_mode():
        expect(net.patch_embed(image(9001, 48, 80)), (0, 1, slice(3)), "0.0337059 −0.643955 0.052069")
    encoded, layers, views = run(net)
    expect(encoded[0].tokens, (0, 7, slice(4)), "0.309276 −0.102272 0.926118 −1.02351")
    expect(encoded[1].tokens, (0, 7, slice(4)), "1.5349 −0.509046 −0.30188 −1.62205")
    for entry, first, second in (
        (1, "−2.21042 −0.851752 0.91534", "1.94095 0.840679 3.71101"),
        (6, "3.15987 1.14175 −1.27369", "−0.653536 −1.34979 −0.771244"),
        (9, "7.33192 −5.62074 −2.84132", "−1.21312 −1.4149 −3.01621"),
        (12, "1.07844 −1.57804 −1.6297", "−0.510458 −0.659766 −1.35616"),
    ):
        expect(layers[0][entry], (0, 7, slice(3)), first)
        expect(layers[1][entry], (0, 7, slice(3)), second)
    for side, row, column, points, conf, desc, desc_conf in (
        (0, 0, 0, "0.0629315 0.230679 0.0355908", "1.96657", "−0.197405 0.0659586 0.493658", "0.8703"),
        (0, 17, 41, "−0.103585 0.646532 1.00087", "1.96846", "0.422172 0.043313 0.250188", "2.27786"),
        (0, 47, 79, "−0.0750571 0.18209 0.199129", "2.00757", "0.00963972 0.137433 0.311404", "1.62578"),
        (1, 0, 0, "−0.13121 −0.0534454 −0.0587134", "2.03749", "0.306867 0.239302 −0.0574381", "0.77521"),
        (1, 41, 17, "−0.451351 −0.165854 0.128392", "2.00589", "−0.0326409 0.376505 0.424193", "1.03631"),
        (1, 79, 47, "−0.108099 −0.0170855 −0.0728401", "2.04788", "−0.170788 0.224256 −0.00697487", "1.56112"),
    ):
        view = views[side]
        assert view.desc is not None
        assert view.desc_conf is not None
        expect(view.pts3d, (0, row, column), points)
        expect(view.conf, (0, row, column), conf)
        expect(view.desc, (0, row, column, [0, 1, 23]), desc)
        expect(view.desc_conf, (0, row, column), desc_conf)


@pytest.mark.parametrize(
    ("config", "means"),
    [
        (MAST3R, [[0.542177, 2.01373, 0.164295, 1.20457], [0.330485, 2.05965, 0.164547, 1.23052]]),
        (LINEAR, [[2.5743, 2.4991], [2.71383, 2.63128]]),
    ],
)
def test_mean_absolute_values(config: dict[str, Any], means: list[list[float]]) -> None:
    for view, right in zip(run(build(config))[2], means, strict=True):
        maps = [m for m in (view.pts3d, view.conf, view.desc, view.desc_conf) if m is not None]
        assert [float(m.double().abs().mean()) for m in maps] == pytest.approx(right, rel=1e-5)


def test_linear_head() -> None:
    net = build(LINEAR)
    with torch.inference_mode():
        expect(net.patch_embed(image(9001, 48, 80)), (0, 1, slice(3)), "−0.998389 0.827801 0.151444")
    encoded, layers, views = run(net)
    expect(encoded[0].tokens, (0, 7, slice(4)), "−0.426952 −1.28075 −0.373943 0.919333")
    expect(encoded[1].tokens, (0, 7, slice(4)), "0.425299 −2.2525 −0.718098 1.00547")
    expect(layers[0][12], (0, 7, slice(3)), "−0.133894 0.645058 −1.2096")
    expect(layers[1][12], (0, 7, slice(3)), "−0.589859 0.0045458 −0.59986")
    for side, row, column, points, conf in (
        (0, 17, 41, "1.87938 −1.74728 −3.10594", "1.73116"),
        (1, 41, 17, "−0.0981837 2.24117 −1.2602", "3.50546"),
    ):
        expect(views[side].pts3d, (0, row, column), points)
        expect(views[side].conf, (0, row, column), conf)
        assert views[side].desc is None
