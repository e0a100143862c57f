"""How good a network is on pairs with known geometry."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mast3r_engine.network import Network
from mast3r_engine.predictions import Outputs, ViewPrediction
from mast3r_engine.training.batch import PairBatch, points_in_each, valid_depth
from mast3r_engine.training.forward import predict
from mast3r_engine.training.losses.matching import gather_pixels
from mast3r_engine.training.losses.scale import norm_factor
from mast3r_engine.training.oriented import predict_oriented

MATCH_SHARES = (0.01, 0.02, 0.05)  # of the image's width
QUERIES = 64  # matches looked at per pair


@dataclass(frozen=True)
class Validation:
    """Figures over one set of pairs; errors are relative to the true distance from the first camera."""

    pairs: int
    match_within: tuple[float, float, float] | None  # share of nearest neighbours within 1, 2 and 5 % of the width
    point_error: float | None  # median, both views, after dividing out the scale
    point_error_first: float | None
    point_error_second: float | None
    plateau: float | None  # the same for the best answer that ignores the images: the mean point of each pixel
    scale_error: float | None  # median |ln(predicted scale / true scale)|
    calibration: float | None  # median error of the most confident quarter over that of the least confident


@torch.inference_mode()
def validate(net: Network, batch: PairBatch, points: bool = True, chunk: int = 16) -> Validation:
    """Predict all pairs in float32 and measure; without `points` only the matches."""
    found, errors_first, errors_second, scales, ratios = [], [], [], [], []
    for part in split_batch(batch, chunk):
        first, second = predict_oriented(predict, net, part.images, part.portrait, False, Outputs(points=(points, points)))
        if first.desc is not None and second.desc is not None:
            found.append(match_distances(first.desc, second.desc, part) / part.images.shape[-1])
        if points:
            error, scale = point_errors(first, second, part)
            valid = valid_depth(part.depth)
            errors_first.append(error[:, 0][valid[:, 0]])
            errors_second.append(error[:, 1][valid[:, 1]])
            scales.append(scale)
            ratios.append(calibration_ratio(error[valid], torch.stack((first.conf, second.conf), 1)[valid]))
    distances = torch.cat(found) if found else None
    one, two, five = (None if distances is None else float((distances <= share).float().mean()) for share in MATCH_SHARES)
    return Validation(
        pairs=batch.pairs,
        match_within=None if one is None or two is None or five is None else (one, two, five),
        point_error=_median(errors_first + errors_second),
        point_error_first=_median(errors_first),
        point_error_second=_median(errors_second),
        plateau=plateau_error(batch) if points else None,
        scale_error=_median([scale.log().abs() for scale in scales]),
        calibration=_median([torch.tensor(ratios)] if ratios else []),
    )


def split_batch(batch: PairBatch, chunk: int) -> list[PairBatch]:
    """Parts of at most `chunk` pairs."""
    starts = range(0, batch.pairs, chunk)
    return [PairBatch(**{name: value[s : s + chunk] for name, value in vars(batch).items()}) for s in starts]


def match_distances(
    desc_first: Tensor,  # (B, H, W, D)
    desc_second: Tensor,  # (B, H, W, D)
    batch: PairBatch,
) -> Tensor:  # (M,) pixels between the nearest descriptor of the whole second view and the true place
    """For up to 64 matched pixels of each pair."""
    W = desc_second.shape[2]
    queries = gather_pixels(desc_first, batch.xy_first[:, :QUERIES])
    best = (queries @ desc_second.flatten(1, 2).transpose(1, 2)).argmax(2)
    found = torch.stack((best % W, best // W), -1)
    distance: Tensor = torch.linalg.vector_norm(found - batch.xy_second[:, :QUERIES], dim=-1)
    return distance[batch.matched[:, :QUERIES]]


def point_errors(first: ViewPrediction, second: ViewPrediction, batch: PairBatch) -> tuple[Tensor, Tensor]:
    """Relative errors (B, 2, H, W) after dividing out each pair's scale, and predicted over true scale (B,)."""
    truth, _ = points_in_each(batch)
    valid = valid_depth(batch.depth)
    predicted = torch.stack((first.pts3d, second.pts3d), 1)
    n_truth, n_predicted = norm_factor(truth, valid), norm_factor(predicted, valid)
    error = (predicted / n_predicted - truth / n_truth).norm(dim=-1) / (truth.norm(dim=-1) / n_truth[..., 0]).clamp(min=1e-6)
    return error, (n_predicted / n_truth).flatten()


def plateau_error(batch: PairBatch) -> float | None:
    """Median relative error of the mean normalised point map, which knows nothing of the images."""
    truth, _ = points_in_each(batch)
    valid = valid_depth(batch.depth)
    normalised = torch.where(valid[..., None], truth / norm_factor(truth, valid), 0.0)
    mean = normalised.sum(0) / valid.sum(0)[..., None].clamp(min=1)
    error = (normalised - mean).norm(dim=-1) / normalised.norm(dim=-1).clamp(min=1e-6)
    return _median([error[valid]])


def calibration_ratio(error: Tensor, confidence: Tensor) -> float:  # (M,), (M,)
    """Median error of the most confident quarter over that of the least confident; 1 means that confidence says nothing."""
    quarter = max(error.numel() // 4, 1)
    order = confidence.argsort()
    return float(error[order[-quarter:]].median() / error[order[:quarter]].median().clamp(min=1e-9))


def _median(parts: list[Tensor]) -> float | None:
    together = torch.cat(parts) if parts else torch.empty(0)
    return float(together.median()) if together.numel() else None
