"""Photographs to views: open, turn upright, resize, crop."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mast3r_engine.errors import InvalidImageError
from mast3r_engine.images.decode import decode_upright
from mast3r_engine.images.fit import fit_to_network
from mast3r_engine.images.known_photo import depth_at_network, undistort_picture, usable_pixels
from mast3r_engine.images.source import MAX_PIXELS, ImageSource, name_images, open_image
from mast3r_engine.priors import Priors, check_sizes
from mast3r_engine.views import ImageGeometry, View


def load_view(
    image: ImageSource,
    name: str,
    image_size: int | None,
    patch_size: int,
    square_crop: bool = False,
    max_pixels: int = MAX_PIXELS,
    priors: Priors | None = None,
) -> View:
    """Load one photograph at network size.

    `image`: a path, the file's bytes, an open file, a PIL image or an (H, W, 3) uint8 RGB array; EXIF orientation is applied.
    `image_size`, `square_crop`: see `fit_to_network`. A photograph that has the network's size already is not altered.
    With `priors` that know its lens the view is that of a pinhole; its mask and its measured depth come with it.
    InvalidImageError names the photograph and the remedy; OptionsError when `image_size` does not fit the patch; PriorsError
    when what is known belongs to a photograph of another size.
    """
    upright, facts = decode_upright(open_image(image, name, max_pixels), name)
    geometry = fit_to_network(name, upright.width, upright.height, image_size, patch_size, square_crop)
    priors = priors or Priors()
    camera, mask, depth = priors.camera_of(name), priors.masks.get(name), priors.depths.get(name)  # maps may be read here
    check_sizes(name, (upright.width, upright.height), camera, mask, depth)
    lens = None if camera is None else camera.lens
    if lens is not None and not lens.needs_no_resampling:
        upright = undistort_picture(upright, lens, geometry)
    return View(
        name=name,
        pixels=_resize_and_crop(upright, geometry),
        geometry=geometry,
        exif_orientation=facts.orientation,
        exif_focal=facts.focal_in_pixels(geometry.original_width, geometry.original_height),
        exif_time=facts.time,
        lens=lens,
        usable=usable_pixels(mask, lens, geometry),
        measured_depth=None if depth is None else depth_at_network(depth, lens, geometry),
    )


def load_views(
    images: Sequence[ImageSource],
    image_size: int | None,
    patch_size: int,
    square_crop: bool = False,
    max_pixels: int = MAX_PIXELS,
    on_invalid: Callable[[int, InvalidImageError], None] | None = None,
) -> list[View]:
    """Load photographs in their order, named by `name_images`.

    The first bad photograph raises; with `on_invalid` it is left out instead and `on_invalid(index, error)` is called.
    """
    views = []
    for index, (name, image) in enumerate(zip(name_images(images), images, strict=True)):
        try:
            views.append(load_view(image, name, image_size, patch_size, square_crop, max_pixels))
        except InvalidImageError as error:
            if on_invalid is None:
                raise
            on_invalid(index, error)
    return views


def _resize_and_crop(
    upright: Image.Image,
    geometry: ImageGeometry,
) -> NDArray[np.uint8]:  # (H, W, 3) RGB at network size
    """Resize as published (Lanczos down, bicubic up, 8 bits after each pass), then crop."""
    size = (geometry.resized_width, geometry.resized_height)
    if size != upright.size:
        shrinks = max(size) < max(upright.size)
        upright = upright.resize(size, Image.Resampling.LANCZOS if shrinks else Image.Resampling.BICUBIC)
    box = (geometry.left, geometry.top, geometry.left + geometry.width, geometry.top + geometry.height)
    return np.array(upright.crop(box))
