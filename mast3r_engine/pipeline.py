"""From photographs to cameras and a cloud: the only place that knows the order of the stages."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from mast3r_engine.alignment import align_dense, align_single, align_sparse, place
from mast3r_engine.bundle import load_pycolmap, refine_alignment
from mast3r_engine.correspondences import PairMatches
from mast3r_engine.errors import InvalidImageError, NoOverlapError, TooFewImagesError
from mast3r_engine.fusion import fuse
from mast3r_engine.images import ImageSource, file_names, load_view, name_images, to_tensor
from mast3r_engine.inference import (
    DirectedPass,
    PairPasses,
    TokenStore,
    decode_directed,
    decode_pairs,
    decode_passes,
    device_of,
    encode_images,
    pixels_per_batch,
    plan_batches,
    plan_passes,
)
from mast3r_engine.matching import described, match_one_pass, match_symmetric
from mast3r_engine.memory_errors import memory_errors_named
from mast3r_engine.options import Options
from mast3r_engine.pair_evidence import PairEvidence
from mast3r_engine.pairs import PairGraph, build_pairs, plan_directions
from mast3r_engine.predictions import Outputs, PairNetwork
from mast3r_engine.priors import Priors
from mast3r_engine.progress import OnProgress
from mast3r_engine.reconstruction import Alignment, Reconstruction
from mast3r_engine.resolved_priors import resolve_priors, wanted_placing
from mast3r_engine.scene import assemble_scene, fill_unknown_shapes, masked
from mast3r_engine.stage_clock import StageClock
from mast3r_engine.views import View

OnInvalid = Callable[[int, InvalidImageError], None]

WANTED = {  # by mode; `auto` asks for everything until the first batch has shown whether there are descriptors
    "auto": None,
    "sparse": Outputs(points=(True, False), descriptors=(True, True)),
    "dense": Outputs(points=(True, True), descriptors=(False, False)),
}
FOR_ONE_PHOTO = Outputs(points=(True, False), descriptors=(False, False))


def reconstruct(
    images: Sequence[ImageSource],
    net: PairNetwork,
    options: Options | None = None,
    on_progress: OnProgress | None = None,
    on_invalid: OnInvalid | None = None,
    priors: Priors | None = None,
) -> Reconstruction:
    """Reconstruct cameras, depths and a coloured cloud from photographs: paths, PIL images or (H, W, 3) uint8 arrays.

    `on_progress(stage, fraction)` is called throughout and may raise to cancel; its exception comes out unchanged.
    A photograph that cannot be read raises InvalidImageError; with `on_invalid` it is left out instead and
    `on_invalid(index, error)` is called. `options.pairs` always means the photographs as they were given.
    `priors`: what is known of the photographs beforehand, by their file names (docs/priors.md); what the photographs contradict
    is in the warnings and in `stats["priors"]`.

    PriorsError when priors are about other photographs than these, TooFewImagesError without a usable photograph,
    NoOverlapError when there are several and no pair of them holds, NetworkOutputError when the network's answer cannot be
    used, OutOfMemoryError when memory does not suffice.
    """
    options, priors = options or Options(), priors or Priors()
    if len(images) == 0:
        raise TooFewImagesError("there is no photograph; one gives its own points, two or more give cameras")
    priors.check_names(file_names(images))
    if options.refine == "bundle":
        load_pycolmap()
    graph = build_pairs(options.scene_graph, len(images), options.pairs, options.seed)
    clock = StageClock(on_progress, len(images), len(graph.pairs))
    with memory_errors_named("take fewer photographs or pairs, or a smaller image_size"):
        views, kept = _load(images, net, options, priors, clock, on_invalid)
        tokens = _encode(views, net, clock)
        graph = _pair(graph, kept, len(images), options, clock)
        shapes = [view.pixels.shape[:2] for view in views]
        if len(views) == 1:
            evidence = PairEvidence(shapes, graph.pairs, options.matching.subsample)
            _decode_one_photo(views[0], tokens, net, evidence, clock)
        elif options.directions == "one":
            evidence = _decode_one_way(views, shapes, graph.pairs, tokens, net, options, clock)
        else:
            evidence = PairEvidence(shapes, graph.pairs, options.matching.subsample)
            _decode_and_match(views, tokens, net, options, evidence, clock)
        del tokens
        evidence.leave_out([view.usable for view in views])
        alignment = fill_unknown_shapes(_align(views, evidence, net, options, priors, clock), evidence.shapes)
        alignment = masked(alignment, [view.usable for view in views])
        with clock.stage("fuse") as report:
            cloud = fuse(alignment, [view.pixels for view in views], options.fusion, report, device_of(net))
        with clock.stage("export"):
            files = [_file_of(images[index]) for index in kept]
            scene = assemble_scene(views, alignment, cloud, net, graph.choice, clock.seconds, evidence.matches, files, priors)
        clock.finish()
    return scene


def _load(
    images: Sequence[ImageSource],
    net: PairNetwork,
    options: Options,
    priors: Priors,
    clock: StageClock,
    on_invalid: OnInvalid | None,
) -> tuple[list[View], list[int]]:
    """The usable photographs at network size, and their places among those given."""
    sizes = (options.image_size if options.image_size is not None else getattr(net, "image_size", None), options.max_image_size)
    image_size = min((size for size in sizes if size is not None), default=None)
    patch_size, square_crop = getattr(net, "patch_size", 16), getattr(net, "square_crop", False)
    views, kept = [], []
    with clock.stage("load") as report:
        for index, (name, image) in enumerate(zip(name_images(images), images, strict=True)):
            try:
                views.append(load_view(image, name, image_size, patch_size, square_crop, priors=priors))
                kept.append(index)
            except InvalidImageError as error:
                if on_invalid is None:
                    raise
                on_invalid(index, error)
            report((index + 1) / len(images))
    if not views:
        raise TooFewImagesError(f"none of the {len(images)} photographs can be read; give at least one that can")
    return views, kept


def _file_of(image: ImageSource) -> Path | None:
    return Path(image) if isinstance(image, (str, os.PathLike)) else None


def _encode(views: Sequence[View], net: PairNetwork, clock: StageClock) -> TokenStore:
    """Encode every photograph once, those of one size in batches."""
    tokens, limit, done = TokenStore(len(views)), pixels_per_batch(device_of(net)), 0
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, view in enumerate(views):
        groups.setdefault(view.pixels.shape, []).append(index)
    with clock.stage("encode") as report:
        for (H, W, _), members in groups.items():
            size = max(1, limit // (H * W))
            for start in range(0, len(members), size):
                batch = members[start : start + size]
                chosen = [views[i] for i in batch]
                for i, encoded in zip(batch, encode_images(net, to_tensor(chosen), [v.name for v in chosen]), strict=True):
                    tokens.put(i, encoded)
                done += len(batch)
                report(done / len(views))
    return tokens


def _pair(graph: PairGraph, kept: list[int], given: int, options: Options, clock: StageClock) -> PairGraph:
    """The pairs among the photographs that could be read."""
    with clock.stage("pair"):
        if len(kept) == given:
            return graph
        if options.pairs is None:
            return build_pairs(options.scene_graph, len(kept), None, options.seed)
        place = {old: new for new, old in enumerate(kept)}
        left = [(place[i], place[j]) for i, j in graph.pairs if i in place and j in place]
        if not left and len(kept) > 1:
            raise NoOverlapError("no pair of the list is left: each has a photograph that cannot be read")
        return build_pairs(options.scene_graph, len(kept), left, options.seed)


def _decode_one_photo(view: View, tokens: TokenStore, net: PairNetwork, evidence: PairEvidence, clock: StageClock) -> None:
    """A photograph alone is decoded against itself."""
    with clock.stage("decode") as report:
        passes = decode_passes(net, tokens, [0], [0], [view.name], FOR_ONE_PHOTO)
        evidence.add_view(0, passes[0][0])
        report(1.0)
    with clock.stage("match") as report:
        report(1.0)


def _decode_and_match(
    views: Sequence[View], tokens: TokenStore, net: PairNetwork, options: Options, evidence: PairEvidence, clock: StageClock
) -> None:
    """Decode the pairs batch by batch; each batch's maps are matched, summed up and forgotten before the next."""
    names, total, mode = [view.name for view in views], len(evidence.pairs), str(options.alignment.mode)
    done = 0
    for batch in plan_batches(evidence.pairs, evidence.shapes, pixels_per_batch(device_of(net))):
        with clock.stage("decode") as report:
            decoded = decode_pairs(net, tokens, batch, names, WANTED[mode])
            report((done + len(batch)) / total)
        if mode == "auto":
            mode = "dense" if decoded[0].pass_ij[0].desc is None else "sparse"
        with clock.stage("match") as report:
            for passes in decoded:
                evidence.add_pair(passes)
                if mode == "dense":
                    evidence.add_edges(passes)
                else:
                    evidence.matches.append(_match(passes, names, options.matching.subsample))
                done += 1
                report(done / total)
    evidence.sort()


