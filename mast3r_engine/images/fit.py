"""Which resize and which crop bring an upright photograph to a size that the network takes.

The rule is the published one (long edge to `image_size`, centre crop to whole patches, square photographs to 4:3) with one
repair: every side is floored to whole patches, where the published rule for squares gives heights the network refuses
(400 -> 300). Rounding is Python's, half to even.
"""

from __future__ import annotations

from mast3r_engine.errors import InvalidImageError, OptionsError
from mast3r_engine.views import ImageGeometry

LONGEST_OWN_SIDE = 512  # pixels; without an image_size, larger photographs are brought down to it


def fit_to_network(
    name: str,
    width: int,
    height: int,
    image_size: int | None,
    patch_size: int,
    square_crop: bool = False,
) -> ImageGeometry:
    """Choose resize and crop of a photograph of `width` x `height` pixels; `name` is for errors alone.

    `image_size`: the long edge at the network. None keeps the photograph's own size, floored to whole patches, with at most
    512 pixels on the long side. `square_crop`: `image_size` is the SHORT edge and the crop is square (published 224 models).

    OptionsError when `image_size` is no multiple of `patch_size`; InvalidImageError when the photograph is too small or too
    elongated.
    """
    _check_image_size(image_size, patch_size)
    if min(width, height) < patch_size:
        raise InvalidImageError(
            name, f"is {width}x{height} pixels; a photograph needs at least {patch_size} pixels on each side: send the original"
        )
    long_edge = _long_edge(width, height, image_size, patch_size)
    _check_elongation(name, width, height, long_edge, patch_size)
    if square_crop:
        side = long_edge
        return _crop_square(width, height, side, round(side * max(width / height, height / width)))
    return _crop_to_patches(width, height, long_edge, patch_size, square_to_4_3=image_size is not None)


def _check_image_size(image_size: int | None, patch_size: int) -> None:
    if image_size is None or (image_size >= patch_size and image_size % patch_size == 0):
        return
    below = max(image_size // patch_size, 1) * patch_size
    raise OptionsError(
        f"image_size is {image_size}; it must be a multiple of the network's patch of {patch_size} pixels,"
        f" such as {below} or {below + patch_size}"
    )


def _long_edge(width: int, height: int, image_size: int | None, patch_size: int) -> int:
    if image_size is not None:
        return image_size
    return min(max(width, height), LONGEST_OWN_SIDE // patch_size * patch_size)


def _resized(width: int, height: int, long_edge: int) -> tuple[int, int]:
    longest = max(width, height)
    return round(width * long_edge / longest), round(height * long_edge / longest)


def _check_elongation(name: str, width: int, height: int, long_edge: int, patch_size: int) -> None:
    short = min(_resized(width, height, long_edge))
    if short < patch_size:
        ratio = long_edge // patch_size
        raise InvalidImageError(
            name,
            f"is {width}x{height} pixels, too elongated: with a long side of {long_edge} pixels its short side would have {short}"
            f" and the network needs {patch_size}; crop it to at most {ratio} to 1",
        )


def _crop_square(width: int, height: int, side: int, long_edge: int) -> ImageGeometry:
    resized_width, resized_height = _resized(width, height, long_edge)
    left, top = resized_width // 2 - side // 2, resized_height // 2 - side // 2
    return ImageGeometry(width, height, resized_width, resized_height, left, top, side, side)


def _crop_to_patches(width: int, height: int, long_edge: int, patch_size: int, square_to_4_3: bool) -> ImageGeometry:
    resized_width, resized_height = _resized(width, height, long_edge)
    cropped_width = resized_width // patch_size * patch_size
    cropped_height = resized_height // patch_size * patch_size
    if square_to_4_3 and resized_width == resized_height:
        cropped_height = max(3 * cropped_width // 4 // patch_size, 1) * patch_size
    left = resized_width // 2 - cropped_width // 2
    top = resized_height // 2 - cropped_height // 2
    return ImageGeometry(width, height, resized_width, resized_height, left, top, cropped_width, cropped_height)
