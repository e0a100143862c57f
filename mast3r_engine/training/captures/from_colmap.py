"""A COLMAP model with depth maps becomes a capture: `cameras.json`, the photographs, their depth."""

from __future__ import annotations

import importlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mast3r_engine.errors import TrainingError
from mast3r_engine.training.captures.frames import INDEX

SUFFIXES = (".png", ".npy", ".geometric.bin", ".photometric.bin")  # in the order in which they are taken
HALF_PIXEL = 0.5  # COLMAP's pixels begin at the corner of the first one, a capture's at its centre
SAME_ASPECT = 0.02  # relative difference of the two shapes that rounding to the network's size explains


@dataclass
class Conversion:
    """What became of a model's images."""

    frames: int = 0
    skipped: Counter[str] = field(default_factory=Counter)  # by reason


@dataclass(frozen=True)
class ColmapFolders:
    """Where the parts of a COLMAP workspace lie."""

    model: Path  # cameras, images, points3D as .bin or .txt
    photographs: Path  # undistorted, named as in the model
    depth: Path  # NAME.png, NAME.npy or COLMAP's NAME.geometric.bin; NAME with or without the photograph's own suffix


def convert_colmap(folders: ColmapFolders, out: Path, depth_scale: float = 0.001, metric: bool = False) -> Conversion:
    """Write `out/cameras.json`, `out/images` and `out/depth`; images without a pose, photograph or depth are left out, counted.

    `depth_scale` is the model's unit per step of the PNGs; the other kinds hold the unit itself. TrainingError if the model
    cannot be read or nothing is left. `cameras.json` is written last, so that an interrupted conversion is no capture.
    """
    model = _read_model(folders.model)
    found, entries = Conversion(), []
    out.mkdir(parents=True, exist_ok=True)
    for name, camera, cam2world in _posed(model):
        try:
            entries.append(_convert_image(name, camera, cam2world, folders, out, depth_scale))
        except (TrainingError, OSError, ValueError) as error:
            found.skipped[str(error)] += 1
    if len(entries) < 2:
        reasons = "; ".join(reason for reason, _ in found.skipped.most_common(3)) or "no image has a pose"
        raise TrainingError(f"colmap: {len(entries)} usable images in {folders.model.name}; a capture needs two ({reasons})")
    index = {"metric": metric, "depth_scale": 1.0, "images": entries}
    partial = out / f"{INDEX}.partial"
    partial.write_text(json.dumps(index, indent=1, allow_nan=False))
    partial.replace(out / INDEX)
    found.frames = len(entries)
    return found


def _read_model(folder: Path) -> Any:
    try:
        pycolmap = importlib.import_module("pycolmap")
    except ImportError as error:
        raise TrainingError("converting COLMAP models needs pycolmap; pip install pycolmap") from error
    try:
        return pycolmap.Reconstruction(str(folder))
    except (ValueError, RuntimeError, OSError) as error:
        raise TrainingError(
            f"colmap: {folder.name} holds no model that can be read (cameras, images, points3D as .bin or .txt): "
            f"{str(error).splitlines()[0]}"
        ) from error


def _posed(model: Any) -> Iterator[tuple[str, Any, NDArray[np.float64]]]:
    for image in sorted((image for image in model.images.values() if image.has_pose), key=lambda image: image.name):
        world2cam = np.vstack((image.cam_from_world().matrix(), [0, 0, 0, 1]))
        yield image.name, model.cameras[image.camera_id], np.linalg.inv(world2cam)


def _convert_image(
    name: str, camera: Any, cam2world: NDArray[np.float64], folders: ColmapFolders, out: Path, depth_scale: float
) -> dict[str, Any]:
    model = camera.model.name
    if model not in ("PINHOLE", "SIMPLE_PINHOLE"):
        raise TrainingError(f"camera model {model} has a lens; run `colmap image_undistorter` first")
    photo = folders.photographs / name
    if ".." in Path(name).parts or Path(name).is_absolute():
        raise TrainingError(f"{name!r} leads out of the folder of photographs")
    width, height = _photo_size(photo)
    if (width, height) != (camera.width, camera.height):
        raise TrainingError(f"{name} is {width}x{height}; its camera is for {camera.width}x{camera.height}")
    depth = _read_depth(_find_depth(folders.depth, name), depth_scale)
    if abs(depth.shape[1] * height / (depth.shape[0] * width) - 1) > SAME_ASPECT:
        raise TrainingError(f"depth of {name} is {depth.shape[1]}x{depth.shape[0]}; it must have the photograph's shape")
    depth = _enlarge(depth, height, width)
    image_file, depth_file = Path("images") / name, Path("depth") / f"{name}.npy"
    for file in (image_file, depth_file):
        (out / file).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(photo, out / image_file)
    np.save(out / depth_file, depth)
    return {
        "file": image_file.as_posix(), "width": width, "height": height,
        "fx": camera.focal_length_x, "fy": camera.focal_length_y,
        "cx": camera.principal_point_x - HALF_PIXEL, "cy": camera.principal_point_y - HALF_PIXEL,
        "cam2world": cam2world.tolist(), "depth": depth_file.as_posix(),
    }  # fmt: skip


def _photo_size(photo: Path) -> tuple[int, int]:
    try:
        with Image.open(photo) as opened:
            return opened.size
    except (OSError, UnidentifiedImageError) as error:
        raise TrainingError(f"photograph {photo.name} is missing or cannot be read") from error


def _find_depth(folder: Path, name: str) -> Path:
    for stem in (name, str(Path(name).with_suffix(""))):
        for suffix in SUFFIXES:
            if (folder / (stem + suffix)).is_file():
                return folder / (stem + suffix)
    raise TrainingError(f"no depth map of {name}")


def _read_depth(file: Path, depth_scale: float) -> NDArray[np.float32]:  # (h, w), 0 where unknown
    depth: NDArray[np.floating[Any]]
    if file.suffix == ".bin":
        depth = _read_colmap_map(file)
    elif file.suffix == ".npy":
        depth = np.load(file, allow_pickle=False)
    else:
        depth = np.asarray(Image.open(file)) * np.float64(depth_scale)
    if depth.ndim != 2:
        raise TrainingError(f"depth {file.name} has {depth.ndim} dimensions; it must be a map")
    known = np.isfinite(depth) & (depth > 0)
    if not known.any():
        raise TrainingError(f"depth {file.name} knows no pixel")
    return np.where(known, depth, 0).astype(np.float32)


def _read_colmap_map(file: Path) -> NDArray[np.float32]:
    """`width&height&channels&` in ASCII, then float32, columns fastest within a row: https://colmap.github.io/format.html."""
    content = file.read_bytes()
    parts = content.split(b"&", 3)
    try:
        width, height, channels = (int(part) for part in parts[:3])
        values: NDArray[np.float32] = np.frombuffer(parts[3], "<f4").reshape(channels, height, width)[0]
    except (ValueError, IndexError) as error:
        raise TrainingError(f"depth {file.name} is no COLMAP map: {error}") from error
    return values


def _enlarge(depth: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """To the photograph's size, each pixel the nearest value."""
    return np.asarray(Image.fromarray(depth).resize((width, height), Image.Resampling.NEAREST))