def _decode_one_way(
    views: Sequence[View],
    shapes: Sequence[tuple[int, int]],
    pairs: Sequence[tuple[int, int]],
    tokens: TokenStore,
    net: PairNetwork,
    options: Options,
    clock: StageClock,
) -> PairEvidence:
    """One pass a pair, as `plan_directions` says; the passes back give points and no matches."""
    directed, back = plan_directions(pairs, len(views))
    evidence = PairEvidence(shapes, pairs, options.matching.subsample, [first for first, _ in (*directed, *back)])
    names, mode, done = [view.name for view in views], str(options.alignment.mode), 0
    limit, total = pixels_per_batch(device_of(net)), len(directed) + len(back)
    for batch in plan_passes(directed, shapes, limit) + plan_passes(back, shapes, limit):
        for_points_alone = batch[0] in back
        with clock.stage("decode") as report:
            decoded = decode_directed(net, tokens, batch, names, FOR_ONE_PHOTO if for_points_alone else WANTED[mode])
            report((done + len(batch)) / total)
        if mode == "auto":
            mode = "dense" if decoded[0].views[0].desc is None else "sparse"
        with clock.stage("match") as report:
            for directed_pass in decoded:
                evidence.add_view(directed_pass.first, directed_pass.views[0])
                if mode == "dense" and not for_points_alone:
                    evidence.add_edge(directed_pass)
                elif not for_points_alone:
                    evidence.matches.append(_match_one_way(directed_pass, names, options.matching.subsample))
                done += 1
                report(done / total)
    evidence.sort()
    return evidence


