"""Point-map regression with the metric rule (Regr3D of MASt3R, arXiv:2406.09756, section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mast3r_engine.training.losses.scale import NormMode, norm_factor, safe_norm


@dataclass(frozen=True)
class PointTargets:
    """Ground truth of B pairs, both views in the first camera's frame."""

    points: Tensor  # (B, 2, H, W, 3); anything where not valid
    valid: Tensor  # (B, 2, H, W) bool
    metric: Tensor  # (B,) bool
    sky: Tensor | None = None  # (B, 2, H, W) bool, disjoint from valid


@dataclass(frozen=True)
class RegressionOptions:
    """Settings of the regression; the defaults are the published run's."""

    norm: NormMode = "avg_dis"
    metric_rule: bool = True  # the `?` before the published mode: metric elements keep their scale
    gt_scale: bool = False  # leave ground truth as it is (evaluation)
    max_metric_scale: float | None = None  # a pair with a valid point this far off counts as not metric
    sky_value: float = 2.0  # the loss of sky pixels; 0 leaves them out
    in_log: bool | str = False  # True: compare log-compressed points; "before": compress the ground truth first


def regression_error(
    predicted: Tensor,  # (B, 2, H, W, 3)
    targets: PointTargets,
    options: RegressionOptions | None = None,
) -> tuple[Tensor, Tensor]:  # (B, 2, H, W) error per pixel, (B, 2, H, W) bool where it counts
    """Distances after normalisation, with the constant sky value where it applies; elsewhere the error is 0."""
    options = options or RegressionOptions()
    truth = torch.where(targets.valid[..., None], targets.points, 0.0)  # unknown points may be NaN
    if options.in_log == "before":
        truth = compress_log(truth)
    predicted, truth = normalise_pair(predicted, truth, targets, options)
    if options.in_log is True:
        predicted, truth = compress_log(predicted), compress_log(truth)
    difference = torch.where(targets.valid[..., None], predicted - truth, 0.0)
    error, counts = safe_norm(difference), targets.valid
    if options.sky_value > 0 and targets.sky is not None:
        sky = targets.sky & ~targets.valid
        error, counts = torch.where(sky, options.sky_value, error), counts | sky
    return error, counts


def normalise_pair(
    predicted: Tensor,  # (B, 2, H, W, 3)
    truth: Tensor,  # (B, 2, H, W, 3)
    targets: PointTargets,
    options: RegressionOptions,
) -> tuple[Tensor, Tensor]:
    """Divide by the norm factors: a metric prediction by the ground truth's, a scale-free one by its own."""
    n_truth = norm_factor(truth, targets.valid, options.norm)
    n_predicted = norm_factor(predicted, targets.valid, options.norm)
    metric = metric_elements(targets, options)[:, None, None, None, None]
    if options.gt_scale:
        # Non-metric predictions are normalised while ground truth is not; meaningful for metric sets only.
        return torch.where(metric, predicted, predicted / n_predicted), truth
    return predicted / torch.where(metric, n_truth, n_predicted), truth / n_truth


def metric_elements(targets: PointTargets, options: RegressionOptions) -> Tensor:  # (B,) bool
    """Which elements must be right in scale."""
    metric = targets.metric if options.metric_rule else torch.zeros_like(targets.metric)
    if options.max_metric_scale is not None:
        distance = torch.where(targets.valid, safe_norm(torch.nan_to_num(targets.points)), 0.0)
        metric = metric & (distance.flatten(1).amax(1) < options.max_metric_scale)
    return metric


def compress_log(points: Tensor) -> Tensor:  # (..., 3) -> (..., 3)
    """Replace each distance to the origin d by ln(1 + d)."""
    distance = safe_norm(points)[..., None]
    return points * (torch.log1p(distance) / distance.clamp(min=1e-8))
