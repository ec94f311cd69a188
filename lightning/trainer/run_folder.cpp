#include <lightning/trainer/run_folder.h>

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <fstream>
#include <vector>

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <torch/version.h>
#include <nlohmann/json.hpp>

#include <lightning/checkpoint/checkpoint.h>
#include <lightning/util/error.h>
#include <lightning/util/file_system.h>

namespace lightning {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLogsFolder = "lightning_logs";
constexpr const char* kCheckpointsFolder = "checkpoints";
constexpr const char* kEnvironmentFile = "environment.json";

/// N of "version_N", or -1.
int64_t version_of(const fs::path& folder) {
  const std::string name = folder.filename().string();
  static constexpr std::string_view kPrefix = "version_";
  if (!name.starts_with(kPrefix)) return -1;
  int64_t version = -1;
  const char* end = name.data() + name.size();
  const auto parsed = std::from_chars(name.data() + kPrefix.size(), end, version);
  return parsed.ptr == end ? version : -1;
}

/// Output of a command without its last newline; empty when it fails.
std::string output_of(const char* command) {
  std::string text;
  FILE* pipe = ::popen(command, "r");
  if (pipe == nullptr) return text;
  std::array<char, 256> buffer;
  while (std::fgets(buffer.data(), buffer.size(), pipe) != nullptr) text += buffer.data();
  const bool failed = ::pclose(pipe) != 0;
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return failed ? std::string() : text;
}

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

nlohmann::ordered_json describe_environment(const ResolvedOptions& options) {
  utsname system = {};
  ::uname(&system);
  nlohmann::ordered_json json;
  json["lightning_version"] = LIGHTNING_VERSION;
  json["torch_version"] = TORCH_VERSION;
  json["compiler"] = __VERSION__;
  json["git_commit"] = output_of("git rev-parse HEAD 2>/dev/null");
  json["git_dirty"] = !output_of("git status --porcelain --untracked-files=no 2>/dev/null").empty();
  json["host"] = system.nodename;
  json["system"] = detail::concat(system.sysname, " ", system.release, " ", system.machine);
  json["processor"] = processor_name();
  json["processor_capability"] = at::get_cpu_capability();
  json["processor_threads"] = ::sysconf(_SC_NPROCESSORS_ONLN);
  json["torch_threads"] = at::get_num_threads();
  json["device"] = options.device_name;
  json["world_size"] = options.world_size;
  return json;
}

}  // namespace

std::vector<fs::path> list_runs(const fs::path& default_root_dir) {
  std::vector<fs::path> runs;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(default_root_dir / kLogsFolder, error)) {
    if (version_of(entry.path()) >= 0) runs.push_back(entry.path());
  }
  std::sort(runs.begin(), runs.end(),
            [](const auto& a, const auto& b) { return version_of(a) > version_of(b); });
  return runs;
}

fs::path checkpoints_folder(const fs::path& run_dir) { return run_dir / kCheckpointsFolder; }

fs::path make_run_dir(const fs::path& default_root_dir) {
  const fs::path logs = default_root_dir / kLogsFolder;
  FileSystem::current().create_directories(logs);
  const std::vector<fs::path> runs = list_runs(default_root_dir);
  int64_t version = runs.empty() ? 0 : version_of(runs.front()) + 1;
  // Another program may take the same number at the same time: whoever makes the folder has it.
  for (;; ++version) {
    const fs::path run_dir = logs / ("version_" + std::to_string(version));
    std::error_code error;
    if (fs::create_directory(run_dir, error)) return run_dir;
    LIGHTNING_CHECK(!error, CheckpointError, "run folder ", run_dir.string(), ": ", error.message(),
                    ", a new folder was expected to be made there. HINT: set "
                    "trainer.default_root_dir to a folder that can be written.");
  }
}

std::optional<fs::path> run_dir_of(const fs::path& checkpoint) {
  std::error_code error;
  const fs::path folder = fs::weakly_canonical(checkpoint, error).parent_path();
  if (error || folder.filename() != kCheckpointsFolder) return std::nullopt;
  const fs::path run_dir = folder.parent_path();
  if (!fs::exists(run_dir / kEnvironmentFile, error)) return std::nullopt;
  return run_dir;
}

fs::path find_checkpoint(const fs::path& default_root_dir, const std::string& which) {
  for (const fs::path& run : list_runs(default_root_dir)) {
    const fs::path folder = checkpoints_folder(run);
    if (which == "best") {
      std::error_code error;
      if (fs::exists(folder / "best.ckpt", error)) return folder / "best.ckpt";
    } else {
      const std::vector<fs::path> checkpoints = list_checkpoints(folder);
      if (!checkpoints.empty()) return checkpoints.back();
    }
  }
  throw CheckpointError(detail::concat("Trainer: ckpt_path is \"", which,
                                       "\" and there is no such checkpoint in ",
                                       (default_root_dir / kLogsFolder).string(),
                                       ". HINT: give the path of a checkpoint, or set "
                                       "trainer.default_root_dir to where it was run."));
}

void write_run_files(const fs::path& run_dir, const std::string& config,
                     const ResolvedOptions& options) {
  write_file_atomically(run_dir / "config.yaml", config);
  write_file_atomically(
      run_dir / kEnvironmentFile,
      describe_environment(options).dump(2, ' ', false, nlohmann::json::error_handler_t::replace) +
          "\n");
}

}  // namespace lightning
