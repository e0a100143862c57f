"""Every prior on the noisy oracle: what a right one brings, and that a wrong one is told and bends nothing."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from mast3r_engine.alignment import reprojection_stage
from mast3r_engine.alignment.camera_state import CameraState
from mast3r_engine.alignment.known_cameras import KnownCameras
from mast3r_engine.alignment.similarity import rotation_exp
from mast3r_engine.evaluation.oracle import OracleNoise
from mast3r_engine.view_priors import MeasuredDepth, ViewPriors
from mast3r_kernels.alignment_normal_equations import alignment_normal_equations
from tests.engine.prior_scene import PriorScene, prior_scene, told

N = 5
WRONG = 2  # the view whose prior is wrong in every test of a wrong one


@pytest.fixture(scope="module")
def noisy() -> PriorScene:
    return prior_scene(N)


@pytest.fixture(scope="module")
def without(noisy: PriorScene) -> tuple[float, float, float]:
    """ATE, rotation and largest focal error without priors."""
    found = noisy.align()
    return noisy.ate(found), noisy.rotation_error(found), focal_error(noisy, found.intrinsics)


def focal_error(scene: PriorScene, K: np.ndarray) -> float:
    return float(np.abs(K[:, 0, 0] / scene.focals - 1).max())


def cameras(scene: PriorScene, factor: np.ndarray, sigma: float) -> ViewPriors:
    return replace(scene.none, focal=scene.focals * factor, focal_sigma=np.full(N, sigma))


def poses(scene: PriorScene, moved: dict[int, np.ndarray] | None = None, sigma: float = 0.0) -> ViewPriors:
    """Pose priors in a frame of the user's own; `moved` are metres added to some."""
    given = scene.poses
    for k, shift in (moved or {}).items():
        given[k, :3, 3] += shift
    covariance = np.tile(np.diag([sigma**2] * 3 + [(sigma / 2) ** 2] * 3), (N, 1, 1))
    return replace(scene.none, pose=given, pose_covariance=covariance)


def measured(scene: PriorScene, factor: dict[int, float] | None = None, views: range = range(N)) -> ViewPriors:
    rng = np.random.default_rng(3)
    depths: list[MeasuredDepth | None] = [None] * N
    for k in views:
        depth = scene.scene.views[k].depth * np.exp(0.005 * rng.standard_normal(scene.scene.views[k].depth.shape))
        depths[k] = MeasuredDepth((depth * (factor or {}).get(k, 1.0)).astype(np.float32), 0.01, metric=True)
    return replace(scene.none, depth=depths)


# --- the terms themselves


def random_terms(*, posed: bool = True) -> tuple[KnownCameras, CameraState]:
    rng = np.random.default_rng(1)
    A = rng.standard_normal((N, 6, 6)) * 0.3
    views = replace(
        ViewPriors.none(N),
        focal=np.array([100, np.nan, 110, 120, 130.0]),
        focal_sigma=np.array([0.02, np.nan, 0.1, 0.0, np.inf]),
        pose=np.tile(np.eye(4), (N, 1, 1)),
        pose_covariance=A @ np.swapaxes(A, 1, 2) + 0.01 * np.eye(6),
        position=rng.standard_normal((N, 3)),
        position_sigma=np.full((N, 3), [0.1, 0.2, 0.4]),
        gravity=rng.standard_normal((N, 3)),
    )
    views.pose[3 if posed else 0 :] = np.nan
    state = CameraState(
        rotation=rotation_exp(0.5 * rng.standard_normal((N, 3))),
        centre=rng.standard_normal((N, 3)),
        log_focal=np.log(115.0) + 0.05 * rng.standard_normal(N),
        principal_shift=np.zeros((N, 2)),
        log_size=np.zeros(N),
        log_depth=np.zeros(3),
        first_log_size=np.zeros(N),
    )
    return KnownCameras(views, True), state


