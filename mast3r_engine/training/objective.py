"""One batch through the network and the losses."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import normalize

from mast3r_engine.network import Network
from mast3r_engine.predictions import Outputs, ViewPrediction
from mast3r_engine.training.batch import PairBatch, points_in_each, valid_depth
from mast3r_engine.training.config import LossOptions, Stage
from mast3r_engine.training.forward import Predict, predict
from mast3r_engine.training.losses.confidence import confidence_loss, confidence_matching_loss
from mast3r_engine.training.losses.matching import gather_pixels, matching_errors, sample_pixels
from mast3r_engine.training.losses.regression import PointTargets, RegressionOptions, regression_error
from mast3r_engine.training.oriented import predict_oriented


@dataclass(frozen=True)
class Objective:
    """The loss of one batch and what it is made of; `total` alone has a gradient."""

    total: Tensor  # scalar
    points: Tensor  # mean error of the counting pixels, before the confidence
    matching: Tensor  # mean cross-entropy of one direction, nats; ln N is chance


def evaluate_objective(
    net: Network,
    batch: PairBatch,
    stage: Stage,
    options: LossOptions,
    precision: torch.dtype,
    metric: Tensor,  # (B,) bool, which pairs must be right in scale
    run: Predict = predict,  # or a compiled `predict`
) -> Objective:
    """Run the network in `precision` and the losses in float32."""
    wants_points, wants_descriptors = stage.points_weight > 0, stage.matching_weight > 0
    outputs = Outputs(points=(wants_points, wants_points), descriptors=(wants_descriptors, wants_descriptors))
    device = batch.images.device.type
    # On CPUs the backward pass of the fused attention is slower than plain matrix products at these sizes.
    attention = sdpa_kernel([SDPBackend.MATH]) if device == "cpu" else nullcontext()
    with torch.autocast(device, precision, enabled=precision != torch.float32), attention:
        first, second = predict_oriented(run, net, batch.images, batch.portrait, stage.symmetrise, outputs)
    zero = batch.images.new_zeros(())
    total, points, matching = zero, zero, zero
    if wants_points:
        loss, points = points_loss(first, second, batch, stage.symmetrise, options, metric)
        total = total + stage.points_weight * loss
    if wants_descriptors:
        loss, matching = descriptor_loss(first, second, batch, stage.symmetrise, options)
        total = total + stage.matching_weight * loss
    return Objective(total, points.detach(), matching.detach())


def points_loss(
    first: ViewPrediction,
    second: ViewPrediction,
    batch: PairBatch,
    symmetrised: bool,
    options: LossOptions,
    metric: Tensor,  # (B,) bool
) -> tuple[Tensor, Tensor]:
    """The confidence-weighted regression loss, and the plain mean error."""
    in_first, in_second = points_in_each(batch)
    valid, sky = valid_depth(batch.depth), batch.depth < 0
    if symmetrised:
        in_first = torch.cat((in_first, in_second.flip(1)))
        valid, sky = torch.cat((valid, valid.flip(1))), torch.cat((sky, sky.flip(1)))
        metric = torch.cat((metric, metric))
    settings = RegressionOptions(
        norm=options.norm, sky_value=options.sky_value, in_log=options.in_log, max_metric_scale=options.max_metric_scale or None
    )
    predicted = torch.stack((first.pts3d, second.pts3d), 1)
    error, counts = regression_error(predicted, PointTargets(in_first, valid, metric, sky), settings)
    loss = confidence_loss(error, counts, torch.stack((first.conf, second.conf), 1), options.conf_alpha, options.conf_limit)
    return loss, (error * valid).sum() / valid.sum().clamp(min=1)


def descriptor_loss(
    first: ViewPrediction, second: ViewPrediction, batch: PairBatch, symmetrised: bool, options: LossOptions
) -> tuple[Tensor, Tensor]:
    """The confidence-weighted matching loss, and the plain cross-entropy of one direction."""
    xy_first, xy_second, matched = batch.xy_first, batch.xy_second, batch.matched
    if symmetrised:
        xy_first, xy_second = torch.cat((xy_first, xy_second)), torch.cat((xy_second, xy_first))
        matched = torch.cat((matched, matched))
    if first.desc is None or second.desc is None or first.desc_conf is None or second.desc_conf is None:
        raise ValueError("the network gives no descriptors; train it with matching_weight = 0")
    read = sample_pixels if options.subpixel else gather_pixels
    desc_first, desc_second = read(first.desc, xy_first), read(second.desc, xy_second)
    if options.subpixel:
        desc_first, desc_second = (normalize(desc, dim=-1) for desc in (desc_first, desc_second))
    errors = matching_errors(
        desc_first, desc_second,
        options.temperature, options.matching_mode, options.block,
    )  # fmt: skip
    conf_first = read(first.desc_conf[..., None], xy_first)[..., 0]
    conf_second = read(second.desc_conf[..., None], xy_second)[..., 0]
    loss = confidence_matching_loss(
        errors, matched, conf_first, conf_second, options.match_conf_alpha, limit=options.match_conf_limit
    )
    plain = torch.where(matched, errors, 0.0).sum() / matched.sum().clamp(min=1)
    return loss, plain / 2
