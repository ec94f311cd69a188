#include <lightning/util/detail/process.h>

#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <climits>
#include <cstdio>
#include <fstream>
#include <iterator>

#include <lightning/util/detail/crc32c.h>
#include <lightning/util/format.h>

namespace lightning::detail {
namespace {

constexpr size_t kMachineDigits = 8;

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::string find_machine() {
  const std::string boot = first_line("/proc/sys/kernel/random/boot_id");
  char space[64];
  const ssize_t size = ::readlink("/proc/self/ns/pid", space, sizeof(space));
  if (boot.empty() || size <= 0) return {};
  const std::string text = boot + std::string(space, static_cast<size_t>(size));
  char digits[kMachineDigits + 1];
  std::snprintf(digits, sizeof(digits), "%08x", crc32c(text.data(), text.size()));
  return digits;
}

struct Stat {
  char state = 0;
  int64_t started = 0;
};

/// Nothing when there is no such process, or /proc doesn't show it.
std::optional<Stat> stat_of(int64_t pid) {
  const std::string line = first_line(concat("/proc/", pid, "/stat"));
  // The name, in parentheses, may hold anything.
  size_t position = line.rfind(')');
  if (position == line.npos || position + 2 >= line.size()) return std::nullopt;
  position += 2;
  Stat stat;
  stat.state = line[position];
  for (int field = 3; field < 22; ++field) {
    position = line.find(' ', position);
    if (position == line.npos) return std::nullopt;
    ++position;
  }
  std::from_chars(line.data() + position, line.data() + line.size(), stat.started);
  return stat;
}

/// Reads a number and the dash behind it.
bool take_number(std::string_view& text, int64_t& number) {
  const auto result = std::from_chars(text.data(), text.data() + text.size(), number);
  const auto used = static_cast<size_t>(result.ptr - text.data());
  if (result.ec != std::errc() || number < 0 || used >= text.size() || text[used] != '-') {
    return false;
  }
  text.remove_prefix(used + 1);
  return true;
}

}  // namespace

ProcessId own_process() {
  static const std::string machine = find_machine();
  ProcessId process{.machine = machine, .pid = ::getpid()};
  if (const auto stat = stat_of(process.pid)) process.started = stat->started;
  return process;
}

Life life_of(const ProcessId& process) {
  const ProcessId own = own_process();
  if (own.machine.empty() || process.machine != own.machine || process.pid <= 0 ||
      process.pid > INT_MAX) {
    return Life::kUnknown;
  }
  const auto stat = stat_of(process.pid);
  if (!stat) {
    const bool gone = ::kill(static_cast<pid_t>(process.pid), 0) != 0 && errno == ESRCH;
    return gone ? Life::kGone : Life::kUnknown;
  }
  if (stat->state == 'Z' || stat->state == 'X') return Life::kGone;
  if (process.started == 0) return Life::kUnknown;
  return stat->started == process.started ? Life::kAlive : Life::kGone;
}

std::string to_tag(const ProcessId& process) {
  return concat(process.pid, "-", process.started, "-", process.machine);
}

std::optional<ProcessId> from_tag(std::string_view tag) {
  ProcessId process;
  if (!take_number(tag, process.pid) || !take_number(tag, process.started)) return std::nullopt;
  const bool hexadecimal = tag.find_first_not_of("0123456789abcdef") == tag.npos;
  if (!hexadecimal || (!tag.empty() && tag.size() != kMachineDigits)) return std::nullopt;
  process.machine = tag;
  return process;
}

std::string host_name() {
  char name[256] = "localhost";
  ::gethostname(name, sizeof(name) - 1);
  return name;
}

}  // namespace lightning::detail
