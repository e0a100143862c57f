"""The benchmarks' baselines compute what they claim to, and their tables come out, on a tiny network."""

from __future__ import annotations

import pytest
import torch

from benchmarks import bench_job, bench_network
from benchmarks.bench_network import BFLOAT16, EAGER, FLOAT32, SMALL, StageSeconds, make_images
from benchmarks.eager_forward import eager_pair
from mast3r_engine.network import build_network
from tests.engine.tiny_networks import DPT, LINEAR, MAST3R


@pytest.mark.parametrize("config", [LINEAR, DPT, MAST3R, SMALL], ids=["linear", "dpt", "mast3r", "small"])
def test_the_eager_forward_is_the_networks(config: dict[str, object]) -> None:
    net = build_network(config)
    a, b = make_images((64, 48))
    b = b[..., :32, :]  # the views may differ in size
    with torch.inference_mode():
        for found, right in zip(eager_pair(net, a, b), net(a, b), strict=True):
            for name in ("pts3d", "conf", "desc", "desc_conf"):
                x, y = getattr(found, name), getattr(right, name)
                assert (x is None) == (y is None), name
                if y is not None:
                    torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


def test_a_pair_carries_its_share_of_encodings() -> None:
    assert StageSeconds.of(EAGER, 4.0, 2.0, 1.0, photos=10).pair == 2 * 4.0 + 2.0 + 1.0
    assert StageSeconds.of(FLOAT32, 4.0, 2.0, 1.0, photos=5).pair == 4.0 / 4 + 2.0 + 1.0


def test_every_contender_is_timed_and_peaks() -> None:
    times = bench_network.measure(SMALL, (64, 48), rounds=2, photos=10)
    for variant in (EAGER, FLOAT32, BFLOAT16):
        assert len(times[variant].wall) == len(times[variant].cpu) == 2
        assert all(t.encode > 0 and t.decode > 0 and t.pair > t.decode for t in times[variant].wall)
    assert bench_network.pair_ratio(times[EAGER].wall, times[EAGER].wall) == 1.0
    assert bench_network.measure_peak(SMALL, FLOAT32, (256, 192), torch.get_num_threads()) > 0.5


def test_the_job_is_timed_in_parts_and_as_a_whole(capsys: pytest.CaptureFixture[str]) -> None:
    bench_job.main(["--small", "--photos", "3", "--size", "128x96", "--rounds", "1", "--threads", str(torch.get_num_threads())])
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ours") or line.startswith("| published")]
    jobs = [f"ours, whole job, directions={directions}" for directions in ("both", "one")]
    assert [row.split("|")[1].strip() for row in rows] == ["published way", "ours, parts", *jobs]
    published, ours, *_ = ([cell.strip() for cell in row.strip("| ").split("|")] for row in rows)
    assert float(published[6]) == 1.0
    assert sum(map(float, published[1:4])) == pytest.approx(float(published[4]), abs=0.02)
    assert float(ours[6]) > 1.0