def _match_one_way(directed: DirectedPass, names: Sequence[str], subsample: int) -> PairMatches:
    first, second = directed.first, directed.second
    described_first = described(directed.views[0], 0, names[first])
    described_second = described(directed.views[1], 0, names[second])
    if first < second:
        return match_one_pass(first, second, (described_first, described_second), subsample)
    return match_one_pass(second, first, (described_second, described_first), subsample)


def _match(passes: PairPasses, names: Sequence[str], subsample: int) -> PairMatches:
    name_i, name_j = names[passes.i], names[passes.j]
    pass_ij = described(passes.pass_ij[0], 0, name_i), described(passes.pass_ij[1], 0, name_j)
    pass_ji = described(passes.pass_ji[0], 0, name_j), described(passes.pass_ji[1], 0, name_i)
    return match_symmetric(passes.i, passes.j, pass_ij, pass_ji, subsample)


def _align(
    views: Sequence[View], evidence: PairEvidence, net: PairNetwork, options: Options, priors: Priors, clock: StageClock
) -> Alignment:
    with clock.stage("align") as report:
        metric, seed = bool(getattr(net, "metric", True)), options.seed
        known = resolve_priors(priors, views, one_camera=options.alignment.shared_intrinsics)
        if len(evidence.canonicals) == 1 and evidence.canonicals[0] is not None:
            alignment = align_single(evidence.canonicals[0], known)
        elif evidence.edges:
            alignment = align_dense(
                evidence.canonicals, evidence.edges, options.alignment, metric=metric, seed=seed, priors=known, on_progress=report
            )
        else:
            alignment = align_sparse(
                evidence.canonicals,
                evidence.matches,
                options.alignment,
                metric=metric,
                seed=seed,
                priors=known,
                on_progress=report,
            )
        if options.refine != "none":
            pixels = [view.pixels for view in views]
            alignment = refine_alignment(
                alignment,
                evidence.matches,
                pixels,
                known,
                lambda done: report(0.5 + 0.5 * done),
                asked_for=options.refine == "bundle",
            )
        alignment = place(alignment, wanted_placing(priors, views, known), seed)
        report(1.0)
    if not (alignment.component >= 0).any():
        reasons = sorted({reason for _, reason in alignment.unregistered})
        raise NoOverlapError(
            f"no pair of the {len(evidence.shapes)} photographs holds ({'; '.join(reasons)}); "
            "take photographs that show the same things from nearby places"
        )
    return alignment
