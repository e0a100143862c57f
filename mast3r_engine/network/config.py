"""A network's architecture: the published constructor's arguments, checked."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mast3r_engine.errors import CheckpointError

HEAD_TYPES = ("linear", "dpt", "catmlp+dpt")

# Arguments of the published constructors that do not change what inference computes.
TRAINING_ONLY = frozenset({"freeze", "landscape_only", "patch_embed_cls", "mask_ratio"})


@dataclass(frozen=True)
class Activation:
    """How a raw head output becomes a value: its kind and its bounds."""

    kind: Literal["exp", "square", "linear", "sigmoid"]
    low: float
    high: float


@dataclass(frozen=True)
class NetworkConfig:
    """Everything that decides a network's layers; the defaults are the published constructor's, not the published models'."""

    img_size: tuple[int, int] = (224, 224)  # (width, height) it was trained at; the long edge is what counts
    patch_size: int = 16
    enc_embed_dim: int = 768
    enc_depth: int = 12
    enc_num_heads: int = 12
    dec_embed_dim: int = 512
    dec_depth: int = 8
    dec_num_heads: int = 16
    mlp_ratio: float = 4.0
    norm_im2_in_dec: bool = True
    pos_embed: str = "RoPE100"
    head_type: Literal["linear", "dpt", "catmlp+dpt"] = "linear"
    output_mode: str = "pts3d"
    depth_mode: Activation = Activation("exp", -math.inf, math.inf)
    conf_mode: Activation = Activation("exp", 1.0, math.inf)
    desc_mode: str = "norm"
    two_confs: bool = False
    desc_conf_mode: Activation | None = None  # None: as conf_mode
    # Not among the published arguments:
    feature_dim: int = 256  # width of the DPT head
    layer_dims: tuple[int, int, int, int] = (96, 192, 384, 768)  # widths of the DPT head's four levels before projection
    local_feature_mlp_ratio: float = 4.0  # hidden width of the descriptor branch over its input width
    metric: bool = False  # whether points are in metres; by default True with descriptors, as the published models are

    @property
    def rope_base(self) -> float:
        """The base in `RoPE<base>`."""
        return float(self.pos_embed.removeprefix("RoPE"))

    @property
    def desc_dim(self) -> int:
        """Width of the descriptors; 0 without."""
        digits = re.fullmatch(r"pts3d\+desc(\d+)", self.output_mode)
        return int(digits[1]) if digits else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values under the published argument names, as `parse_config` reads them; bounds may be infinite."""
        values = dataclasses.asdict(self)
        for name in ("depth_mode", "conf_mode", "desc_conf_mode"):
            mode = getattr(self, name)
            values[name] = mode and (mode.kind, mode.low, mode.high)
        return values


def parse_config(values: Mapping[str, Any]) -> NetworkConfig:
    """Check a mapping of constructor arguments; absent ones take the published constructor's defaults.

    Tuples may be lists and infinities may be text ("inf", "-Infinity"), as JSON leaves them.
    CheckpointError names an argument that is unknown or has an impossible value.
    """
    known = {field.name: field for field in dataclasses.fields(NetworkConfig)}
    unknown = sorted(set(values) - set(known) - TRAINING_ONLY)
    if unknown:
        raise CheckpointError(f"network config: unknown argument {unknown[0]!r}; known: {', '.join(known)}")
    parsed = {name: _parse_value(name, values[name], known[name].default) for name in known if name in values}
    parsed.setdefault("metric", parsed.get("head_type") == "catmlp+dpt")
    config = NetworkConfig(**parsed)
    _check(config)
    return config


def _parse_value(name: str, value: Any, default: Any) -> Any:
    if name in ("depth_mode", "conf_mode", "desc_conf_mode"):
        return None if value is None and name == "desc_conf_mode" else _parse_activation(name, value)
    if name == "img_size" and type(value) is int:
        value = (value, value)
    if isinstance(default, tuple):
        numbers = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else ()
        _require(
            len(numbers) == len(default) and all(_is_count(v) for v in numbers), name, value, f"{len(default)} positive integers"
        )
        return numbers
    if isinstance(default, bool):
        _require(isinstance(value, bool), name, value, "true or false")
    elif isinstance(default, int):
        _require(_is_count(value), name, value, "a positive integer")
    elif isinstance(default, float):
        _require(
            isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 100, name, value, "a number above 0"
        )
        return float(value)
    else:
        _require(isinstance(value, str), name, value, "text")
    return value


def _parse_activation(name: str, value: Any) -> Activation:
    kinds = ("exp", "square", "linear") if name == "depth_mode" else ("exp", "sigmoid")
    right = f"({' | '.join(kinds)}, min, max)"
    _require(
        isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 3 and value[0] in kinds, name, value, right
    )
    try:
        low, high = float(value[1]), float(value[2])  # float() reads "inf", "-inf", "Infinity" and "-Infinity"
    except (TypeError, ValueError):
        low, high = math.nan, math.nan
    _require(low < high, name, value, right)
    if name == "depth_mode":
        _require(math.isinf(low) and math.isinf(high), name, value, "without bounds: (kind, -inf, inf)")
    else:
        _require(math.isfinite(low) and (value[0] == "exp" or math.isfinite(high)), name, value, "with a finite minimum")
    return Activation(value[0], low, high)


def _check(config: NetworkConfig) -> None:
    _require(config.head_type in HEAD_TYPES, "head_type", config.head_type, " or ".join(HEAD_TYPES))
    right = "pts3d+desc<width>" if config.head_type == "catmlp+dpt" else "pts3d"
    _require(
        config.desc_dim > 0 if config.head_type == "catmlp+dpt" else config.output_mode == "pts3d",
        "output_mode", config.output_mode, f"{right} with head_type {config.head_type!r}",
    )  # fmt: skip
    _require(
        re.fullmatch(r"RoPE\d+(\.\d+)?", config.pos_embed) is not None and config.rope_base > 0,
        "pos_embed", config.pos_embed, "RoPE<base>, for example RoPE100 (cosine positions: CroCo, which has no 3D heads)",
    )  # fmt: skip
    for side in ("enc", "dec"):
        width, heads = getattr(config, f"{side}_embed_dim"), getattr(config, f"{side}_num_heads")
        _require(width % (4 * heads) == 0, f"{side}_embed_dim", width, f"a multiple of 4 * {side}_num_heads = {4 * heads}")
    for size in config.img_size:
        _require(size % config.patch_size == 0, "img_size", config.img_size, f"multiples of patch_size = {config.patch_size}")
    if config.head_type != "linear":
        _require(config.dec_depth >= 3, "dec_depth", config.dec_depth, "3 or more with a DPT head, which reads four layers")
        _require(config.feature_dim % 2 == 0, "feature_dim", config.feature_dim, "even")


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 < value <= 1_000_000


def _require(holds: bool, name: str, value: object, right: str) -> None:
    if not holds:
        raise CheckpointError(f"network config: {name} is {value!r}; it must be {right}")
