/// emulator_test right | launch | list | MUTANT
#include <cstdio>
#include <string>

#include "emulator.h"

int main(int argc, char** argv) {
  using namespace hesscope::cuda;
  const std::string what = argc == 2 ? argv[1] : "";
  if (what == "list") {
    list_mutants();
    return 0;
  }
  if (what == "right") return static_cast<int>(run_right_kernels());
  if (what == "launch") return static_cast<int>(run_launch_checks());
  return static_cast<int>(run_mutant(what.c_str()));
}
