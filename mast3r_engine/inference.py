"""Running a pair network in batches of equal shape, and refusing what it says when it cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from mast3r_engine.errors import NetworkOutputError
from mast3r_engine.predictions import Encoded, Outputs, PairNetwork, ViewPrediction

TOKEN_BUDGET = 2 << 30  # bytes; float32 tokens beyond it are kept in bfloat16
BYTES_PER_PIXEL = 1_300  # what a ViT-L pass in float32 holds at its peak, per pixel of each view (measured: 1,090 to 1,250)
CPU_BATCH, GPU_BATCH = 400_000, 4_000_000  # pixels; a CPU gains nothing from more and would report progress too rarely


@dataclass(frozen=True)
class PairPasses:
    """Both decoder passes of one pair of images; every prediction has a batch of one."""

    i: int
    j: int
    pass_ij: tuple[ViewPrediction, ViewPrediction]  # view i, view j; points in i's frame
    pass_ji: tuple[ViewPrediction, ViewPrediction]  # view j, view i; points in j's frame


@dataclass(frozen=True)
class DirectedPass:
    """One decoder pass of two images; every prediction has a batch of one."""

    first: int
    second: int
    views: tuple[ViewPrediction, ViewPrediction]  # points in the first one's frame


class TokenStore:
    """Keeps each image's tokens; in bfloat16 when `images` of them would not fit the budget. They come out as they went in."""

    def __init__(self, images: int, budget: int = TOKEN_BUDGET) -> None:
        self._images = images
        self._budget = budget
        self._views: dict[int, Encoded] = {}
        self._dtype = torch.float32

    def put(self, image: int, encoded: Encoded) -> None:
        """Keep an image's tokens (1, S, C)."""
        tokens = encoded.tokens
        self._dtype = tokens.dtype
        if tokens.numel() * tokens.element_size() * self._images > self._budget:
            tokens = tokens.to(torch.bfloat16)
        self._views[image] = Encoded(tokens, encoded.height, encoded.width)

    def shape(self, image: int) -> tuple[int, int]:
        """Height and width of an image."""
        return self._views[image].height, self._views[image].width

    def stack(self, images: Sequence[int]) -> Encoded:
        """A batch of images of one size."""
        tokens = torch.cat([self._views[i].tokens for i in images]).to(self._dtype)
        return Encoded(tokens, *self.shape(images[0]))


def device_of(net: PairNetwork) -> torch.device:
    """Where a network wants its input: its parameters' device; the CPU for objects that have none."""
    parameter = next(net.parameters(), None) if isinstance(net, nn.Module) else None
    return torch.device("cpu") if parameter is None else parameter.device


