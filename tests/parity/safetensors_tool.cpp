// Lets a script use our safetensors code.
//   safetensors_tool copy IN OUT       reads IN tensor by tensor and writes what it holds to OUT
//   safetensors_tool check FILE...     one line each: "ok" or the error
#include <iostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <lightning/checkpoint/safetensors.h>
#include <lightning/util/error.h>

namespace {

void copy(const char* from, const char* to) {
  const lightning::SafetensorsFile file(from);
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const auto& info : file.tensors()) tensors.emplace_back(info.name, file.read(info.name));
  lightning::write_safetensors(to, tensors, file.metadata());
}

void check(const char* path) {
  try {
    const lightning::SafetensorsFile file(path);
    for (const auto& info : file.tensors()) file.read(info.name);
    std::cout << "ok\n";
  } catch (const lightning::CheckpointError& error) {
    std::cout << error.what() << "\n";
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 4 && std::string_view(argv[1]) == "copy") {
    copy(argv[2], argv[3]);
    return 0;
  }
  if (argc > 2 && std::string_view(argv[1]) == "check") {
    for (int i = 2; i < argc; ++i) check(argv[i]);
    return 0;
  }
  std::cerr << "usage: safetensors_tool copy IN OUT | check FILE...\n";
  return 2;
}
