"""The constructor call in a published checkpoint, read as text and never evaluated."""

from __future__ import annotations

import ast
import math
from typing import Any

from mast3r_engine.checkpoints.stored import DUST3R_CLASS, MAST3R_CLASS
from mast3r_engine.errors import CheckpointError
from mast3r_engine.network import NetworkConfig, parse_config

MAX_LENGTH = 4096  # the published ones have about 500 characters


def parse_constructor(text: str) -> NetworkConfig:
    """Read `AsymmetricMASt3R(enc_depth=24, …)` as an expression tree.

    Accepted: one call of one of the two published classes with keyword arguments, their values built from literals, tuples,
    lists, unary minus and the name `inf`. The training-time orientation wrapper (`landscape_only`, `patch_embed_cls`) is
    dropped: inference always takes images in their natural orientation. CheckpointError on anything else.
    """
    call = _parse_call(text)
    name = call.func.id if isinstance(call.func, ast.Name) else ast.unparse(call.func)
    if name not in (MAST3R_CLASS, DUST3R_CLASS):
        raise CheckpointError(f"constructor string calls {name!r}; it must be {MAST3R_CLASS} or {DUST3R_CLASS}")
    if call.args or any(keyword.arg is None for keyword in call.keywords):
        raise CheckpointError(f"constructor string has positional or starred arguments: {text[:200]!r}; all must be keywords")
    config = parse_config({str(keyword.arg): _literal(keyword.value) for keyword in call.keywords})
    if (name == MAST3R_CLASS) != bool(config.desc_dim):
        raise CheckpointError(
            f"constructor string calls {name} with head_type {config.head_type!r}: {MAST3R_CLASS} has catmlp+dpt, "
            f"{DUST3R_CLASS} linear or dpt"
        )
    return config


def _parse_call(text: str) -> ast.Call:
    if len(text) > MAX_LENGTH:
        raise CheckpointError(f"constructor string has {len(text)} characters; the published ones have about 500")
    try:
        body = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise CheckpointError(f"constructor string is no Python expression: {text[:200]!r}") from error
    if not isinstance(body, ast.Call):
        raise CheckpointError(f"constructor string is no call: {text[:200]!r}")
    return body


def _literal(node: ast.expr, depth: int = 0) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, (str, int, float, bool, type(None))):
        return node.value
    if isinstance(node, ast.Name) and node.id == "inf":
        return math.inf
    if depth < 4 and isinstance(node, (ast.Tuple, ast.List)):
        return tuple(_literal(element, depth + 1) for element in node.elts)
    if depth < 4 and isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _literal(node.operand, depth + 1)
        if isinstance(value, (int, float)):
            return -value
    raise CheckpointError(f"constructor string holds a {type(node).__name__}; only literals, tuples, minus and inf are allowed")