@pytest.mark.parametrize("posed", [True, False])  # gravity counts beside positions alone
def test_the_terms_gradient_is_that_of_their_cost(posed: bool) -> None:
    known, state = random_terms(posed=posed)
    H, g = np.zeros((N, N, 10, 10)), np.zeros((N, 10))
    known.add_to(H, g, state)
    for k in range(N):
        for column in range(7):
            step = np.zeros((N, 10))
            step[k, column] = 1e-6

            def cost(sign: float, step: np.ndarray = step) -> float:
                moved = sign * step
                return known.cost(
                    replace(
                        state,
                        rotation=state.rotation @ rotation_exp(moved[:, :3]),
                        centre=state.centre + np.einsum("nab,nb->na", state.rotation, moved[:, 3:6]),
                        log_focal=state.log_focal + moved[:, 6],
                    )
                )

            assert g[k, column] == pytest.approx((cost(1) - cost(-1)) / 2e-6, rel=1e-5, abs=1e-5)
    assert (np.abs(g[:3, :6]) > 0).all()
    assert (np.abs(g[3:, 3:6]) > 0).all()  # positions
    assert (g[[1, 3, 4], 6] == 0).all()  # unknown, held, only a start


def test_a_held_view_leads_its_camera() -> None:
    known, _ = random_terms()
    shared = replace(known, views=replace(known.views, camera=np.array([0, 1, 1, 1, 4])))
    assert shared.leaders.tolist() == [0, 3, 3, 3, 4]


# --- intrinsics


def test_fixed_cameras_stay_and_help(noisy: PriorScene, without: tuple[float, float, float]) -> None:
    found = noisy.align(cameras(noisy, np.ones(N), 0.0))
    np.testing.assert_allclose(found.intrinsics[:, 0, 0], noisy.focals, rtol=1e-12)
    assert noisy.rotation_error(found) < 0.8 * without[1]
    assert found.stats["contradictions"] == []


def test_a_wrong_fixed_camera_is_obeyed_and_told(noisy: PriorScene) -> None:
    factor = np.where(np.arange(N) == WRONG, 1.1, 1.0)
    found = noisy.align(cameras(noisy, factor, 0.0))
    assert found.intrinsics[WRONG, 0, 0] == pytest.approx(1.1 * noisy.focals[WRONG])
    (message,) = told(found, WRONG, "camera")
    assert "the photographs ask for one that is -" in message


def test_camera_priors_pull_and_a_wrong_one_is_dropped(noisy: PriorScene, without: tuple[float, float, float]) -> None:
    right = noisy.align(cameras(noisy, np.ones(N), 0.002))
    assert focal_error(noisy, right.intrinsics) < 0.6 * without[2]
    wrong = noisy.align(cameras(noisy, np.where(np.arange(N) == WRONG, 1.3, 1.0), 0.002))
    assert focal_error(noisy, wrong.intrinsics) < 1.2 * without[2]
    assert noisy.ate(wrong) < 1.2 * without[0]
    (message,) = told(wrong, WRONG, "camera")
    assert "-22.9 %" in message  # 1 / 1.3, and 0.2 % of error
    assert all(told(wrong, k, "camera") == [] for k in range(N) if k != WRONG)


def test_a_refined_camera_is_a_start_and_no_more(noisy: PriorScene) -> None:
    plain = noisy.align()
    found = noisy.align(cameras(noisy, np.full(N, 1.05), np.inf))
    np.testing.assert_allclose(found.intrinsics[:, 0, 0], plain.intrinsics[:, 0, 0], rtol=2e-3)


def test_views_of_one_camera_keep_one_focal_length_across_sizes(noisy: PriorScene) -> None:
    zoom = np.array([1.0, 1.0, 0.5, 1.0, 1.0])
    found = noisy.align(replace(noisy.none, camera=np.array([0, 0, 2, 2, 4]), zoom=zoom))
    f = found.intrinsics[:, 0, 0] / zoom
    assert f[0] == pytest.approx(f[1], rel=1e-12)
    assert f[2] == pytest.approx(f[3], rel=1e-12)
    assert abs(f[0] / f[4] - 1) > 1e-4