def pixels_per_batch(device: torch.device) -> int:
    """Pixels of images that fit into one call, all views together."""
    if device.type != "cuda":
        return CPU_BATCH
    free, _ = torch.cuda.mem_get_info(device)
    return min(GPU_BATCH, int(0.4 * free) // BYTES_PER_PIXEL)


def encode_images(
    net: PairNetwork,
    images: Tensor,  # (B, 3, H, W) float32 in [-1, 1]
    names: Sequence[str],
) -> list[Encoded]:
    """Encode B images of one size in one call; each comes back by itself, its tokens (1, S, C) as the network returned them."""
    with torch.inference_mode():
        encoded = net.encode(images.to(device_of(net)))
    B, _, H, W = images.shape
    if encoded.tokens.ndim != 3 or len(encoded.tokens) != B or (encoded.height, encoded.width) != (H, W):
        raise NetworkOutputError(
            f"encode gave tokens of shape {tuple(encoded.tokens.shape)} for {encoded.width}x{encoded.height} pixels; "
            f"it must be ({B}, S, C) for {W}x{H} pixels"
        )
    _refuse_non_finite(encoded.tokens, "tokens", names)
    return [Encoded(tokens[None], H, W) for tokens in encoded.tokens]


def plan_batches(
    pairs: Sequence[tuple[int, int]],
    shapes: Sequence[tuple[int, int]],  # (H, W) per image
    pixels: int,
) -> list[list[tuple[int, int]]]:
    """Put pairs of equal shapes together, at most `pixels` pixels in all passes of a batch (but at least one pair).

    Within a batch the first images have one shape and the second ones have one shape; a pair may be turned round for that.
    """
    groups: dict[tuple[tuple[int, int], tuple[int, int]], list[tuple[int, int]]] = {}
    for i, j in pairs:
        first, second = (i, j) if shapes[i] <= shapes[j] else (j, i)
        groups.setdefault((shapes[first], shapes[second]), []).append((first, second))
    batches = []
    for ((H, W), (H2, W2)), members in groups.items():
        size = max(1, pixels // (2 * (H * W + H2 * W2)))
        batches += [members[start : start + size] for start in range(0, len(members), size)]
    return batches


def decode_pairs(
    net: PairNetwork,
    store: TokenStore,
    pairs: Sequence[tuple[int, int]],  # one batch of `plan_batches`
    names: Sequence[str],
    outputs: Outputs | None = None,
) -> list[PairPasses]:
    """Decode each pair in both directions; in one call where the shapes allow it. `i` < `j` in what comes back."""
    firsts, seconds = [i for i, _ in pairs], [j for _, j in pairs]
    if store.shape(firsts[0]) == store.shape(seconds[0]):
        both = decode_passes(net, store, firsts + seconds, seconds + firsts, names, outputs)
        forward, backward = both[: len(pairs)], both[len(pairs) :]
    else:
        forward = decode_passes(net, store, firsts, seconds, names, outputs)
        backward = decode_passes(net, store, seconds, firsts, names, outputs)
    return [
        PairPasses(i, j, there, back) if i < j else PairPasses(j, i, back, there)
        for (i, j), there, back in zip(pairs, forward, backward, strict=True)
    ]


def plan_passes(
    passes: Sequence[tuple[int, int]],  # first and second image
    shapes: Sequence[tuple[int, int]],  # (H, W) per image
    pixels: int,
) -> list[list[tuple[int, int]]]:
    """Put passes of equal shapes together, at most `pixels` pixels in a batch (but at least one pass)."""
    groups: dict[tuple[tuple[int, int], tuple[int, int]], list[tuple[int, int]]] = {}
    for first, second in passes:
        groups.setdefault((shapes[first], shapes[second]), []).append((first, second))
    batches = []
    for ((H, W), (H2, W2)), members in groups.items():
        size = max(1, pixels // (H * W + H2 * W2))
        batches += [members[start : start + size] for start in range(0, len(members), size)]
    return batches


def decode_directed(
    net: PairNetwork,
    store: TokenStore,
    passes: Sequence[tuple[int, int]],  # one batch of `plan_passes`
    names: Sequence[str],
    outputs: Outputs | None = None,
) -> list[DirectedPass]:
    """Decode passes of equal shapes in one call; see `decode_passes`."""
    firsts, seconds = [first for first, _ in passes], [second for _, second in passes]
    decoded = decode_passes(net, store, firsts, seconds, names, outputs)
    return [DirectedPass(*ends, views) for ends, views in zip(passes, decoded, strict=True)]


def decode_passes(
    net: PairNetwork,
    store: TokenStore,
    firsts: Sequence[int],
    seconds: Sequence[int],
    names: Sequence[str],
    outputs: Outputs | None = None,
) -> list[tuple[ViewPrediction, ViewPrediction]]:
    """Decode passes of equal shapes in one call; heads are left out only with networks that declare `supports_outputs`.

    NetworkOutputError, naming the image, for NaN or a wrong shape.
    """
    a, b = store.stack(firsts), store.stack(seconds)
    if not getattr(net, "supports_outputs", False):
        outputs = None
    with torch.inference_mode():
        decoded = net.decode(a, b) if outputs is None else cast(Any, net).decode(a, b, outputs=outputs)
    wanted = outputs or Outputs()
    first = _checked(decoded[0], a, wanted.points[0], [names[i] for i in firsts])
    second = _checked(decoded[1], b, wanted.points[1], [names[i] for i in seconds])
    return [(_item(first, k), _item(second, k)) for k in range(len(firsts))]


def _checked(prediction: ViewPrediction, view: Encoded, points: bool, names: Sequence[str]) -> ViewPrediction:
    B, H, W = len(names), view.height, view.width
    maps = {"desc": prediction.desc, "desc_conf": prediction.desc_conf}
    if points:
        maps |= {"pts3d": prediction.pts3d, "conf": prediction.conf}
    for label, values in maps.items():
        if values is None:
            continue
        channels = {"pts3d": (3,), "desc": tuple(values.shape[3:4])}.get(label, ())
        if tuple(values.shape) != (B, H, W, *channels):
            right = f"({B}, {H}, {W}{', 3' if label == 'pts3d' else ', D' if label == 'desc' else ''})"
            raise NetworkOutputError(f"{names[0]}: decode gave {label} of shape {tuple(values.shape)}; it must be {right}")
        _refuse_non_finite(values, label, names)
    return ViewPrediction(
        prediction.pts3d.float(), prediction.conf.float(), _float(prediction.desc), _float(prediction.desc_conf)
    )


def _refuse_non_finite(values: Tensor, label: str, names: Sequence[str]) -> None:
    if not bool(torch.isfinite(values).all()):
        bad = [name for name, item in zip(names, values, strict=True) if not bool(torch.isfinite(item).all())]
        raise NetworkOutputError(f"{bad[0]}: the network's {label} are not finite; check the photo and the weights")


def _float(values: Tensor | None) -> Tensor | None:
    return None if values is None else values.float()


def _item(prediction: ViewPrediction, k: int) -> ViewPrediction:
    one = slice(k, k + 1)
    desc, desc_conf = prediction.desc, prediction.desc_conf
    return ViewPrediction(
        prediction.pts3d[one],
        prediction.conf[one],
        None if desc is None else desc[one],
        None if desc_conf is None else desc_conf[one],
    )
