#include <lightning/run/detail/run_folder.h>

#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <fstream>
#include <system_error>
#include <vector>

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <torch/version.h>
#include <nlohmann/json.hpp>

#include <lightning/checkpoint/checkpoint.h>
#include <lightning/checkpoint/detail/names.h>
#include <lightning/config/yaml.h>
#include <lightning/util/detail/disk.h>
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

std::string environment_text(const ResolvedOptions& options) {
  using Handler = nlohmann::json::error_handler_t;
  return describe_environment(options).dump(2, ' ', false, Handler::replace) + "\n";
}

/// Whether two configs are the same except for the checkpoint that a run begins from.
bool same_config(const std::string& a, const std::string& b) {
  const auto without_checkpoint = [](const std::string& text) {
    config::ConfigNode node = config::parse_yaml(text, detail::kConfigFile);
    if (node.find("ckpt_path") != nullptr) node.take("ckpt_path");
    return config::to_yaml(node);
  };
  try {
    return a == b || without_checkpoint(a) == without_checkpoint(b);
  } catch (const ConfigError&) {
    return false;  // edited by hand
  }
}

/// Writes `text` into a file named after `file` and `step`, unless a file of this family has it
/// already. Returns the file that has it.
fs::path write_beside(const fs::path& file, const std::string& text, int64_t step,
                      bool (*same)(const std::string&, const std::string&)) {
  fs::path path = file;
  for (int version = 0; detail::path_exists(path); ++version) {
    if (same(read_file(path), text)) return path;
    const std::string suffix = version == 0 ? "" : detail::concat("-v", version);
    path = file.parent_path() / detail::concat(file.stem().string(), "-resumed-step=", step, suffix,
                                               file.extension().string());
  }
  write_file_atomically(path, text);
  return path;
}

/// The dirpaths of the ModelCheckpoints of a run that was begun from the command line.
std::vector<fs::path> dirpaths_of_run(const fs::path& run_dir) {
  const fs::path file = run_dir / detail::kConfigFile;
  if (run_dir.empty() || !detail::path_exists(file)) return {};
  try {
    return checkpoint_dirpaths(config::load_yaml_file(file));
  } catch (const Error&) {
    return {};  // edited by hand
  }
}

/// The newest committed checkpoint in a folder; empty when there is none.
fs::path newest_in(const fs::path& folder) {
  const std::vector<fs::path> checkpoints = list_checkpoints(folder);
  return checkpoints.empty() ? fs::path() : checkpoints.back();
}

/// The link itself when it leads somewhere; else empty.
fs::path linked(const fs::path& link) { return detail::path_exists(link) ? link : fs::path(); }

/// Of checkpoints (empty ones are left out) the one that was written last; empty when there is
/// none.
fs::path written_last(const std::vector<fs::path>& checkpoints) {
  fs::path newest;
  int64_t time = 0;
  for (const fs::path& checkpoint : checkpoints) {
    if (checkpoint.empty()) continue;
    const auto written = detail::time_written(checkpoint / detail::kManifestFile);
    if (!newest.empty() && (!written || *written <= time)) continue;
    newest = checkpoint;
    time = written.value_or(INT64_MIN);
  }
  return newest;
}

}  // namespace

std::vector<fs::path> list_runs(const fs::path& default_root_dir) {
  std::vector<fs::path> runs;
  for (const std::string& name : detail::names_in(default_root_dir / kLogsFolder)) {
    fs::path run = default_root_dir / kLogsFolder / name;
    if (version_of(run) >= 0) runs.push_back(std::move(run));
  }
  std::sort(runs.begin(), runs.end(),
            [](const auto& a, const auto& b) { return version_of(a) > version_of(b); });
  return runs;
}

fs::path checkpoints_folder(const fs::path& run_dir) { return run_dir / kCheckpointsFolder; }

fs::path make_run_dir(const fs::path& default_root_dir) {
  const fs::path logs = default_root_dir / kLogsFolder;
  make_folder_of_option("Trainer: default_root_dir", logs);
  const std::vector<fs::path> runs = list_runs(default_root_dir);
  int64_t version = runs.empty() ? 0 : version_of(runs.front()) + 1;
  // Another program may take the same number at the same time: the one that makes the folder has
  // it.
  for (;; ++version) {
    const fs::path run_dir = logs / ("version_" + std::to_string(version));
    if (::mkdir(run_dir.c_str(), 0777) == 0) return run_dir;
    LIGHTNING_CHECK(errno == EEXIST, CheckpointError, "Trainer: default_root_dir: run folder ",
                    run_dir.string(), ": ", std::generic_category().message(errno),
                    ", a new folder was expected to be made there. HINT: set "
                    "trainer.default_root_dir to a folder that can be written.");
  }
}

