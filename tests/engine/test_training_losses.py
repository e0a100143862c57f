"""Training losses against slow direct transcriptions of their formulas in float64, values and gradients."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mast3r_engine.training.losses.average_precision import average_precision
from mast3r_engine.training.losses.confidence import confidence_loss, confidence_matching_loss
from mast3r_engine.training.losses.invariant import remove_depth_shift, remove_scale
from mast3r_engine.training.losses.matching import (
    gather_pixels,
    matching_errors,
    point_matching_errors,
    reduce_errors,
    sample_pixels,
    shuffle_into_blocks,
    unused_pixels,
)
from mast3r_engine.training.losses.regression import PointTargets, RegressionOptions, regression_error
from mast3r_engine.training.losses.scale import NORM_MODES, norm_factor

B, H, W = 3, 4, 5


def descriptors(count: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(2, count, 8, generator=generator, dtype=dtype), dim=-1)


def maps(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Prediction and truth (B, 2, H, W, 3) in float64, and a mask with holes."""
    generator = torch.Generator().manual_seed(seed)
    predicted = torch.randn(B, 2, H, W, 3, generator=generator, dtype=torch.float64) + torch.tensor([0.0, 0, 3])
    truth = torch.randn(B, 2, H, W, 3, generator=generator, dtype=torch.float64) * 2 + torch.tensor([0.0, 0, 5])
    valid = torch.rand(B, 2, H, W, generator=generator) < 0.7
    return predicted, truth, valid


def gradient_of(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    at = at.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(at), at)
    return gradient


def slow_matching(d1: Tensor, d2: Tensor, tau: float, mode: str) -> Tensor:
    """Loops over correspondences, probabilities written out."""
    rows = []
    for a, b in zip(d1, d2, strict=True):
        e = torch.exp(a @ b.T / tau)
        losses = []
        for k in range(len(a)):
            if mode == "all":
                losses.append(-torch.log((e[k, k] / e.sum()).clamp(min=1e-8)))
            elif mode == "proper":
                by_column = (e[k, k] / e[:, k].sum()).clamp(min=1e-8)
                by_row = (e[k, k] / e[k].sum()).clamp(min=1e-8)
                losses.append(-torch.log(by_column) - torch.log(by_row))
            else:
                losses.append(-torch.log((e[k, k] ** 2 / (e[k].sum() * e[:, k].sum())).clamp(min=1e-8)))
        rows.append(torch.stack(losses))
    return torch.stack(rows)


@pytest.mark.parametrize("mode", ["all", "proper", "dual"])
@pytest.mark.parametrize("block", [1, 5, 64])
@pytest.mark.parametrize("tau", [0.05, 0.7])
def test_matching_loss_and_gradients(mode: str, block: int, tau: float) -> None:
    d1, d2 = descriptors(13, 1), descriptors(13, 2)
    weights = torch.linspace(0.5, 2, 13, dtype=torch.float64)
    fast, slow = matching_errors(d1, d2, tau, mode, block), slow_matching(d1, d2, tau, mode)  # type: ignore[arg-type]
    torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-10)
    for fixed_second in (True, False):

        def total(x: Tensor, compute: Callable[..., Tensor], second: bool = fixed_second, **options: object) -> Tensor:
            pair = (x, d2) if second else (d1, x)
            return (compute(*pair, tau, mode, **options) * weights).sum()

        at = d1 if fixed_second else d2
        fast_gradient = gradient_of(lambda x, t=total: t(x, matching_errors, block=block), at)
        slow_gradient = gradient_of(lambda x, t=total: t(x, slow_matching), at)
        torch.testing.assert_close(fast_gradient, slow_gradient, rtol=1e-8, atol=1e-9)


def test_perfect_descriptors_lose_nothing_and_random_ones_lose_chance() -> None:
    eye = torch.eye(8, dtype=torch.float64)[None]
    assert float(matching_errors(eye, eye, 0.01).max()) < 1e-6
    same = torch.ones(1, 50, 1, dtype=torch.float64)
    torch.testing.assert_close(matching_errors(same, same), torch.full((1, 50), 2 * math.log(50), dtype=torch.float64))


