"""How much memory a job will need at its peak, told before it starts."""

from __future__ import annotations

from mast3r_engine.inference import BYTES_PER_PIXEL, CPU_BATCH, TOKEN_BUDGET

# Bytes per pixel of each photograph, counted from the arrays that are alive at once.
PHOTO = 3
TOKENS = 16  # ViT-L: 1,024 float32 for a patch of 256 pixels
OPEN_CANONICAL = 56  # seven float64 sums
CANONICAL = 24  # points, confidence, offset, aligned depth
FUSION = 130  # the cloud twice, voxel keys, their order and the sums
PER_PAIR = 2  # matches, at the grid of every eighth pixel
PER_MATCHED_PIXEL = 400  # descriptors of both passes, summing up and searching, of the batch at hand


def estimate_peak_memory(images: int, size: tuple[int, int], pairs: int, batch_pixels: int = CPU_BATCH) -> int:
    """Bytes that a job with `images` photographs of `size` (height, width) needs beside program and weights.

    An upper estimate for ViT-L in float32 on a CPU. On a GPU the passes' share, BYTES_PER_PIXEL x `batch_pixels`, lies there.
    """
    pixels = size[0] * size[1]
    batch = max(4 * pixels, batch_pixels)  # both passes of a pair at least
    tokens = min(TOKENS * pixels * images, max(TOKEN_BUDGET, TOKENS * pixels * images // 2))
    decoding = (PHOTO + OPEN_CANONICAL) * pixels * images + tokens + (BYTES_PER_PIXEL + PER_MATCHED_PIXEL) * batch
    fusing = (PHOTO + CANONICAL + FUSION) * pixels * images
    return max(decoding, fusing) + PER_PAIR * pixels * pairs
