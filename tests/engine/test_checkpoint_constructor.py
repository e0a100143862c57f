"""The constructor string is read, never evaluated."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from mast3r_engine.checkpoints.constructor import parse_constructor
from mast3r_engine.errors import CheckpointError
from mast3r_engine.network.config import Activation

PUBLISHED = (
    "AsymmetricMASt3R(pos_embed='RoPE100', patch_embed_cls='ManyAR_PatchEmbed', img_size=(512, 512), head_type='catmlp+dpt', "
    "output_mode='pts3d+desc24', depth_mode=('exp', -inf, inf), conf_mode=('exp', 1, inf), enc_embed_dim=1024, enc_depth=24, "
    "enc_num_heads=16, dec_embed_dim=768, dec_depth=12, dec_num_heads=12, two_confs=True, desc_conf_mode=('exp', 0, inf))"
)


def test_the_published_string() -> None:
    config = parse_constructor(PUBLISHED)
    assert (config.enc_embed_dim, config.enc_depth, config.enc_num_heads) == (1024, 24, 16)
    assert (config.dec_embed_dim, config.dec_depth, config.dec_num_heads) == (768, 12, 12)
    assert (config.img_size, config.desc_dim, config.two_confs, config.metric) == ((512, 512), 24, True, True)
    assert config.depth_mode == Activation("exp", -math.inf, math.inf)
    assert config.desc_conf_mode == Activation("exp", 0.0, math.inf)


@pytest.mark.parametrize(
    "spelling", [", landscape_only=True)", ", landscape_only=False)", ",landscape_only = True )", ", freeze='encoder')"]
)
def test_training_only_arguments_do_not_matter(spelling: str) -> None:
    assert parse_constructor(PUBLISHED[:-1] + spelling) == parse_constructor(PUBLISHED)


def test_order_and_spacing_do_not_matter_and_defaults_are_the_constructors() -> None:
    config = parse_constructor('  AsymmetricCroCo3DStereo( img_size = [224,224] , pos_embed="RoPE100")\n')
    assert (config.img_size, config.enc_depth, config.dec_embed_dim, config.metric) == ((224, 224), 12, 512, False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("__import__('os').system('touch {marker}')", "constructor string calls"),
        ("AsymmetricMASt3R(img_size=__import__('os').system('touch {marker}'))", "holds a Call"),
        ("AsymmetricMASt3R(img_size=(512, [open('{marker}', 'w')]))", "holds a Call"),
        ("AsymmetricMASt3R(enc_depth=[0 for _ in open('{marker}', 'w').name])", "holds a ListComp"),
        ("AsymmetricMASt3R(enc_depth=(lambda: 1)())", "holds a Call"),
        ("AsymmetricMASt3R(enc_depth=9**9**9)", "holds a BinOp"),
        ("AsymmetricMASt3R(enc_depth=nan)", "holds a Name"),
        ("AsymmetricMASt3R(enc_depth=b'24')", "holds a Constant"),
        ("AsymmetricMASt3R(pos_embed=f'{{1}}')", "holds a JoinedStr"),
        ("AsymmetricMASt3R(enc_depth=-'a')", "holds a UnaryOp"),
        ("AsymmetricMASt3R(512)", "positional or starred"),
        ("AsymmetricMASt3R(**{{'enc_depth': 24}})", "positional or starred"),
        ("AsymmetricMASt3R()(enc_depth=24)", "constructor string calls"),
        ("AsymmetricMASt3R(enc_depth=24); 1", "no Python expression"),
        ("AsymmetricMASt3R(enc_depth=24", "no Python expression"),
        ("AsymmetricMASt3R", "is no call"),
        ("", "no Python expression"),
        ("CroCoNet(enc_depth=24)", "calls 'CroCoNet'; it must be AsymmetricMASt3R or AsymmetricCroCo3DStereo"),
        ("AsymmetricMASt3R(head_type='linear')", "AsymmetricMASt3R has catmlp"),
        ("AsymmetricCroCo3DStereo(norm_layer=1)", "unknown argument 'norm_layer'"),
        ("AsymmetricMASt3R(a=" + "(" * 300 + ")" * 300 + ")", "constructor string"),
        ("AsymmetricMASt3R(a=" + "-" * 3000 + "1)", "constructor string"),
        ("x" * 5000, "5000 characters"),
    ],
)  # fmt: skip
def test_anything_else_is_refused_and_not_run(text: str, message: str, tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    with pytest.raises(CheckpointError, match=message):
        parse_constructor(text.format(marker=marker) if "{" in text else text)
    assert list(tmp_path.iterdir()) == []