def test_blocks_never_hold_the_whole_matrix() -> None:
    N, block = 4096, 128
    d1 = descriptors(N, 3, torch.float32)[:1].requires_grad_()
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            out = function(*args, **(kwargs or {}))
            if isinstance(out, Tensor):
                largest = max(largest, out.numel())
            return out

    with Watch():
        matching_errors(d1, d1.detach(), block=block).sum().backward()
    assert largest <= N * block
    assert d1.grad is not None
    assert bool(d1.grad.isfinite().all())


def test_padding_adds_negatives_to_mode_all_only() -> None:
    d1, d2, extra = descriptors(6, 1), descriptors(6, 2), descriptors(9, 3)
    padded = torch.cat((d2, extra), 1)
    e = torch.exp(d1 @ padded.transpose(1, 2) / 0.05)
    expected = -torch.log((e.diagonal(dim1=1, dim2=2) / e.sum((1, 2))[:, None]).clamp(min=1e-8))
    torch.testing.assert_close(matching_errors(d1, padded, mode="all"), expected)
    with pytest.raises(ValueError, match="15 and 6"):
        matching_errors(d1, padded, mode="proper")


def test_shuffled_blocks_keep_correspondences_together() -> None:
    first = torch.arange(24.0).reshape(2, 12, 1)
    blocks, twin = shuffle_into_blocks([first, first * 10], 4, torch.Generator().manual_seed(0))
    assert blocks.shape == (6, 4, 1)
    assert torch.equal(twin, blocks * 10)
    assert torch.equal(blocks.reshape(2, 12).sort(1).values, first[..., 0])
    assert not torch.equal(blocks.reshape(2, 12), first[..., 0])
    with pytest.raises(ValueError, match="multiple"):
        shuffle_into_blocks([first], 5, torch.Generator())


def test_unused_pixels_are_the_first_free_ones() -> None:
    xy = torch.tensor([[[0, 0], [2, 0], [1, 1]]])
    assert unused_pixels(xy, 3, 3, 4).tolist() == [[[1, 0], [0, 1], [2, 1], [0, 2]]]


def test_points_instead_of_descriptors() -> None:
    a, b = descriptors(7, 4)[..., :3], descriptors(7, 5)[..., :3]
    similarity = torch.zeros(2, 7, 7, dtype=torch.float64)
    for n in range(2):
        for i in range(7):
            for j in range(7):
                similarity[n, i, j] = 1 / (1 + (a[n, i] - b[n, j]).norm()) / 0.05
    e = similarity.exp()
    diagonal = e.diagonal(dim1=1, dim2=2)
    expected = -torch.log(diagonal / e.sum(1)) - torch.log(diagonal / e.sum(2))
    torch.testing.assert_close(point_matching_errors(a, b), expected)


@pytest.mark.parametrize(("reduction", "expected"), [("mean", 3.0), ("sum", 6.0), ("1-mean", -2.0)])
def test_reductions_count_matched_ones_only(reduction: str, expected: float) -> None:
    errors, matched = torch.tensor([[1.0, 7.0, 5.0]]), torch.tensor([[True, False, True]])
    assert float(reduce_errors(errors, matched, reduction)) == expected  # type: ignore[arg-type]
    assert reduce_errors(errors, matched, "none").tolist() == [1.0, 5.0]


