#include "packed_set.h"

#include <math.h>

#include "../parallel.h"

namespace reciprocal_match {
namespace {

constexpr int64_t SIDE = 8; // pixels of a tile's side

// Sets that are no image, or too flat for square tiles, are cut into runs.
bool is_square(int64_t rows, int64_t width) { return width >= SIDE && rows % width == 0 && rows / width >= SIDE; }

int64_t count_tiles(int64_t rows, int64_t width) {
  if (!is_square(rows, width)) return (rows + TILE - 1) / TILE;
  const int64_t height = rows / width;
  return ((width + SIDE - 1) / SIDE) * ((height + SIDE - 1) / SIDE);
}

void index_run(int32_t *index, int64_t t, int64_t rows) {
  for (int64_t r = 0; r < TILE; ++r) index[r] = (int32_t)(t * TILE + r < rows ? t * TILE + r : t * TILE);
}

void index_square(int32_t *index, int64_t t, int64_t rows, int64_t width) {
  const int64_t height = rows / width, across = (width + SIDE - 1) / SIDE;
  const int64_t top = t / across * SIDE, left = t % across * SIDE;
  for (int64_t r = 0; r < TILE; ++r) {
    const int64_t y = top + r / SIDE, x = left + r % SIDE;
    index[r] = (int32_t)(y < height && x < width ? y * width + x : top * width + left);
  }
}

int64_t find_bad_row(const float *source, int64_t rows, int32_t D) {
  for (int64_t row = 0; row < rows; ++row)
    for (int32_t d = 0; d < D; ++d)
      if (!(fabsf(source[row * D + d]) <= LARGEST)) return row;
  return -1;
}

} // namespace

PackedSet::PackedSet(const Path &path, const float *source, int64_t rows, int32_t D, int64_t width, int threads)
    : tiles_{source,
             rows,
             D,
             count_tiles(rows, width),
             path.coarse_bytes(D),
             nullptr,
             nullptr,
             nullptr,
             nullptr,
             nullptr,
             nullptr,
             nullptr,
             nullptr,
             nullptr,
             nullptr},
      index_(tiles_.count * TILE), fine_(tiles_.count * TILE * D), coarse_(tiles_.count * tiles_.coarse_bytes),
      center_(tiles_.count * D), numbers_(tiles_.count * 6), bad_row_(-1) {
  float **numbers[] = {&tiles_.low, &tiles_.high, &tiles_.radius, &tiles_.longest, &tiles_.scale, &tiles_.error};
  for (int k = 0; k < 6; ++k) *numbers[k] = numbers_.data() + k * tiles_.count;
  tiles_.index = index_.data();
  tiles_.fine = fine_.data();
  tiles_.coarse = coarse_.data();
  tiles_.center = center_.data();
  const bool square = is_square(rows, width);
  std::atomic<bool> usable{true};
  mast3r_kernels::run_in_parallel(threads, (tiles_.count + 63) / 64, [&](int64_t part) {
    for (int64_t t = part * 64; t < tiles_.count && t < (part + 1) * 64; ++t) {
      int32_t *index = tiles_.index + t * TILE;
      square ? index_square(index, t, rows, width) : index_run(index, t, rows);
      if (!path.pack_tile(tiles_, t)) usable = false;
    }
  });
  if (!usable) bad_row_ = find_bad_row(source, rows, D);
}

} // namespace reciprocal_match
