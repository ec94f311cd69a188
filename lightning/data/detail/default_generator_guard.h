/// Finds uses of torch's default generators by the thread it lives in. Used in the loader's worker
/// threads in debug builds: such numbers depend on what all other threads draw.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <lightning/util/export.h>

namespace lightning::detail {

class LIGHTNING_API DefaultGeneratorGuard {
 public:
  DefaultGeneratorGuard();
  ~DefaultGeneratorGuard();
  DefaultGeneratorGuard(const DefaultGeneratorGuard&) = delete;
  DefaultGeneratorGuard& operator=(const DefaultGeneratorGuard&) = delete;

  /// The first operator that used a default generator since the last call ("aten::uniform_").
  std::optional<std::string> take_offender();

 private:
  uint64_t handle_;
};

}  // namespace lightning::detail
