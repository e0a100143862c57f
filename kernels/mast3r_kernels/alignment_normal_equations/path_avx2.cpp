// AVX2 with fused multiply-add.
#define LANES 4
#include "chunk_path.h"

namespace normal_equations {
const Path AVX2 = {"avx2", add_chunk<8>, add_chunk<12>};
}
