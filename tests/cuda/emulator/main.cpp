/// emulator_test right | list | MUTANT
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
  return static_cast<int>(what == "right" ? run_right_kernels() : run_mutant(what.c_str()));
}
