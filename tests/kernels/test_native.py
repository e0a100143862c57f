"""Building, loading and reporting of compiled kernels. A kernel that is not built fails here; it is not skipped."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import mast3r_kernels
from mast3r_kernels import KernelUnavailableError, cuda, native
from mast3r_kernels.build import BuildError, build, main
from mast3r_kernels.native import NATIVE_OPS, NativeOp, Unit, library_folders, library_name, load
from mast3r_kernels.reciprocal_match import ReciprocalSearch, nearest, reciprocal_match, reciprocal_match_pairs
from mast3r_kernels.reciprocal_match.compiled import CompiledSearch
from mast3r_kernels.reciprocal_match.reference import ReferenceSearch
from mast3r_kernels.rope2d import rope2d
from tests.kernels.brute_force import brute_force, unit


def test_every_native_op_is_built_from_the_present_sources() -> None:
    for op in NATIVE_OPS:
        assert any((folder / library_name(op)).exists() for folder in library_folders(op)), f"{op.name}: {native.BUILD_COMMAND}"


def test_status_names_every_op_and_what_it_runs_with() -> None:
    found = {op.name: op for op in mast3r_kernels.status()}
    assert set(found) == {"reciprocal_match", "alignment_normal_equations", "rope2d"}
    for op in NATIVE_OPS:
        assert found[op.name].compiled
        assert found[op.name].reason.startswith("compiled; runs with ")


def test_the_compiled_op_is_what_runs_by_default() -> None:
    a = unit(5, 24, 1)
    assert isinstance(ReciprocalSearch(a, a)._search, CompiledSearch)
    assert isinstance(ReciprocalSearch(a, a, implementation="reference")._search, ReferenceSearch)
    wide = unit(5, 5000, 1)
    assert isinstance(ReciprocalSearch(wide, wide)._search, ReferenceSearch)


def test_a_path_that_cannot_be_had_is_an_error() -> None:
    a, wide = unit(5, 24, 1), unit(5, 5000, 1)
    with pytest.raises(KernelUnavailableError, match=r"no path 'sse9' on this processor; it has .*generic"):
        ReciprocalSearch(a, a, implementation="sse9")
    with pytest.raises(KernelUnavailableError, match="at most 4096 components"):
        ReciprocalSearch(wide, wide, implementation="generic")


def test_without_a_library_the_reference_runs_and_status_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(native, "_loaded", {})
    monkeypatch.setattr(native, "library_folders", lambda op: (tmp_path, tmp_path))
    a, b = unit(30, 24, 1), unit(40, 24, 2)
    assert isinstance(ReciprocalSearch(a, b)._search, ReferenceSearch)
    np.testing.assert_array_equal(nearest(a, b).numpy(), brute_force(a, b))
    with pytest.raises(KernelUnavailableError, match=r"was not built; run: python -m mast3r_kernels\.build"):
        ReciprocalSearch(a, b, implementation="generic")
    state = mast3r_kernels.status()[0]
    assert (state.name, state.compiled) == ("reciprocal_match", False)
    assert "was not built" in state.reason
    (tmp_path / "reciprocal_match.000000000000.so").write_bytes(b"")
    assert "built from other sources" in mast3r_kernels.status()[0].reason
    (tmp_path / library_name(NATIVE_OPS[0])).write_bytes(b"no library")
    assert "cannot be loaded" in mast3r_kernels.status()[0].reason


def test_kernels_that_are_asked_for_and_missing_are_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert mast3r_kernels.require("compiled") == mast3r_kernels.require("auto") == mast3r_kernels.status()
    assert "reciprocal_match: compiled; runs with" in mast3r_kernels.one_line(mast3r_kernels.status())
    monkeypatch.setattr(native, "_loaded", {})
    monkeypatch.setattr(native, "library_folders", lambda op: (tmp_path, tmp_path))
    assert "rope2d: reference (rope2d: it was not built" in mast3r_kernels.one_line(mast3r_kernels.require("auto"))
    with pytest.raises(KernelUnavailableError, match=r"'compiled' were asked for and are missing: reciprocal_match .*; rope2d"):
        mast3r_kernels.require("compiled")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_asked_for_without_a_gpu_is_an_error() -> None:
    with pytest.raises(KernelUnavailableError, match=r"'cuda' were asked for and are missing: a GPU \(torch sees none\)"):
        mast3r_kernels.require("cuda")
    a = unit(5, 24, 1)
    with pytest.raises(KernelUnavailableError, match="cuda was asked for; it takes sets on a GPU of at most 32 components"):
        ReciprocalSearch(a, a, implementation="cuda")
    with pytest.raises(KernelUnavailableError, match="cuda was asked for; it takes float32 or bfloat16 on a GPU"):
        rope2d(torch.zeros(3, 8), torch.ones(3, 4), torch.zeros(3, 4), implementation="cuda")


def test_several_pairs_are_walked_one_after_the_other_without_a_gpu() -> None:
    a, b, starts = torch.stack([unit(20, 6, 1), unit(20, 6, 2)]), torch.stack([unit(30, 6, 3), unit(30, 6, 4)]), torch.arange(20)
    for p, found in enumerate(reciprocal_match_pairs(a, b, starts)):
        for side, expected in zip(found, reciprocal_match(a[p], b[p], starts), strict=True):
            assert torch.equal(side, expected)
    with pytest.raises(KernelUnavailableError, match="cuda was asked for"):
        reciprocal_match_pairs(a, b, starts, implementation="cuda")


def test_cuda_libraries_are_named_for_their_sources_and_asked_for_by_flag(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cuda, "_loaded", {})
    monkeypatch.setattr(native, "cache_folder", lambda: tmp_path)
    assert not cuda.is_built(cuda.ROPE2D) or (cuda.ROPE2D.folder / cuda.library_name(cuda.ROPE2D)).exists()
    (tmp_path / cuda.library_name(cuda.ROPE2D)).write_bytes(b"no library")
    if not list(cuda.ROPE2D.folder.glob("rope2d.cuda.*.so")):
        with pytest.raises(KernelUnavailableError, match=r"rope2d: its CUDA library cannot be loaded .*--cuda"):
            cuda.load(cuda.ROPE2D)
    monkeypatch.setattr("shutil.which", lambda name: None)
    (tmp_path / "built").mkdir()
    assert main(["--cuda", "--compiler", "g++", "--folder", str(tmp_path / "built")]) == 1
    said = capsys.readouterr()
    assert "rope2d (CUDA): nvcc is not on the path; install the CUDA toolkit, or do without --cuda" in said.err


def test_importing_the_package_loads_no_torch_and_no_library() -> None:
    code = "import sys, mast3r_kernels, mast3r_kernels.native as n; print('torch' in sys.modules, n._loaded)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "{}"]


# --- building, on an op of two lines


@pytest.fixture
def small_op(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> NativeOp:
    monkeypatch.setattr(native, "PACKAGE", tmp_path)
    monkeypatch.setattr(native, "_loaded", {})
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "small.cpp").write_text(
        'extern "C" __attribute__((visibility("default"))) int answer() { return 42; }\n'
    )
    return NativeOp("small", (Unit("small.cpp"), Unit("never.cpp", (), ("pdp11",))))


def test_a_build_is_loaded_and_a_change_of_source_asks_for_another(small_op: NativeOp) -> None:
    first = build(small_op)
    assert load(small_op).answer() == 42
    assert build(small_op) == first
    source = small_op.folder / "small.cpp"
    source.write_text(source.read_text().replace("42", "43"))
    native._loaded.clear()
    with pytest.raises(KernelUnavailableError, match="small: its library was built from other sources"):
        load(small_op)
    second = build(small_op)
    assert load(small_op).answer() == 43
    assert second != first
    assert [path.name for path in small_op.folder.glob("*.so")] == [second.name]


def test_a_build_goes_where_it_is_told(small_op: NativeOp, tmp_path: Path) -> None:
    assert build(small_op, folder=tmp_path / "elsewhere").parent == tmp_path / "elsewhere"
    assert not list(small_op.folder.glob("*.so"))


def test_a_failing_build_says_what_the_compiler_said(small_op: NativeOp) -> None:
    (small_op.folder / "small.cpp").write_text("this is no C++\n")
    with pytest.raises(BuildError, match=r"small\.cpp\.o failed:\n(.|\n)*error"):
        build(small_op)
    with pytest.raises(BuildError, match="no-such-compiler cannot be run"):
        build(small_op, compiler="no-such-compiler")
    assert not list(small_op.folder.glob("*.so"))


def test_without_a_compiler_the_error_names_the_remedy(small_op: NativeOp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mast3r_kernels.build.COMPILERS", ("no-such-compiler",))
    with pytest.raises(BuildError, match=r"no C\+\+ compiler among no-such-compiler; install one"):
        build(small_op)


def test_the_command_builds_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--compiler", "no-such-compiler", "--folder", str(tmp_path)]) == 1
    assert "reciprocal_match: no-such-compiler cannot be run" in capsys.readouterr().err
    for op in NATIVE_OPS:
        (tmp_path / library_name(op)).write_bytes(b"there already")
    assert main(["--folder", str(tmp_path)]) == 0
    assert str(tmp_path / library_name(NATIVE_OPS[0])) in capsys.readouterr().out
