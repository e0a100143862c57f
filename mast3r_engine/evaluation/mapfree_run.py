"""Localising the queries of the map-free benchmark."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mast3r_engine.evaluation.mapfree_dataset import REFERENCE, MapfreeScene
from mast3r_engine.evaluation.mapfree_submission import FrameEstimate
from mast3r_engine.localisation import Localization, encode_reference, localize
from mast3r_engine.options import LocalizeOptions
from mast3r_engine.predictions import PairNetwork

OnFrame = Callable[[str, str, Localization], None]  # scene, frame, answer


def localize_scenes(
    scenes: Sequence[MapfreeScene],
    network: PairNetwork,
    options: LocalizeOptions | None = None,
    on_frame: OnFrame | None = None,
) -> dict[str, list[FrameEstimate]]:
    """Localise every query of every scene; frames that are not localised are left out, scenes stay with what they have."""
    options = options or LocalizeOptions()
    return {scene.name: _localize_scene(scene, network, options, on_frame) for scene in scenes}


def _localize_scene(
    scene: MapfreeScene, network: PairNetwork, options: LocalizeOptions, on_frame: OnFrame | None
) -> list[FrameEstimate]:
    reference = encode_reference(scene.folder / REFERENCE, network, options.image_size, scene.cameras[REFERENCE])
    estimates = []
    for frame in scene.queries:
        answer = localize(scene.folder / frame, reference, network, options, query_intrinsics=scene.cameras[frame])
        if on_frame is not None:
            on_frame(scene.name, frame, answer)
        if answer.localized:
            estimates.append(FrameEstimate(frame, answer.query2reference, float(answer.inliers)))
    return estimates