def test_a_stranger_among_the_photographs_of_one_camera_is_told() -> None:
    exact = prior_scene(N, noise=OracleNoise.none())  # every view has a focal length of its own
    found = exact.align(replace(exact.none, camera=np.zeros(N, np.int64)))
    asked = {c["view"]: c["message"] for c in found.stats["contradictions"]}
    strangest = int(np.argmax(np.abs(np.log(exact.focals / found.intrinsics[0, 0, 0]))))
    assert "that of the other photographs of its camera" in asked[strangest]


def test_a_known_principal_point_is_used_and_refined_only_where_allowed() -> None:
    exact = prior_scene(3, noise=OracleNoise.none())
    centre = np.array([55.5, 39.5])
    off = np.tile(centre + [3.0, -2.0], (3, 1))
    focal = {"focal": exact.focals, "focal_sigma": np.full(3, 0.01), "principal_point": off}
    held = exact.align(replace(exact.none, **focal))
    np.testing.assert_allclose(held.intrinsics[:, :2, 2], off)
    freed = exact.align(replace(exact.none, **focal, principal_sigma=np.full(3, 3.0)))
    assert np.linalg.norm(freed.intrinsics[:, :2, 2] - centre, axis=1).mean() < 0.7 * np.linalg.norm(off[0] - centre)


def test_priors_hold_with_the_reference_kernel_too(noisy: PriorScene, monkeypatch: pytest.MonkeyPatch) -> None:
    views = replace(cameras(noisy, np.ones(N), 0.002), principal_point=np.tile([55.0, 40.0], (N, 1)), principal_sigma=np.ones(N))
    views = replace(views, pose=poses(noisy).pose, pose_covariance=poses(noisy, sigma=0.02).pose_covariance)
    first = noisy.align(views)
    reference = partial(alignment_normal_equations, implementation="reference")
    monkeypatch.setattr(reprojection_stage, "alignment_normal_equations", reference)
    second = noisy.align(views)
    np.testing.assert_allclose(second.cam2world, first.cam2world, atol=1e-7)
    np.testing.assert_allclose(second.intrinsics, first.intrinsics, rtol=1e-7)


# --- poses and positions


def test_fixed_poses_are_kept_in_the_users_frame(noisy: PriorScene) -> None:
    found = noisy.align(poses(noisy))
    np.testing.assert_allclose(found.cam2world, noisy.poses, atol=1e-12)
    assert found.given_component == 0
    assert found.in_given_unit
    assert found.stats["contradictions"] == []
    plain = noisy.align()
    error = [np.median([np.median(np.abs(d / v.depth - 1)) for d, v in zip(f.depth, noisy.scene.views)]) for f in (found, plain)]
    assert error[0] < 0.8 * error[1]


def test_poses_of_some_views_place_the_others(noisy: PriorScene) -> None:
    some = poses(noisy)
    some.pose[[1, 3]] = np.nan
    found = noisy.align(some)
    assert noisy.offset(found) < 0.01
    assert noisy.turn(found) < 0.2


def test_one_pose_gives_the_frame_but_not_the_size(noisy: PriorScene) -> None:
    one = poses(noisy)
    one.pose[np.arange(N) != WRONG] = np.nan
    found = noisy.align(one)
    np.testing.assert_allclose(found.cam2world[WRONG], noisy.poses[WRONG], atol=1e-9)
    assert found.given_component == 0
    assert not found.in_given_unit
    assert noisy.turn(found) < 1.0


