#include <lightning/loggers/tensorboard_logger.h>

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <limits>

#include <lightning/loggers/detail/event_encoding.h>
#include <lightning/loggers/detail/log_file.h>
#include <lightning/util/detail/disk.h>
#include <lightning/util/detail/process.h>
#include <lightning/util/error.h>
#include <lightning/util/format.h>
#include <lightning/util/log.h>

namespace lightning {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFilePrefix = "events.out.tfevents.";

/// Names of the event files in a folder.
std::vector<std::string> event_files(const fs::path& folder) {
  std::vector<std::string> names = detail::names_in(folder);
  std::erase_if(names, [](const std::string& name) { return !name.starts_with(kFilePrefix); });
  return names;
}

/// A name that sorts behind those of the folder: TensorBoard reads files in the order of names.
std::string new_file_name(const fs::path& folder) {
  int64_t seconds = std::time(nullptr);
  for (const std::string& name : event_files(folder)) {
    int64_t taken = 0;
    std::from_chars(name.data() + kFilePrefix.size(), name.data() + name.size(), taken);
    seconds = std::max(seconds, taken + 1);
  }
  char number[24];
  std::snprintf(number, sizeof number, "%010lld", static_cast<long long>(seconds));
  return detail::concat(kFilePrefix, number, ".", detail::host_name(), ".", ::getpid(), ".0");
}

/// Takes away what was written after the checkpoint. Only event files of this folder are touched,
/// whatever the checkpoint names.
void cut_back(const fs::path& folder, const StateDict& state) {
  const auto& last = state.get<std::string>("file");
  const auto position = state.get<int64_t>("position");
  const bool is_event_file = last.starts_with(kFilePrefix) && detail::is_plain_name(last);
  if (is_event_file && !detail::entry_exists(folder / last)) {
    return;  // the run resumes in a different folder
  }
  if (!is_event_file || position < 0 ||
      detail::kind_of_entry(folder / last) != detail::FileKind::kFile) {
    return log_warning(format(
        "TensorBoardLogger: the checkpoint names \"{}\", {} bytes, as its event file, which is "
        "none of {}; no event file is cut back.",
        last, position, folder));
  }
  const uint64_t size = detail::file_bytes(folder / last).value_or(0);
  const auto kept = static_cast<uint64_t>(position);
  if (size > kept) FileSystem::current().resize_file(folder / last, kept);
  if (size < kept) {
    log_warning(detail::concat("TensorBoardLogger: \"", (folder / last).string(), "\" has ", size,
                               " bytes, but ", kept,
                               " were there at the checkpoint; the rest is lost."));
  }
  for (const std::string& name : event_files(folder)) {
    if (name > last && detail::kind_of_entry(folder / name) == detail::FileKind::kFile) {
      FileSystem::current().remove_all(folder / name);
    }
  }
}

/// The largest step among the rows that the resumed run keeps. Checkpoints of earlier versions
/// don't have it.
int64_t last_kept_step(const LoggerSetup& setup) {
  const bool known = setup.resume != nullptr && setup.resume->contains("last_step");
  const int64_t last = known ? setup.resume->get<int64_t>("last_step") : 0;
  // There is a step behind it.
  constexpr int64_t kLargest = std::numeric_limits<int64_t>::max() - 1;
  return std::min(std::max({last, setup.resume_step, int64_t{0}}), kLargest);
}

double wall_time() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

/// A Markdown cell: what would end it is written another way.
std::string cell(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if (c == '|') result += '\\';
    result += c == '\n' ? ' ' : c;
  }
  return result;
}

}  // namespace

TensorBoardLogger::TensorBoardLogger(TensorBoardLoggerOptions options)
    : options_(std::move(options)), file_(std::make_unique<detail::LogFile>()) {}

TensorBoardLogger::~TensorBoardLogger() = default;

void TensorBoardLogger::do_check(const LoggerSetup& setup) {
  if (setup.resume == nullptr || !setup.resume->contains("file")) return;
  setup.resume->get<std::string>("file");
  setup.resume->get<int64_t>("position");
  last_kept_step(setup);
}

void TensorBoardLogger::do_setup(const LoggerSetup& setup) {
  const fs::path folder = options_.dir.empty() ? setup.run_dir : setup.run_dir / options_.dir;
  file_->close();
  make_folder_of_option("dir", folder);
  const bool resumed = setup.resume != nullptr;
  if (resumed && setup.resume->contains("file")) cut_back(folder, *setup.resume);
  first_step_ = std::max<int64_t>(setup.resume_step, 0);
  last_step_ = last_kept_step(setup);
  file_->open(folder / new_file_name(folder));
  detail::append_file_version(file_->buffer(), wall_time());
  // A TensorBoard that is open forgets the rows from this step on. It does so with those of all
  // names, and rows with steps of their own (validation batches) may be ahead of the training.
  if (resumed) detail::append_session_start(file_->buffer(), wall_time(), last_step_ + 1);
  file_->flush();
}

void TensorBoardLogger::do_log_metrics(const MetricRow& row) {
  summary_.clear();
  bool has_epoch = false;
  for (const auto& [name, value] : row.values) {
    has_epoch = has_epoch || name == "epoch";
    detail::append_scalar(summary_, name, static_cast<float>(value));
  }
  if (!has_epoch) detail::append_scalar(summary_, "epoch", static_cast<float>(row.epoch));
  detail::append_summary_event(file_->buffer(), wall_time(), row.step, summary_);
  file_->row_done();
  last_step_ = std::max(last_step_, row.step);
}

void TensorBoardLogger::do_log_hyperparameters(
    const std::vector<std::pair<std::string, std::string>>& parameters) {
  std::string table = "| name | value |\n| --- | --- |\n";
  for (const auto& [name, value] : parameters) {
    table += detail::concat("| ", cell(name), " | ", cell(value), " |\n");
  }
  summary_.clear();
  detail::append_text(summary_, "hyperparameters/text_summary", table);
  detail::append_summary_event(file_->buffer(), wall_time(), first_step_, summary_);
  file_->flush();
}

StateDict TensorBoardLogger::do_state_dict() {
  file_->sync();
  StateDict state;
  state.set("file", file_->path().filename().string());
  state.set("position", static_cast<int64_t>(file_->position()));
  state.set("last_step", last_step_);
  return state;
}

void TensorBoardLogger::do_flush() { file_->flush(); }

void TensorBoardLogger::do_finalize(std::string_view /*status*/) { file_->close(); }

}  // namespace lightning
