#pragma once

namespace hesscope::cpu {

/// The x86-64 level this machine supports and that was compiled: 2, 3 or 4. Elsewhere 2, the
/// baseline. HESSCOPE_CPU_LEVEL=2|3|4 in the environment lowers it; read once.
int level();

}  // namespace hesscope::cpu