def slow_factor(points: Tensor, valid: Tensor, mode: str) -> float:
    distances = sorted(float(p.norm()) for p, v in zip(points.reshape(-1, 3), valid.flatten(), strict=True) if v)
    if mode == "median_dis":
        return distances[(len(distances) - 1) // 2]
    transform = {"avg_dis": lambda d: d, "avg_log1p": math.log1p, "avg_warp-log1p": math.log1p, "sqrt_dis": math.sqrt}[mode]
    mean = sum(transform(d) for d in distances) / (len(distances) + 1e-8)
    return mean**2 if mode == "sqrt_dis" else mean


@pytest.mark.parametrize("mode", NORM_MODES)
def test_norm_factors(mode: str) -> None:
    points, _, valid = maps(5)
    factors = norm_factor(points, valid, mode).flatten()  # type: ignore[arg-type]
    for b in range(B):
        assert float(factors[b]) == pytest.approx(slow_factor(points[b], valid[b], mode), rel=1e-9)
    gradient = gradient_of(lambda p: norm_factor(p, torch.zeros_like(valid), mode).sum(), points)  # type: ignore[arg-type]
    assert float(gradient.abs().max()) == 0  # nothing valid: a constant, not NaN


def slow_regression(predicted: Tensor, truth: Tensor, valid: Tensor, metric: Tensor) -> Tensor:
    out = torch.zeros(valid.shape, dtype=torch.float64)
    for b in range(B):
        count = valid[b].sum() + 1e-8
        n_truth = (truth[b].norm(dim=-1) * valid[b]).sum() / count
        n_predicted = (predicted[b].norm(dim=-1) * valid[b]).sum() / count
        scaled = predicted[b] / (n_truth if metric[b] else n_predicted)
        for index in valid[b].nonzero().tolist():
            out[b][tuple(index)] = (scaled[tuple(index)] - truth[b][tuple(index)] / n_truth).norm()
    return out


def test_regression_follows_the_metric_rule() -> None:
    predicted, truth, valid = maps(6)
    metric = torch.tensor([True, False, True])
    targets = PointTargets(torch.where(valid[..., None], truth, torch.nan), valid, metric)
    error, counts = regression_error(predicted, targets)
    assert torch.equal(counts, valid)

    def differentiable(p: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for b in range(B):
            n = (truth[b].norm(dim=-1) * valid[b]).sum() / valid[b].sum()
            own = (p[b].norm(dim=-1) * valid[b]).sum() / valid[b].sum()
            total = total + ((p[b] / (n if metric[b] else own) - truth[b] / n).norm(dim=-1))[valid[b]].sum()
        return total

    torch.testing.assert_close(error, slow_regression(predicted, truth, valid, metric), rtol=1e-6, atol=1e-8)
    fast = gradient_of(lambda p: regression_error(p, targets)[0].sum(), predicted)
    torch.testing.assert_close(fast, gradient_of(differentiable, predicted), rtol=1e-6, atol=1e-8)
    # A non-metric element does not care for scale, a metric one does.
    bigger, _ = regression_error(predicted * 2, targets)
    torch.testing.assert_close(bigger[1], error[1])
    assert float((bigger[0] - error[0]).abs().max()) > 0.1


def test_far_points_demote_a_metric_element() -> None:
    predicted, truth, valid = maps(7)
    truth[0, 0, 0, 0] = torch.tensor([0.0, 0, 500])
    valid[0, 0, 0, 0] = True
    targets = PointTargets(truth, valid, torch.ones(B, dtype=torch.bool))
    error, _ = regression_error(predicted, targets, RegressionOptions(max_metric_scale=100))
    torch.testing.assert_close(
        error, slow_regression(predicted, truth, valid, torch.tensor([False, True, True])), rtol=1e-6, atol=1e-8
    )


def test_sky_joins_with_a_constant_and_no_gradient() -> None:
    predicted, truth, valid = maps(8)
    sky = ~valid
    targets = PointTargets(truth, valid, torch.ones(B, dtype=torch.bool), sky)
    error, counts = regression_error(predicted, targets)
    assert bool(counts.all())
    assert set(error[sky].tolist()) == {2.0}
    gradient = gradient_of(lambda p: (regression_error(p, targets)[0] * sky).sum(), predicted)
    assert float(gradient.abs().max()) == 0
    error, counts = regression_error(predicted, targets, RegressionOptions(sky_value=0))
    assert torch.equal(counts, valid)


@pytest.mark.parametrize("in_log", [True, "before"])
def test_log_compression(in_log: bool | str) -> None:
    predicted, truth, valid = maps(9)
    valid[:] = True
    targets = PointTargets(truth, valid, torch.ones(B, dtype=torch.bool))
    error, _ = regression_error(predicted, targets, RegressionOptions(in_log=in_log))

    def squeeze(p: Tensor) -> Tensor:
        return p / p.norm(dim=-1, keepdim=True) * torch.log1p(p.norm(dim=-1, keepdim=True))

    target = squeeze(truth) if in_log == "before" else truth
    n = target.norm(dim=-1).mean((1, 2, 3), keepdim=True)[..., None]
    first, second = predicted / n, target / n
    if in_log is True:
        first, second = squeeze(first), squeeze(second)
    torch.testing.assert_close(error, (first - second).norm(dim=-1), rtol=1e-6, atol=1e-8)


def test_confidence_loss_and_its_optimum() -> None:
    generator = torch.Generator().manual_seed(2)
    error = torch.rand(B, 2, H, W, generator=generator, dtype=torch.float64) * 0.15
    counts = torch.rand(B, 2, H, W, generator=generator) < 0.6
    confidence = 1 + torch.rand(B, 2, H, W, generator=generator, dtype=torch.float64)
    expected = 0.0
    for view in range(2):
        values = [
            float(error[b, view, y, x] * confidence[b, view, y, x] - 0.2 * math.log(confidence[b, view, y, x]))
            for b in range(B) for y in range(H) for x in range(W) if counts[b, view, y, x]
        ]  # fmt: skip
        expected += sum(values) / len(values)
    assert float(confidence_loss(error, counts, confidence)) == pytest.approx(expected, rel=1e-12)
    gradient = gradient_of(lambda c: confidence_loss(error, counts, c), 0.2 / error)
    assert float(gradient.abs().max()) < 1e-12  # C = alpha / error is the minimum
    only_second = counts.clone()
    only_second[:, 0] = False
    assert math.isfinite(float(confidence_loss(error, only_second, confidence)))


@pytest.mark.parametrize("product", [False, True])
def test_confidence_matching_loss(product: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    errors, q1, q2 = (torch.rand(2, 9, generator=generator, dtype=torch.float64) + 0.2 for _ in range(3))
    matched = torch.rand(2, 9, generator=generator) < 0.5
    expected, positives = [], []
    for b, k in matched.nonzero().tolist():
        c = float(q1[b, k] * q2[b, k]) if product else float(q1[b, k] + q2[b, k]) / 2
        expected.append(float(errors[b, k]) * c - 10 * math.log(c))
        positives.append(float(errors[b, k]))
    loss = confidence_matching_loss(errors, matched, q1, q2, product=product)
    assert float(loss) == pytest.approx(sum(expected) / len(expected), rel=1e-12)
    v = float(torch.tensor(positives, dtype=torch.float64).quantile(0.5))
    negatives = [v * float(q[b, k]) - 10 * math.log(q[b, k]) for q in (q1, q2) for b, k in (~matched).nonzero().tolist()]
    pushed = confidence_matching_loss(errors, matched, q1, q2, product=product, negative_quantile=0.5)
    count = int((~matched).sum())
    assert float(pushed - loss) == pytest.approx(sum(negatives) / count, rel=1e-9)


def test_no_match_gives_zero_not_nan() -> None:
    nothing = torch.zeros(2, 4, dtype=torch.bool)
    ones = torch.ones(2, 4, requires_grad=True)
    loss = confidence_matching_loss(torch.full((2, 4), 5.0), nothing, ones, ones)
    loss.backward()
    assert float(loss.detach()) == 0
    assert ones.grad is not None
    assert float(ones.grad.abs().max()) == 0


def test_average_precision_is_one_over_rank() -> None:
    d1, d2 = descriptors(11, 6), descriptors(15, 7)
    ap = average_precision(d1, d2, block=4)
    for b in range(2):
        for k in range(11):
            scores = sorted((float(d1[b, k] @ other) for other in d2[b]), reverse=True)
            assert float(ap[b, k]) == pytest.approx(1 / (1 + scores.index(float(d1[b, k] @ d2[b, k]))))


def test_evaluation_removes_shift_and_scale() -> None:
    _, truth, valid = maps(10)
    moved = truth * 3 + torch.tensor([0.0, 0, 7])
    a = remove_depth_shift(moved, valid)
    b = remove_depth_shift(truth * 3, valid)
    torch.testing.assert_close(a, b)
    z = sorted(float(v) for v in truth[0, ..., 2][valid[0]])
    shift = truth[0, 0, 0, 0, 2] - remove_depth_shift(truth, valid)[0, 0, 0, 0, 2]
    assert float(shift) == pytest.approx(z[(len(z) - 1) // 2])
    scaled, same = remove_scale(truth * 5, truth, valid)
    torch.testing.assert_close(scaled, same)
    restored, untouched = remove_scale(truth * 5, truth, valid, gt_scale=True)
    torch.testing.assert_close(restored, truth)
    assert untouched is truth


@pytest.mark.parametrize("error", [1e-6, 1e-3, 0.05])
def test_a_bounded_confidence_settles_at_its_limit_or_at_the_optimum(error: float) -> None:
    """Gradient descent on ln C: with the limit it ends at min(alpha / error, limit), from below and from far above."""
    alpha, limit = 0.4, 20.0
    errors, everywhere = torch.full((1, 2, 1, 1), error), torch.ones(1, 2, 1, 1, dtype=torch.bool)
    for start in (1.0, 500.0):
        raw = torch.full((1, 2, 1, 1), math.log(start), requires_grad=True)
        for _ in range(400):
            (gradient,) = torch.autograd.grad(confidence_loss(errors, everywhere, raw.exp(), alpha, limit), raw)
            with torch.no_grad():
                raw -= (0.5 * gradient).clamp(-0.2, 0.2)
        assert float(raw[0, 0].exp().detach()) == pytest.approx(min(alpha / error, limit), rel=1e-2)


def test_the_limit_leaves_the_errors_gradient_alone() -> None:
    predicted = torch.rand(2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 1e-3
    confidence, matched = torch.full((2, 6), 3.0, dtype=torch.float64), torch.ones(2, 6, dtype=torch.bool)
    free, bounded = (
        gradient_of(lambda e, limit=limit: confidence_matching_loss(e, matched, confidence, confidence, limit=limit), predicted)  # type: ignore[misc]
        for limit in (0.0, 50.0)
    )
    assert torch.equal(free, bounded)
    pull = [
        gradient_of(lambda c, limit=limit: confidence_matching_loss(predicted, matched, c, c, limit=limit), 100 * confidence)  # type: ignore[misc]
        for limit in (0.0, 50.0)
    ]
    assert float(pull[0].max()) < 0 < float(pull[1].min())


def test_reading_between_pixels_is_linear_and_meets_them() -> None:
    y, x = torch.meshgrid(torch.arange(4.0), torch.arange(5.0), indexing="ij")
    ramp = torch.stack((2 * x + 3 * y, x - y), -1)[None].double().requires_grad_()
    xy = torch.tensor([[[0.25, 2.5], [3.999, 0.0], [4.0, 3.0], [1.5, 1.75], [-0.4, 3.4]]], dtype=torch.float64)
    inside = xy.clamp(min=0).minimum(torch.tensor([4.0, 3.0], dtype=torch.float64))
    expected = torch.stack((2 * inside[..., 0] + 3 * inside[..., 1], inside[..., 0] - inside[..., 1]), -1)
    got = sample_pixels(ramp, xy)
    torch.testing.assert_close(got, expected)
    assert torch.equal(sample_pixels(ramp, xy.round().clamp(0, 3)), gather_pixels(ramp, xy.round().clamp(0, 3)))
    (gradient,) = torch.autograd.grad(got[0, 3, 0], ramp)
    assert gradient[0, 1:3, 1:3, 0].flatten().tolist() == pytest.approx([0.125, 0.125, 0.375, 0.375])
