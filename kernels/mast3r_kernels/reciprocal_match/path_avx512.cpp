// AVX-512 in float32.
#include <immintrin.h>
#define LANES 16
#include "float_path.h"

namespace reciprocal_match {
const Path AVX512 = {"avx512", no_coarse_bytes, pack_float_tile, pack_float_queries, bound_by_center, select, float_refine, rank};
}
