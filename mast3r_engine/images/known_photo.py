"""What is known about one photograph's pixels, brought to the network's image: lens, mask, measured depth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mast3r_engine.lens import Lens
from mast3r_engine.priors import DepthPrior, Mask
from mast3r_engine.undistortion import in_original, undistort
from mast3r_engine.view_priors import MeasuredDepth
from mast3r_engine.views import ImageGeometry

OVERSAMPLED = 2  # photographs are undistorted at this multiple of their size at the network, then brought down


def undistort_picture(upright: Image.Image, lens: Lens, geometry: ImageGeometry) -> Image.Image:
    """The photograph of a pinhole, no larger than the network needs it; cropped and resized as the original would be."""
    size = geometry.resized_width * OVERSAMPLED, geometry.resized_height * OVERSAMPLED
    smaller = upright.resize(size, Image.Resampling.LANCZOS) if size[0] < upright.width else upright
    return Image.fromarray(undistort(np.asarray(smaller), lens))


def usable_pixels(
    mask: Mask | None, lens: Lens | None, geometry: ImageGeometry
) -> NDArray[np.bool_] | None:  # (H, W) at the network, None: all
    """Pixels that the mask lets through and the lens saw."""
    distorted = lens is not None and not lens.needs_no_resampling
    if mask is None and not distorted:
        return None
    xy, seen = _original_pixels(lens, geometry)
    return seen if mask is None else seen & _look_up(mask.use, xy)


def depth_at_network(depth: DepthPrior, lens: Lens | None, geometry: ImageGeometry) -> MeasuredDepth:
    """The measured depth of each network pixel, NaN where not known. Undistorting does not turn the camera: z stays z."""
    xy, seen = _original_pixels(lens, geometry)
    at_network = np.where(seen, _look_up(depth.depth, xy), np.nan).astype(np.float32)
    return MeasuredDepth(at_network, depth.sigma, depth.metric)


def _original_pixels(
    lens: Lens | None, geometry: ImageGeometry
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:  # (H, W, 2), (H, W)
    grid = np.stack(np.meshgrid(np.arange(geometry.width), np.arange(geometry.height)), axis=-1).astype(np.float64)
    xy = geometry.to_original(grid)
    if lens is None or lens.needs_no_resampling:
        return xy, np.ones(xy.shape[:2], bool)
    return in_original(xy, lens)


def _look_up(values: NDArray, xy: NDArray[np.float64]) -> NDArray:  # type: ignore[type-arg]  # of the values' own kind
    """The nearest pixel: interpolation would invent depths between a thing and what is behind it."""
    column = np.clip(np.rint(xy[..., 0]).astype(np.int64), 0, values.shape[1] - 1)
    row = np.clip(np.rint(xy[..., 1]).astype(np.int64), 0, values.shape[0] - 1)
    return values[row, column]
