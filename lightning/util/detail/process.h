/// Which process wrote something, so that others can tell whether it is still at it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <lightning/util/export.h>

namespace lightning::detail {

struct ProcessId {
  /// A boot of a machine and a namespace of process numbers in it, 8 hexadecimal digits: processes
  /// that share it can look at each other. Empty where /proc doesn't tell.
  std::string machine;
  int64_t pid = 0;
  /// In clock ticks since the boot, which makes numbers that are used again distinct; 0: unknown.
  int64_t started = 0;

  bool operator==(const ProcessId&) const = default;
};

LIGHTNING_API ProcessId own_process();

enum class Life : uint8_t { kAlive, kGone, kUnknown };
/// A stopped process is alive, a zombie isn't. kUnknown for one of a different machine.
LIGHTNING_API Life life_of(const ProcessId& process);

/// "PID-STARTED-MACHINE", for names of files.
LIGHTNING_API std::string to_tag(const ProcessId& process);
LIGHTNING_API std::optional<ProcessId> from_tag(std::string_view tag);

/// Name of this machine for people.
LIGHTNING_API std::string host_name();

}  // namespace lightning::detail
