// Plain vectors of 16 bytes: SSE2 on x86-64, NEON on aarch64.
#define LANES 2
#include "chunk_path.h"

namespace normal_equations {
const Path GENERIC = {"generic", add_chunk<8>, add_chunk<12>};
}
