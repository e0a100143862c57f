// All functions of a path in float32, for vectors of LANES floats. Included once by each file that is compiled for one
// instruction set; everything is in an unnamed namespace, so that no two of them share code.

#include "tiles.h"

namespace reciprocal_match {
namespace {

typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef float HalfFloats __attribute__((vector_size(2 * LANES)));
typedef double Doubles __attribute__((vector_size(4 * LANES)));

constexpr float NEVER = -__builtin_inff();
constexpr float UP = 1.0f + 0x1p-22f; // times this, a float32 that was rounded to nearest is no longer below the true number

inline float round_up(double x) { return (float)x * (x > 0 ? UP : 1.0f) + 0x1p-140f; }

// ---------------------------------------------------------------------------------------------------------------- packing

// Higham, Accuracy and Stability of Numerical Algorithms, 3.1: a float32 inner product of D terms, in any order, errs by less
// than this times the lengths; two more terms leave room for the rounding of the bounds themselves.
inline float rounding_of_products(int32_t D) { return (D + 4) * 0x1p-24f * 1.01f; }

// Products below the smallest normal number may be flushed to zero.
inline float underflow(int32_t D) { return D * 0x1p-126f; }

inline bool copy_rows(const Tiles &tiles, int64_t t) {
  const int32_t D = tiles.D;
  float *fine = tiles.fine + t * D * TILE;
  bool usable = true;
  for (int r = 0; r < TILE; ++r) {
    const float *row = tiles.source + (int64_t)tiles.index[t * TILE + r] * D;
    for (int32_t d = 0; d < D; ++d) {
      usable &= __builtin_fabsf(row[d]) <= LARGEST; // false for NaN
      fine[d * TILE + r] = row[d];
    }
  }
  return usable;
}

inline void find_center(const Tiles &tiles, int64_t t) {
  const int32_t D = tiles.D;
  const float *fine = tiles.fine + t * D * TILE;
  float *center = tiles.center + t * D;
  double square = 0;
  for (int32_t d = 0; d < D; ++d) {
    float sum = 0;
    for (int lane = 0; lane < TILE; lane += 8)
      sum += ((fine[d * TILE + lane] + fine[d * TILE + lane + 1]) + (fine[d * TILE + lane + 2] + fine[d * TILE + lane + 3])) +
             ((fine[d * TILE + lane + 4] + fine[d * TILE + lane + 5]) + (fine[d * TILE + lane + 6] + fine[d * TILE + lane + 7]));
    center[d] = sum;
    square += (double)sum * sum;
  }
  const double inverse = square > 1e-60 ? 1.0 / __builtin_sqrt(square) : 0.0;
  for (int32_t d = 0; d < D; ++d) center[d] = (float)(center[d] * inverse);
}

inline bool pack_fine(const Tiles &tiles, int64_t t) {
  if (!copy_rows(tiles, t)) return false;
  find_center(tiles, t);
  const int32_t D = tiles.D;
  const float *fine = tiles.fine + t * D * TILE, *center = tiles.center + t * D;
  double square[TILE] = {}, along[TILE] = {}, center_square = 0;
  for (int32_t d = 0; d < D; ++d) {
    const double c = center[d];
    center_square += c * c;
    for (int r = 0; r < TILE; ++r) {
      const double x = fine[d * TILE + r];
      square[r] += x * x;
      along[r] += x * c;
    }
  }
  double low = along[0], high = along[0], longest = 0, away = 0;
  for (int r = 0; r < TILE; ++r) {
    const double rest = square[r] - along[r] * along[r] * (2 - center_square);
    low = along[r] < low ? along[r] : low;
    high = along[r] > high ? along[r] : high;
    longest = square[r] > longest ? square[r] : longest;
    away = rest > away ? rest : away;
  }
  tiles.low[t] = (float)low;
  tiles.high[t] = (float)high;
  tiles.radius[t] = round_up(__builtin_sqrt(away));
  tiles.longest[t] = round_up(__builtin_sqrt(longest));
  tiles.scale[t] = 1.0f;
  tiles.error[t] = rounding_of_products(D) * tiles.longest[t] + underflow(D) * (1 + tiles.longest[t]);
  return true;
}

inline void pack_columns(Queries &queries) {
  for (int q = 0; q < BLOCK; ++q) {
    const float *row = queries.row + (int64_t)q * queries.D;
    double square = 0;
    for (int32_t d = 0; d < queries.D; ++d) {
      queries.column[d * BLOCK + q] = row[d];
      square += (double)row[d] * row[d];
    }
    queries.square[q] = round_up(square);
    queries.length[q] = round_up(__builtin_sqrt(square));
    queries.scale[q] = 1.0f;
    queries.error[q] = 0.0f;
  }
}

// ------------------------------------------------------------------------------------------------- bounds from the centers

// With c of unit length, q.b = (q.c)(b.c) + q'.b', the dashes meaning the parts across c; the second is at most |q'| radius.
// Rounding: t = q.c errs by less than (D + 4) 2^-24 |q|, so t t by less than `slack` |q|^2; low, high and |c| by 2^-23.
inline void bound_tile(const Tiles &tiles, int64_t t, const Queries &queries, const float *along, float *upper) {
  const float low = tiles.low[t], high = tiles.high[t], radius = tiles.radius[t], longest = tiles.longest[t];
  const float slack = (tiles.D + 64) * 0x1p-22f;
  const float rest = slack * longest, least = underflow(tiles.D) * (1 + longest);
  for (int q = 0; q < BLOCK; ++q) {
    const float a = along[q], square = queries.square[q], length = queries.length[q];
    const float beside = square - a * a;
    const float across = __builtin_sqrtf((beside > 0 ? beside : 0) + slack * square);
    const float one = a * high, other = a * low;
    upper[q] = (one > other ? one : other) + across * radius + (rest + least) * length + least;
  }
}

template <int TILES> inline void bound_tiles(const Tiles &tiles, int64_t t, const Queries &queries, float *upper) {
  constexpr int VECTORS = BLOCK / LANES;
  const int32_t D = tiles.D;
  Floats sum[TILES][VECTORS] = {};
  for (int32_t d = 0; d < D; ++d) {
    const Floats *column = (const Floats *)(queries.column + d * BLOCK);
    for (int k = 0; k < TILES; ++k) {
      const float c = tiles.center[(t + k) * D + d];
      for (int v = 0; v < VECTORS; ++v) sum[k][v] += column[v] * c;
    }
  }
  for (int k = 0; k < TILES; ++k) bound_tile(tiles, t + k, queries, (const float *)sum[k], upper + (t + k) * BLOCK);
}

void bound_by_center(const Tiles &tiles, const Queries &queries, float *upper, int32_t *seed) {
  constexpr int TILES = LANES >= 16 ? 4 : LANES >= 8 ? 2 : 1;
  int64_t t = 0;
  for (; t + TILES <= tiles.count; t += TILES) bound_tiles<TILES>(tiles, t, queries, upper);
  for (; t < tiles.count; ++t) bound_tiles<1>(tiles, t, queries, upper);
  float top[BLOCK];
  for (int q = 0; q < BLOCK; ++q) top[q] = upper[q], seed[q] = 0;
  for (t = 1; t < tiles.count; ++t)
    for (int q = 0; q < BLOCK; ++q) {
      const float candidate = upper[t * BLOCK + q];
      seed[q] = candidate > top[q] ? (int32_t)t : seed[q];
      top[q] = candidate > top[q] ? candidate : top[q];
    }
}

uint64_t select(const float *upper, const float *lower) {
  uint64_t bits = 0;
#if LANES == 16
  for (int q = 0; q < BLOCK; q += 16)
    bits |= (uint64_t)_mm512_cmp_ps_mask(_mm512_load_ps(upper + q), _mm512_load_ps(lower + q), _CMP_GE_OQ) << q;
#elif LANES == 8
  for (int q = 0; q < BLOCK; q += 8)
    bits |= (uint64_t)_mm256_movemask_ps(_mm256_cmp_ps(_mm256_load_ps(upper + q), _mm256_load_ps(lower + q), _CMP_GE_OQ)) << q;
#else
  for (int q = 0; q < BLOCK; ++q) bits |= (uint64_t)(upper[q] >= lower[q]) << q;
#endif
  return bits;
}

// ---------------------------------------------------------------------------------------------------------- coarse scores

// From the coarse maxima of a tile to bounds on its exact scores; `raw` is NEVER for queries that were not asked.
inline void keep_bounds(const Tiles &tiles, int64_t t, const Queries &queries, const float *raw, float *upper, float *lower) {
  const float scale = tiles.scale[t], error = tiles.error[t], longest = tiles.longest[t] + error;
  const float least = underflow(tiles.D) * (1 + longest);
  for (int q = 0; q < BLOCK; ++q) {
    const bool asked = raw[q] != NEVER;
    const float value = raw[q] * (scale * queries.scale[q]);
    const float margin = (error + least) * queries.length[q] + queries.error[q] * longest + least;
    const float below = value - margin;
    upper[q] = asked ? value + margin : upper[q];
    lower[q] = asked && below > lower[q] ? below : lower[q];
  }
}

template <int COUNT>
inline void float_maxima(const Tiles &tiles, int64_t t, const Queries &queries, const int32_t *which, float *raw) {
  constexpr int VECTORS = LANES >= 16 ? 4 : 2;
  const int32_t D = tiles.D;
  const float *fine = tiles.fine + t * D * TILE, *rows[COUNT];
  for (int q = 0; q < COUNT; ++q) rows[q] = queries.row + (int64_t)which[q] * D;
  Floats top[COUNT] = {};
  for (int place = 0; place < TILE / LANES; place += VECTORS) {
    Floats sum[COUNT][VECTORS] = {};
    for (int32_t d = 0; d < D; ++d) {
      const Floats *column = (const Floats *)(fine + d * TILE) + place;
      for (int q = 0; q < COUNT; ++q)
        for (int v = 0; v < VECTORS; ++v) sum[q][v] += column[v] * rows[q][d];
    }
    for (int q = 0; q < COUNT; ++q) {
      Floats most = sum[q][0];
      for (int v = 1; v < VECTORS; ++v) most = most > sum[q][v] ? most : sum[q][v];
      top[q] = !place || most > top[q] ? most : top[q];
    }
  }
  for (int q = 0; q < COUNT; ++q) {
    float most = top[q][0];
    for (int lane = 1; lane < LANES; ++lane) most = top[q][lane] > most ? top[q][lane] : most;
    raw[which[q]] = most;
  }
}

[[maybe_unused]] void float_refine(const Tiles &tiles, int64_t t, const Queries &queries, const int32_t *which, int count,
                                   float *upper, float *lower) {
  alignas(64) float raw[BLOCK];
  for (int q = 0; q < BLOCK; ++q) raw[q] = NEVER;
  for (; count >= 6; count -= 6, which += 6) float_maxima<6>(tiles, t, queries, which, raw);
  for (; count >= 3; count -= 3, which += 3) float_maxima<3>(tiles, t, queries, which, raw);
  for (; count >= 1; count -= 1, which += 1) float_maxima<1>(tiles, t, queries, which, raw);
  keep_bounds(tiles, t, queries, raw, upper, lower);
}

// ----------------------------------------------------------------------------------------------------------- exact scores

// The rule: float64 products, which are exact, summed from the first component on. Fused or not, the sums are the same.
void rank(const Tiles &tiles, int64_t t, const double *query, Best &best) {
  constexpr int WIDE = LANES / 2, VECTORS = 4;
  const int32_t D = tiles.D;
  const float *fine = tiles.fine + t * D * TILE;
  alignas(64) double score[TILE];
  for (int place = 0; place < TILE; place += WIDE * VECTORS) {
    Doubles sum[VECTORS] = {};
    for (int32_t d = 0; d < D; ++d)
      for (int v = 0; v < VECTORS; ++v)
        sum[v] += __builtin_convertvector(*(const HalfFloats *)(fine + d * TILE + place + v * WIDE), Doubles) * query[d];
    for (int v = 0; v < VECTORS; ++v) *(Doubles *)(score + place + v * WIDE) = sum[v];
  }
  double top = score[0];
  for (int r = 1; r < TILE; ++r) top = score[r] > top ? score[r] : top;
  if (top < best.score) return;
  for (int r = 0; r < TILE; ++r) {
    const int64_t row = tiles.index[t * TILE + r];
    if (score[r] == top && (top > best.score || row < best.row)) best = {top, row};
  }
}

[[maybe_unused]] int64_t no_coarse_bytes(int32_t) { return 0; }
[[maybe_unused]] void pack_float_queries(Queries &queries) { pack_columns(queries); }
[[maybe_unused]] bool pack_float_tile(const Tiles &tiles, int64_t t) { return pack_fine(tiles, t); }

} // namespace
} // namespace reciprocal_match
