"""Architectures of every kind, small enough for a test."""

from __future__ import annotations

from typing import Any

BODY: dict[str, Any] = {
    "img_size": (64, 64), "pos_embed": "RoPE100", "enc_embed_dim": 32, "enc_depth": 2, "enc_num_heads": 2,
    "dec_embed_dim": 24, "dec_depth": 4, "dec_num_heads": 2,
}  # fmt: skip
NARROW_DPT: dict[str, Any] = {"feature_dim": 12, "layer_dims": (8, 8, 12, 16)}
LINEAR = BODY | {"head_type": "linear"}
DPT = BODY | NARROW_DPT | {"head_type": "dpt"}
MAST3R = BODY | NARROW_DPT | {
    "head_type": "catmlp+dpt", "output_mode": "pts3d+desc8", "two_confs": True, "desc_conf_mode": ("exp", 0, "inf"),
}  # fmt: skip