std::optional<fs::path> run_dir_of(const fs::path& checkpoint) {
  const std::optional<fs::path> path = detail::real_path(checkpoint);
  if (!path) return std::nullopt;
  const fs::path folder = path->parent_path();
  if (folder.filename() != kCheckpointsFolder) return std::nullopt;
  const fs::path run_dir = folder.parent_path();
  if (!detail::path_exists(run_dir / kEnvironmentFile)) return std::nullopt;
  return run_dir;
}

std::vector<fs::path> checkpoint_dirpaths(const config::ConfigNode& config) {
  std::vector<fs::path> dirpaths;
  const config::ConfigNode* callbacks = config.find_path("trainer.callbacks");
  if (callbacks == nullptr) return dirpaths;
  const bool one = callbacks->kind() == config::ConfigNode::Kind::kMap;
  if (!one && callbacks->kind() != config::ConfigNode::Kind::kList) return dirpaths;
  for (const auto& callback : one ? std::vector{*callbacks} : callbacks->items()) {
    if (callback.kind() != config::ConfigNode::Kind::kMap) continue;
    const config::ConfigNode* type = callback.find("class_path");
    const config::ConfigNode* dirpath = callback.find_path("init_args.dirpath");
    if (type == nullptr || dirpath == nullptr || dirpath->is_null()) continue;
    const bool writes = type->text().ends_with("ModelCheckpoint");
    if (writes && !dirpath->text().empty()) dirpaths.emplace_back(dirpath->text());
  }
  return dirpaths;
}

std::optional<fs::path> find_checkpoint_of_run(const fs::path& run_dir,
                                               const std::vector<fs::path>& dirpaths,
                                               const std::string& which) {
  std::vector<fs::path> folders = dirpaths;
  for (fs::path& dirpath : dirpaths_of_run(run_dir)) folders.push_back(std::move(dirpath));
  std::vector<fs::path> newest = {newest_in(checkpoints_folder(run_dir))};
  std::vector<fs::path> best = {linked(checkpoints_folder(run_dir) / detail::kBestLink)};
  for (const fs::path& folder : folders) {
    // Other runs may write there too: the newest one isn't always that with the most steps.
    const fs::path last = linked(folder / detail::kLastLink);
    newest.push_back(last.empty() ? newest_in(folder) : last);
    best.push_back(linked(folder / detail::kBestLink));
  }
  fs::path found;
  if (which == detail::kBest) found = written_last(best);
  if (found.empty()) found = written_last(newest);
  return found.empty() ? std::nullopt : std::optional(found);
}

fs::path find_checkpoint(const fs::path& default_root_dir, const std::string& which,
                         const std::vector<fs::path>& dirpaths) {
  std::vector<fs::path> found = {find_checkpoint_of_run({}, dirpaths, which).value_or(fs::path())};
  for (const fs::path& run : list_runs(default_root_dir)) {
    found.push_back(find_checkpoint_of_run(run, {}, which).value_or(fs::path()));
    if (!found.back().empty()) break;
  }
  const fs::path newest = written_last(found);
  if (!newest.empty()) return newest;
  std::string places = (default_root_dir / kLogsFolder).string();
  for (const fs::path& dirpath : dirpaths) places += " or " + dirpath.string();
  throw CheckpointError(detail::concat("Trainer: ckpt_path is \"", which,
                                       "\" and there is no such checkpoint in ", places,
                                       ". HINT: give the path of a checkpoint, or set "
                                       "trainer.default_root_dir to where it was run."));
}

void write_run_files(const fs::path& run_dir, const std::string& config,
                     const ResolvedOptions& options) {
  write_file_atomically(run_dir / detail::kConfigFile, config);
  write_file_atomically(run_dir / kEnvironmentFile, environment_text(options));
}

fs::path write_resumed_run_files(const fs::path& run_dir, const std::string& config,
                                 const ResolvedOptions& options, int64_t step) {
  const auto same_text = [](const std::string& a, const std::string& b) { return a == b; };
  write_beside(run_dir / kEnvironmentFile, environment_text(options), step, same_text);
  return write_beside(run_dir / detail::kConfigFile, config, step, same_config);
}

}  // namespace lightning
