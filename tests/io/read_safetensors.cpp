// Reads files of tensors, whole, and says of each what it holds or why it was refused. For tests
// under sanitizers: anything but an answer for every file is a failure.
#include <cstdio>

#include "hesscope/error.h"
#include "hesscope/safetensors.h"

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    try {
      hesscope::SafetensorsFile file(argv[i]);
      std::string text = "read";
      for (const hesscope::StoredTensor& t : file.tensors()) {
        file.read(t);
        text += ' ' + t.text() + ';';
      }
      std::printf("%s\n", text.c_str());
    } catch (const hesscope::ValueError& error) {
      std::printf("refused %s\n", error.what());
    }
  }
  return 0;
}
