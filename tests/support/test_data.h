/// Where tests find data that isn't part of the repository.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <optional>

namespace lightning_tests {

/// The folder named by LIGHTNING_TEST_DATA, else ../shared/data beside the repository; nothing when
/// it doesn't exist. Tests run with the repository's root as working directory.
inline std::optional<std::filesystem::path> test_data_dir() {
  const char* variable = std::getenv("LIGHTNING_TEST_DATA");
  const std::filesystem::path folder = variable != nullptr ? variable : "../shared/data";
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error)) return std::nullopt;
  return std::filesystem::absolute(folder).lexically_normal();
}

}  // namespace lightning_tests
