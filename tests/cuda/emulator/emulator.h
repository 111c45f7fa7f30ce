#pragma once

namespace hesscope::cuda {

/// Exit codes of the test executable. A sanitizer that finds something ends the process itself.
enum class Verdict : int { right = 0, usage = 2, error = 3, wrong_value = 4 };

/// Run every right kernel, print a line for each; `right` if all gave what they should.
Verdict run_right_kernels();

/// What the launch helper and the emulator refuse, in the same form.
Verdict run_launch_checks();

/// Run one deliberately wrong kernel: `error` if the emulator refused it, `wrong_value` if the
/// values give it away, `right` if nothing was noticed, `usage` if there is no mutant of that name.
Verdict run_mutant(const char* name);

/// One name a line.
void list_mutants();

}  // namespace hesscope::cuda