def test_the_users_unit_comes_out_of_a_network_without_one(noisy: PriorScene) -> None:
    large = poses(noisy)
    large.pose[:, :3, 3] *= 40.0
    found = noisy.align(large, metric=False)
    np.testing.assert_allclose(found.cam2world, large.pose, atol=1e-9)
    assert np.median([np.median(d / v.depth) for d, v in zip(found.depth, noisy.scene.views)]) == pytest.approx(40, rel=0.01)


def test_uncertain_poses_are_improved_and_a_wrong_one_is_dropped(noisy: PriorScene) -> None:
    rng = np.random.default_rng(0)
    noise = {k: 0.03 * rng.standard_normal(3) for k in range(N)}
    given = float(np.sqrt(np.mean([(v**2).sum() for v in noise.values()])))
    right = noisy.align(poses(noisy, noise, sigma=0.03))
    assert noisy.offset(right) < 0.7 * given
    wrong = noisy.align(poses(noisy, {**noise, WRONG: np.array([0.8, 0, 0])}, sigma=0.03))
    assert noisy.offset(wrong) < given
    (message,) = told(wrong, WRONG, "pose")
    assert "m and" in message
    assert len(wrong.stats["contradictions"]) == 1


def test_a_wrong_fixed_pose_is_obeyed_and_told(noisy: PriorScene) -> None:
    given = poses(noisy, {WRONG: np.array([0.6, 0, 0])})
    found = noisy.align(given)
    registered = found.component >= 0
    np.testing.assert_allclose(found.cam2world[registered], given.pose[registered], atol=1e-12)
    (message,) = told(found, WRONG, "pose")
    assert message.startswith("its fixed pose is 0.")


def test_positions_give_a_frame_and_a_wrong_one_is_dropped(noisy: PriorScene) -> None:
    rng = np.random.default_rng(7)
    at = noisy.poses[:, :3, 3] + 0.02 * rng.standard_normal((N, 3))
    priors = replace(noisy.none, position=at, position_sigma=np.full((N, 3), 0.02))
    right = noisy.align(priors)
    assert right.given_component == 0
    assert noisy.offset(right) < 0.04
    assert noisy.turn(right) < 3.0
    priors.position[WRONG] += [2.0, 0.0, 1.0]
    wrong = noisy.align(priors)
    assert noisy.offset(wrong) < 0.08
    (message,) = told(wrong, WRONG, "position")
    assert "2.2" in message  # metres


def test_positions_on_a_line_are_told_to_be_useless(noisy: PriorScene) -> None:
    line = np.linspace([0, 0, 0], [4, 0, 0], N)
    found = noisy.align(replace(noisy.none, position=line, position_sigma=np.full((N, 3), 0.1)))
    assert found.given_component == -1
    assert "on a line" in told(found, -1, "position")[0]


def test_gravity_orients_what_positions_on_a_line_leave_open() -> None:
    """A walk along a line: the room's own axes as east, north and up, every second accelerometer a degree off."""
    scene = prior_scene(N)
    to_enu = np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])  # x right, y down, z forward -> x east, y north, z up
    truth = scene.poses
    truth[:, :3] = to_enu @ truth[:, :3]
    line = truth[:, :3, 3] * [1.0, 0.0, 0.0]  # what is known of the places: x alone, the rest within metres
    down = np.einsum("kba,b->ka", scene.poses[:, :3, :3], [0.0, 1.0, 0.0])
    down[::2] = down[::2] @ rotation_exp(np.array([0.017, 0, 0])).T
    sigma = np.tile([0.01, 3.0, 3.0], (N, 1))
    found = scene.align(replace(scene.none, position=line, position_sigma=sigma, gravity=down))
    assert found.given_component == 0
    found_down = np.einsum("kab,kb->ka", found.cam2world[:, :3, :3], np.einsum("kba,b->ka", truth[:, :3, :3], [0, 0, -1.0]))
    assert np.degrees(np.arccos(np.clip(found_down @ [0, 0, -1.0], -1, 1))).max() < 1.5
    open_without = scene.align(replace(scene.none, position=line, position_sigma=sigma))
    assert open_without.given_component == -1


