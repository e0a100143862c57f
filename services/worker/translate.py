"""Between the contract and the engine: options in, result out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from mast3r_engine.options import Options
from mast3r_engine.reconstruction import Reconstruction
from services.contract.jobs import PhotoQuality, Quality, Scale
from services.worker.engine import EngineFile, EngineResult

FEW_INLIERS = 100  # a camera that hangs on fewer matches than this is not sure


def to_options(values: Mapping[str, Any]) -> Options:
    """Make the engine's options of a job's; raises the engine's OptionsError."""
    return Options.from_dict({name: _plain(value) for name, value in values.items()})


def to_result(
    scene: Reconstruction,
    names: Sequence[str],  # of all photographs, in the order of the job
    unusable: Mapping[int, str],  # index among them -> why
    files: Sequence[EngineFile],
) -> EngineResult:
    """Say in the contract's words what came of a reconstruction."""
    photos = judge_photos(scene, names, unusable)
    left_out = [f"{names[index]} was left out: {reason}" for index, reason in sorted(unusable.items())]
    return EngineResult(
        files=files,
        scale=Scale(metric=scene.metric, source=scale_source(scene)),
        quality=judge_quality(scene, photos),
        warnings=[*scene.warnings, *left_out],
        points=len(scene.points),
        stage_seconds=stage_seconds(scene),
    )


def scale_source(scene: Reconstruction) -> Literal["network", "priors", "none"]:
    """How it is known what a length means: by poses, positions, distances or a factor that were given, or by the network."""
    if scene.stats.get("priors", {}).get("in_given_unit"):
        return "priors"
    return "network" if scene.metric else "none"


def judge_photos(scene: Reconstruction, names: Sequence[str], unusable: Mapping[int, str]) -> list[PhotoQuality]:
    """Say of every photograph of the job what became of it."""
    reasons = {index: reason for index, _, reason in scene.unregistered}
    places = iter(range(len(scene.names)))
    photos = []
    for index, name in enumerate(names):
        if index in unusable:
            photos.append(PhotoQuality(name=name, registered=False, component=-1, reason=unusable[index]))
            continue
        place = next(places)
        component = int(scene.component[place])
        photos.append(PhotoQuality(name=name, registered=component >= 0, component=component, reason=reasons.get(place)))
    return photos


def judge_quality(scene: Reconstruction, photos: Sequence[PhotoQuality]) -> Quality:
    """Judge how far the whole can be trusted: by what was left out, what hangs together, and on how many matches."""
    registered = [photo for photo in photos if photo.registered]
    components = 1 + max((photo.component for photo in registered), default=-1)
    weak = [
        scene.names[i] for i in range(len(scene.names)) if scene.component[i] >= 0 and 0 < _best_inliers(scene, i) < FEW_INLIERS
    ]
    reasons = []
    if len(registered) < len(photos):
        reasons.append(f"{len(photos) - len(registered)} of {len(photos)} photographs are not registered")
    if components > 1:
        reasons.append(f"the photographs fall into {components} parts without a common frame")
    if weak:
        reasons.append(f"{len(weak)} photographs hang on few matches: {', '.join(weak[:5])}")
    if len(registered) == 1:
        reasons.append("only one photograph is registered")
    poor = len(registered) < 2 or 2 * len(registered) < len(photos)
    return Quality(verdict="poor" if poor else "fair" if reasons else "good", reasons=reasons, photos=list(photos))


def stage_seconds(scene: Reconstruction) -> dict[str, float]:
    """The seconds per stage out of the engine's statistics."""
    seconds = scene.stats.get("seconds", {})
    return {str(stage): round(float(spent), 3) for stage, spent in seconds.items()}


def _best_inliers(scene: Reconstruction, index: int) -> int:
    return max((pair.inliers for pair in scene.pairs if index in (pair.i, pair.j)), default=0)


def _plain(value: Any) -> Any:
    """8.0 is an integer in JSON Schema; the engine wants it as one."""
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
