"""The checkpoint that the package ships."""

from __future__ import annotations

from mast3r_engine import load_network
from mast3r_engine.checkpoints import describe_checkpoint, load_default_network
from mast3r_engine.checkpoints.packaged import PACKAGED, find_packaged, packaged_names

LARGEST = 32 * 10**6  # bytes


def test_the_default_is_the_packaged_one_and_trained() -> None:
    assert packaged_names()
    named, default = load_network(packaged_names()[0]), load_default_network()
    assert default.trained
    assert named.config == default.config
    assert all((a == b).all() for a, b in zip(named.parameters(), default.parameters(), strict=True))


def test_it_is_small_and_says_its_licence() -> None:
    for name in packaged_names():
        files = list((PACKAGED / name).iterdir())
        assert sum(file.stat().st_size for file in files) < LARGEST
        assert "Apache-2.0" in (PACKAGED / name / "README.md").read_text()
        assert describe_checkpoint(PACKAGED / name).parameters > 10**6


def test_other_names_are_not_packaged() -> None:
    assert find_packaged("no-such-weights") is None
    assert find_packaged("../checkpoints") is None
