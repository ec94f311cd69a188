/// Visible skips. Catch2 2.13 has none: the macros print `SKIPPED: reason`, leave the test case,
/// and the program ends with status 77, which ctest shows as ***Skipped.
#pragma once

#include <cstdlib>
#include <string>
#include <string_view>

#include <catch2/catch.hpp>

namespace lightning_tests {

/// Prints the reason and notes that the running test case was skipped.
void skip(const std::string& reason);

/// True when the environment variable is set to something other than 0.
inline bool required(const char* variable) {
  const char* value = std::getenv(variable);
  return value != nullptr && *value != '\0' && std::string_view(value) != "0";
}

}  // namespace lightning_tests

/// Skips regardless of the environment; for things like missing privileges.
#define SKIP_TEST(reason)            \
  do {                               \
    ::lightning_tests::skip(reason); \
    return;                          \
  } while (false)

#define LIGHTNING_SKIP_UNLESS_REQUIRED(variable, reason)                               \
  do {                                                                                 \
    if (::lightning_tests::required(variable)) FAIL(variable << "=1, but " << reason); \
    SKIP_TEST(reason);                                                                 \
  } while (false)

/// Data that isn't part of the repository is missing. A failure with LIGHTNING_REQUIRE_DATA=1.
#define SKIP_WITHOUT_DATA(reason) LIGHTNING_SKIP_UNLESS_REQUIRED("LIGHTNING_REQUIRE_DATA", reason)

/// No GPU here. A failure with LIGHTNING_REQUIRE_GPU=1.
#define SKIP_WITHOUT_GPU(reason) LIGHTNING_SKIP_UNLESS_REQUIRED("LIGHTNING_REQUIRE_GPU", reason)
