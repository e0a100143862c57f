// Plain vectors of 16 bytes: SSE2 on x86-64, NEON on aarch64.
#include "rotate_path.h"

namespace rope {
const Path GENERIC = {"generic", rotate<Float32>, rotate<Bfloat16>};
}