def test_components_in_one_frame_are_one() -> None:
    """Two groups that no pair connects; poses put both where they belong."""
    whole = prior_scene(6)
    split = replace(whole, matches=[m for m in whole.matches if (m.i < 3) == (m.j < 3)])
    assert split.align().component.tolist() == [0, 0, 0, 1, 1, 1]
    found = split.align(replace(split.none, pose=split.poses))
    assert found.component.tolist() == [0] * 6
    np.testing.assert_allclose(found.cam2world, split.poses, atol=1e-12)


def test_dense_alignment_knows_cameras_and_poses() -> None:
    scene = prior_scene(4, dense=True)
    found = scene.align_densely(replace(scene.none, pose=scene.poses, focal=scene.focals, focal_sigma=np.zeros(4)))
    np.testing.assert_allclose(found.cam2world, scene.poses, atol=1e-12)
    np.testing.assert_allclose(found.intrinsics[:, 0, 0], scene.focals)


# --- depth maps


def depth_error(scene: PriorScene, depth: list[np.ndarray]) -> float:
    return float(np.median([np.median(np.abs(d / v.depth - 1)) for d, v in zip(depth, scene.scene.views)]))


def test_measured_depths_give_scale_and_shape() -> None:
    weak = prior_scene(3, arc=8.0)  # hardly any parallax: matches say little about depths
    plain = weak.align()
    depths = [MeasuredDepth(v.depth.astype(np.float32), 0.01, metric=True) for v in weak.scene.views]
    known = weak.align(replace(weak.none, depth=depths))
    assert depth_error(weak, known.depth) < 0.5 * depth_error(weak, plain.depth)
    assert weak.rotation_error(known) < weak.rotation_error(plain)
    assert known.in_given_unit
    assert known.stats["contradictions"] == []


def test_depths_without_a_unit_change_the_shape_alone(noisy: PriorScene) -> None:
    depths = [MeasuredDepth((3.0 * v.depth).astype(np.float32), 0.01, metric=False) for v in noisy.scene.views]
    found = noisy.align(replace(noisy.none, depth=depths))
    assert not found.in_given_unit
    assert depth_error(noisy, found.depth) < 0.05


def test_a_depth_map_of_another_scale_is_told(noisy: PriorScene) -> None:
    right = noisy.align(measured(noisy))
    found = noisy.align(measured(noisy, {WRONG: 1.4}))
    (message,) = told(found, WRONG, "depth")
    assert "+40 %" in message
    assert depth_error(noisy, found.depth) == pytest.approx(depth_error(noisy, right.depth), rel=0.2)


def test_a_depth_map_of_something_else_is_left_out(noisy: PriorScene) -> None:
    priors = measured(noisy)
    other = np.random.default_rng(0).uniform(1, 6, noisy.scene.views[WRONG].depth.shape).astype(np.float32)
    priors.depth[WRONG] = MeasuredDepth(other, 0.01, metric=True)
    found = noisy.align(priors)
    (message,) = told(found, WRONG, "depth")
    assert message.startswith("its depth map was left out")
    assert noisy.ate(found) < 1.3 * noisy.ate(noisy.align(measured(noisy)))


def test_measured_depths_of_some_pixels_help_their_neighbours() -> None:
    weak = prior_scene(3, arc=8.0)
    known = [np.where(np.arange(112) < 48, v.depth, np.nan).astype(np.float32) for v in weak.scene.views]
    found = weak.align(replace(weak.none, depth=[MeasuredDepth(depth, 0.01, metric=True) for depth in known]))

    def beside(depth: list[np.ndarray]) -> float:
        return float(np.mean([np.median(np.abs(d / v.depth - 1)[:, 48:72]) for d, v in zip(depth, weak.scene.views)]))

    assert beside(found.depth) < 0.9 * beside(weak.align().depth)
