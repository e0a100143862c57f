// AVX-512 with 8-bit coarse scores: four multiply-adds where float32 does one and bfloat16 two. Components are rounded to 8 bits,
// tile by tile and query by query; what that costs is measured exactly and goes into the bounds, and the exact scores decide.
#include <immintrin.h>
#define LANES 16
#include "float_path.h"

namespace reciprocal_match {
namespace {

// Components stand in groups of four. A tile holds (groups, TILE, 4) unsigned bytes, component + 128.
inline int32_t groups_of(int32_t D) { return (D + 3) / 4; }
int64_t coarse_bytes(int32_t D) { return (int64_t)groups_of(D) * TILE * 4; }

constexpr float SMALLEST = 1e-30f; // below it, components count as zero and their length as error

bool pack_tile(const Tiles &tiles, int64_t t) {
  if (!pack_fine(tiles, t)) return false;
  const int32_t D = tiles.D;
  const float *fine = tiles.fine + t * D * TILE;
  uint8_t *coarse = tiles.coarse + t * tiles.coarse_bytes;
  float most = 0;
  for (int32_t k = 0; k < D * TILE; ++k) most = __builtin_fabsf(fine[k]) > most ? __builtin_fabsf(fine[k]) : most;
  const bool usable = most > SMALLEST;
  const float scale = usable ? most / 127 : 0, inverse = usable ? 127 / most : 0;
  alignas(64) float square[TILE] = {};
  for (int32_t d = 0; d < 4 * groups_of(D); ++d)
    for (int r = 0; r < TILE; ++r) {
      const float x = d < D ? fine[d * TILE + r] : 0;
      const float rounded = __builtin_rintf(x * inverse);
      const float rest = x - scale * rounded;
      square[r] += rest * rest;
      coarse[((d / 4) * TILE + r) * 4 + d % 4] = (uint8_t)((int32_t)rounded + 128);
    }
  float worst = 0;
  for (int r = 0; r < TILE; ++r) worst = square[r] > worst ? square[r] : worst;
  // The error's own rounding is a few 2^-24 of the length; `error` has room for D + 4 of them already.
  tiles.error[t] += __builtin_sqrtf(worst) * (1 + (D + 4) * 0x1p-23f) + 1e-18f; // squares below 1e-38 may be flushed
  tiles.scale[t] = scale;
  return true;
}

void pack_queries(Queries &queries) {
  pack_columns(queries);
  const int32_t D = queries.D, stride = 4 * groups_of(D);
  for (int q = 0; q < BLOCK; ++q) {
    const float *row = queries.row + (int64_t)q * D;
    float most = 0;
    for (int32_t d = 0; d < D; ++d) most = __builtin_fabsf(row[d]) > most ? __builtin_fabsf(row[d]) : most;
    const bool usable = most > SMALLEST;
    const float scale = usable ? most / 127 : 0, inverse = usable ? 127 / most : 0;
    double square = 0;
    int32_t sum = 0;
    for (int32_t d = 0; d < stride; ++d) {
      const float x = d < D ? row[d] : 0;
      const int32_t rounded = (int32_t)__builtin_rintf(x * inverse);
      const double rest = (double)x - (double)scale * rounded;
      square += rest * rest;
      sum += rounded;
      queries.coarse[q * stride + d] = (int8_t)rounded;
    }
    queries.scale[q] = scale;
    queries.error[q] = round_up(__builtin_sqrt(square));
    queries.offset[q] = 128 * sum;
  }
}

inline __m512i most_of(__m512i a, __m512i b) { return _mm512_max_epi32(a, b); }

// Greatest of the 16 lanes of each of four vectors.
inline __m128i reduce(__m512i a, __m512i b, __m512i c, __m512i d) {
  const __m512i ab = most_of(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
  const __m512i cd = most_of(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
  const __m512i all = most_of(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
  const __m256i half = _mm256_max_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
  return _mm_max_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

template <int COUNT, int GROUPS>
inline void maxima(const uint8_t *coarse, int32_t groups, const Queries &queries, const int32_t *which, float *raw) {
  if (GROUPS) groups = GROUPS;
  const int8_t *row[COUNT];
  for (int q = 0; q < COUNT; ++q) row[q] = queries.coarse + which[q] * 4 * groups;
  __m512i sum[COUNT][4];
  for (int q = 0; q < COUNT; ++q)
    for (int v = 0; v < 4; ++v) sum[q][v] = _mm512_setzero_si512();
#pragma GCC unroll 6
  for (int32_t g = 0; g < groups; ++g) {
    __m512i column[4];
    for (int v = 0; v < 4; ++v) column[v] = _mm512_load_si512(coarse + (g * TILE + v * 16) * 4);
#pragma GCC unroll 6
    for (int q = 0; q < COUNT; ++q) {
      int32_t four;
      __builtin_memcpy(&four, row[q] + 4 * g, 4);
      const __m512i components = _mm512_set1_epi32(four);
      for (int v = 0; v < 4; ++v) sum[q][v] = _mm512_dpbusd_epi32(sum[q][v], column[v], components);
    }
  }
  __m512i top[8];
  for (int q = 0; q < 8; ++q) {
    const int k = q < COUNT ? q : COUNT - 1;
    top[q] = most_of(most_of(sum[k][0], sum[k][1]), most_of(sum[k][2], sum[k][3]));
  }
  alignas(16) int32_t most[8];
  _mm_store_si128((__m128i *)most, reduce(top[0], top[1], top[2], top[3]));
  if (COUNT > 4) _mm_store_si128((__m128i *)(most + 4), reduce(top[4], top[5], top[6], top[7]));
  for (int q = 0; q < COUNT; ++q) raw[which[q]] = (float)(most[q] - queries.offset[which[q]]);
}

template <int GROUPS>
inline void all_maxima(const Tiles &tiles, int64_t t, const Queries &queries, const int32_t *which, int count, float *raw) {
  const uint8_t *coarse = tiles.coarse + t * tiles.coarse_bytes;
  const int32_t groups = groups_of(tiles.D);
  for (; count >= 6; count -= 6, which += 6) maxima<6, GROUPS>(coarse, groups, queries, which, raw);
  switch (count) {
  case 5: return maxima<5, GROUPS>(coarse, groups, queries, which, raw);
  case 4: return maxima<4, GROUPS>(coarse, groups, queries, which, raw);
  case 3: return maxima<3, GROUPS>(coarse, groups, queries, which, raw);
  case 2: return maxima<2, GROUPS>(coarse, groups, queries, which, raw);
  case 1: return maxima<1, GROUPS>(coarse, groups, queries, which, raw);
  }
}

void refine(const Tiles &tiles, int64_t t, const Queries &queries, const int32_t *which, int count, float *upper, float *lower) {
  alignas(64) float raw[BLOCK];
  for (int q = 0; q < BLOCK; ++q) raw[q] = NEVER;
  if (groups_of(tiles.D) == 6) // 24 components, the published models'
    all_maxima<6>(tiles, t, queries, which, count, raw);
  else
    all_maxima<0>(tiles, t, queries, which, count, raw);
  keep_bounds(tiles, t, queries, raw, upper, lower);
}

} // namespace

const Path AVX512_VNNI = {"avx512_vnni", coarse_bytes, pack_tile, pack_queries, bound_by_center, select, refine, rank};

} // namespace reciprocal_match
