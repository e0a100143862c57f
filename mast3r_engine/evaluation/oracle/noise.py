"""The oracle's errors: how a network's predictions and matches deviate from exact geometry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import zoom

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class OracleNoise:
    """Standard deviations of all error sources; zero everywhere (`OracleNoise.none()`) gives exact geometry."""

    depth: float = 0.02  # smooth relative depth error; half of its variance belongs to the image, half to each prediction
    scale: float = 0.02  # global relative scale of each prediction
    focal: float = 0.01  # relative stretch of x and y against z; half belongs to the image, half to each prediction
    rotation_degrees: float = 0.4  # pose error of the second view's points
    pixel: float = 0.5  # matched pixels, before rounding to integers
    wide_fraction: float = 0.12  # matches with four times that error
    outlier_fraction: float = 0.03  # matches that are anywhere
    confidence: float = 0.4  # log-normal scatter of confidences around what the error deserves
    descriptor: float = 0.004  # each component of a descriptor
    occluded: float = 3.0  # factor on the depth error of pixels that the first view does not see

    @classmethod
    def none(cls) -> OracleNoise:
        """Exact geometry and exact (though integer) matches."""
        return cls(0, 0, 0, 0, 0, 0, 0, 0, 0, 1)


def smooth_field(rng: np.random.Generator, height: int, width: int, cells: int = 5) -> Floats:  # (H, W)
    """Low-frequency random field of zero mean and unit variance; about `cells` bumps along the longer side."""
    rows = max(3, round(cells * height / max(height, width)))
    columns = max(3, round(cells * width / max(height, width)))
    coarse = rng.standard_normal((rows + 1, columns + 1))
    field: Floats = zoom(coarse, (height / (rows + 1), width / (columns + 1)), order=3, mode="nearest", grid_mode=True)
    centred = field - field.mean()
    unit: Floats = centred / max(float(centred.std()), 1e-12)
    return unit


def shared_noise(
    seed: int,
    first: int,
    second: int,
    kind: int,
    height: int,
    width: int,
    sigma: float,
) -> Floats:  # (H, W)
    """Smooth noise of view `first` in its prediction with `second`: half the variance is the same for every partner."""
    own = smooth_field(np.random.default_rng([seed, 301, kind, first]), height, width)
    with_partner = smooth_field(np.random.default_rng([seed, 302, kind, first, second]), height, width)
    noise: Floats = sigma * np.sqrt(0.5) * (own + with_partner)
    return noise
