"""MASt3R as a worker's engine. Importing this loads torch."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

import torch

from mast3r_engine import load_network, reconstruct
from mast3r_engine.checkpoints import load_default_network
from mast3r_engine.errors import ExportError, InvalidImageError, TooFewImagesError
from mast3r_engine.export import write_artifacts
from mast3r_engine.network import GraphedNetwork
from mast3r_engine.predictions import PairNetwork
from mast3r_kernels import one_line, require
from services.adapters.settings import Settings
from services.contract.outputs import ALWAYS
from services.worker.engine import EngineFile, EngineJob, EngineResult, OnProgress
from services.worker.localisation_state import save_scene
from services.worker.priors_for_engine import to_priors
from services.worker.translate import to_options, to_result

log = logging.getLogger("m3r.worker")

UNTRAINED = "untrained network: the geometry is meaningless"
REASONS_TOLD = 5
EXPORT_SHARE = 0.03  # of the whole job, for writing the files


class Mast3rEngine:
    """A network, kept across jobs."""

    def __init__(self, net: PairNetwork, name: str) -> None:
        self.name = name
        self._net = net

    def run(self, job: EngineJob, on_progress: OnProgress) -> EngineResult:
        """Reconstruct, and write the files that were asked for. See `Engine`."""
        try:
            return self._run(job, on_progress)
        finally:
            torch.cuda.empty_cache()  # so that the next job, or the second try, finds the memory of this one

    def _run(self, job: EngineJob, on_progress: OnProgress) -> EngineResult:
        unusable: dict[int, str] = {}

        def leave_out(index: int, error: InvalidImageError) -> None:
            unusable[index] = error.reason

        try:
            scene = reconstruct(
                [photo.path for photo in job.photos],
                self._net,
                to_options(job.options),
                on_progress=lambda stage, fraction: on_progress(stage, fraction * (1 - EXPORT_SHARE)),
                on_invalid=None if job.strict_images else leave_out,
                priors=to_priors(job.priors),
            )
        except TooFewImagesError as error:
            reasons = "; ".join(f"{job.photos[index].name}: {reason}" for index, reason in list(unusable.items())[:REASONS_TOLD])
            raise TooFewImagesError(f"{error} ({reasons})") from error
        wanted = list(dict.fromkeys([*ALWAYS, *job.outputs]))
        impossible: list[str] = []

        def do_without(name: str, error: ExportError) -> None:
            impossible.append(f"{name} was not made: {error}")

        exporting = time.perf_counter()
        written = write_artifacts(
            scene, job.folder, wanted, lambda done: on_progress("export", 1 - EXPORT_SHARE * (1 - done)), do_without
        )
        files = [EngineFile(file.name, job.folder / file.name, file.media_type) for file in written]
        result = to_result(scene, [photo.name for photo in job.photos], unusable, files)
        kept = job.folder / "kept-scene.npz"
        save_scene(scene, kept)
        seconds = {**result.stage_seconds, "export": time.perf_counter() - exporting}
        return replace(result, warnings=[*result.warnings, *impossible], stage_seconds=seconds, scene=kept)


def load_mast3r(settings: Settings) -> Mast3rEngine:
    """Load the checkpoint of the settings; `default` without a packaged checkpoint is a small untrained network.

    KernelUnavailableError when the settings ask for kernels that cannot be had.
    """
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    log.info("kernels: %s", one_line(require(settings.kernels)))
    if settings.checkpoint == "default":
        net = load_default_network(settings.device, settings.dtype)
    else:
        net = load_network(settings.checkpoint, settings.device, settings.dtype)
    if not net.trained:
        log.warning(UNTRAINED)
    return Mast3rEngine(GraphedNetwork(net) if settings.cuda_graphs else net, f"mast3r:{settings.checkpoint}")
