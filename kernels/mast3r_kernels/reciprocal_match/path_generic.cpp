// Plain vectors of 16 bytes: SSE2 on x86-64, NEON on aarch64.
#define LANES 4
#include "float_path.h"

namespace reciprocal_match {
const Path GENERIC = {"generic",       no_coarse_bytes, pack_float_tile, pack_float_queries,
                      bound_by_center, select,          float_refine,    rank};
}
