"""The checkpoint in the package: small enough, trained, and better than chance on scenes it has never seen."""

from __future__ import annotations

import pytest
import torch

from mast3r_engine.checkpoints import load_default_network
from mast3r_engine.checkpoints.default import find_packaged
from mast3r_engine.network import Network, build_network
from mast3r_engine.training.synthetic.cameras import CameraRanges
from mast3r_engine.training.synthetic.photos import procedural_photos
from mast3r_engine.training.synthetic.scene import SlotCounts
from mast3r_engine.training.synthetic.source import SyntheticOptions, SyntheticSource
from mast3r_engine.training.validation import Validation, validate


@pytest.fixture(scope="module")
def packaged() -> Network:
    return load_default_network()


@pytest.fixture(scope="module")
def figures(packaged: Network) -> Validation:
    """On procedural textures, which training has not seen either."""
    options = SyntheticOptions(
        height=96, width=128, matches=64, textures=48, cameras=CameraRanges(angle=(0.0, 20.0)), slots=SlotCounts(meshes=0)
    )
    photos = procedural_photos(16, torch.Generator().manual_seed(5), size=96)
    return validate(packaged, SyntheticSource(photos, options).draw(16, 12, 0))


def test_it_fits_the_package_and_says_what_it_is(packaged: Network) -> None:
    folder = find_packaged()
    assert folder is not None
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 32e6
    assert packaged.trained
    assert (folder / "README.md").read_text().startswith(f"# {folder.name}")


def test_its_matches_are_far_above_chance(packaged: Network, figures: Validation) -> None:
    assert figures.match_within is not None
    chance = 3.14 * 0.05**2 * 128 / 96  # the share of the image within 5 % of its width
    assert figures.match_within[2] > 20 * chance
    assert figures.match_within[0] > 0.1


def test_its_points_beat_every_answer_that_ignores_the_images(figures: Validation) -> None:
    assert figures.point_error is not None
    assert figures.plateau is not None
    assert figures.point_error < figures.plateau


def test_an_untrained_network_would_fail_these_tests(packaged: Network) -> None:
    options = SyntheticOptions(height=96, width=128, matches=64, textures=24, texture_size=64, slots=SlotCounts(meshes=0))
    batch = SyntheticSource(procedural_photos(8, torch.Generator().manual_seed(5), size=64), options).draw(4, 12, 0)
    figures = validate(build_network(packaged.config).eval(), batch)
    assert figures.match_within is not None
    assert figures.match_within[2] < 0.1
    assert figures.point_error is not None
    assert figures.plateau is not None
    assert figures.point_error > figures.plateau
