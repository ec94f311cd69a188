#include <lightning/loggers/csv_logger.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <utility>

#include <lightning/loggers/detail/csv_text.h>
#include <lightning/loggers/detail/log_file.h>
#include <lightning/util/detail/disk.h>
#include <lightning/util/error.h>
#include <lightning/util/log.h>

namespace lightning {
namespace {

namespace fs = std::filesystem;

template <typename Number>
void append_number(std::string& text, Number value) {
  char digits[32];
  const auto result = std::to_chars(digits, digits + sizeof digits, value);
  text.append(digits, result.ptr);
}

/// "metrics.csv" becomes "metrics.previous-1.csv", or with the next free number.
void keep_under_other_name(const fs::path& path) {
  fs::path kept;
  for (int number = 1; kept.empty() || detail::entry_exists(kept); ++number) {
    kept = path.parent_path() / (path.stem().string() + ".previous-" + std::to_string(number) +
                                 path.extension().string());
  }
  FileSystem::current().rename(path, kept);
  log_info(detail::concat("CSVLogger: ", path, " of an earlier run was renamed to ",
                          kept.filename(), "."));
}

}  // namespace

CSVLogger::CSVLogger(CSVLoggerOptions options)
    : options_(std::move(options)), file_(std::make_unique<detail::LogFile>()) {
  LIGHTNING_CHECK(!options_.file.empty(), ConfigError, "CSVLogger: file is empty, a file name was ",
                  "expected. HINT: omit it for \"metrics.csv\".");
}

CSVLogger::~CSVLogger() = default;

void CSVLogger::do_check(const LoggerSetup& setup) {
  if (setup.resume == nullptr || !setup.resume->contains("rows")) return;
  setup.resume->get<int64_t>("rows");
  setup.resume->get<std::vector<std::string>>("columns");
  setup.resume->get<double>("time_seconds");
}

void CSVLogger::do_setup(const LoggerSetup& setup) {
  const fs::path path = setup.run_dir / options_.dir / options_.file;
  file_->close();
  make_folder_of_option("dir", path.parent_path());
  if (setup.resume != nullptr && setup.resume->contains("rows")) {
    cut_back(path, *setup.resume);
  } else if (path == file_->path() && detail::path_exists(path)) {
    seconds_before_ = elapsed_seconds();  // the same run continues, with its test for instance
  } else {
    start_table(path);
  }
  start_ = std::chrono::steady_clock::now();
  file_->open(path);
}

void CSVLogger::start_table(const fs::path& path) {
  // A device or a pipe is what the user asked for, and is written to as it is.
  if (detail::kind_of(path) == detail::FileKind::kFile && detail::file_bytes(path) > 0) {
    keep_under_other_name(path);
  }
  columns_.clear();
  rows_ = 0;
  seconds_before_ = 0;
}

void CSVLogger::cut_back(const fs::path& path, const StateDict& state) {
  const detail::FileKind kind = detail::kind_of_entry(path);
  // The run resumes in a different folder, or writes to a device.
  if (kind == detail::FileKind::kMissing || kind == detail::FileKind::kOther) {
    start_table(path);
    seconds_before_ = state.get<double>("time_seconds");
    return;
  }
  const auto& columns = state.get<std::vector<std::string>>("columns");
  std::optional<detail::CsvTable> table;
  // What a link leads to is not the run's.
  if (kind == detail::FileKind::kFile) table = detail::CsvTable::parse(read_file(path));
  if (!table || !table->starts_with(columns) || state.get<int64_t>("rows") < 0) {
    log_warning(
        format("CSVLogger: {} does not belong to the resumed run; starting a new file.", path));
    if (kind == detail::FileKind::kLink) keep_under_other_name(path);
    start_table(path);
    return;
  }
  seconds_before_ = state.get<double>("time_seconds");
  columns_ = columns;
  rows_ = std::min(state.get<int64_t>("rows"), table->num_rows());
  if (rows_ < state.get<int64_t>("rows")) {
    log_warning(
        format("CSVLogger: {} has {} rows, but the checkpoint was written after {}; the rest "
               "is lost.",
               path, rows_, state.get<int64_t>("rows")));
  }
  write_file_atomically(path, table->cut(rows_, columns_.size()));
}

void CSVLogger::find_columns(const MetricRow& row) {
  row_columns_.clear();
  new_names_.clear();
  size_t next = 0;  // rows of one kind have the same names in the same order
  for (const auto& [name, value] : row.values) {
    if (next >= columns_.size() || columns_[next] != name) {
      next =
          static_cast<size_t>(std::find(columns_.begin(), columns_.end(), name) - columns_.begin());
    }
    if (next == columns_.size()) {
      LIGHTNING_CHECK(!detail::CsvTable::is_reserved(name), ConfigError, "CSVLogger: a metric is ",
                      "named \"", name, "\", as a column of the table's own. HINT: rename it.");
      const auto known = std::find(new_names_.begin(), new_names_.end(), name);
      row_columns_.push_back(columns_.size() + static_cast<size_t>(known - new_names_.begin()));
      if (known == new_names_.end()) new_names_.push_back(name);
    } else {
      row_columns_.push_back(next++);
    }
  }
}

void CSVLogger::add_columns(const std::vector<std::string>& names) {
  columns_.insert(columns_.end(), names.begin(), names.end());
  if (rows_ == 0) {
    if (file_->position() > 0) {  // the header of an earlier part of the run
      const fs::path path = file_->path();
      file_->close();
      FileSystem::current().resize_file(path, 0);
      file_->open(path);
    }
    detail::CsvTable::append_header(file_->buffer(), columns_);
    return;
  }
  const fs::path path = file_->path();
  file_->close();
  const auto table = detail::CsvTable::parse(read_file(path));
  LIGHTNING_CHECK(table, Error, "CSVLogger: \"", path.string(), "\" was changed while the run ",
                  "wrote to it. HINT: copy it before editing.");
  write_file_atomically(path, table->widen(columns_));
  file_->open(path);
}

void CSVLogger::do_log_metrics(const MetricRow& row) {
  find_columns(row);
  if (!new_names_.empty() || (rows_ == 0 && file_->position() + file_->buffer().size() == 0)) {
    add_columns(new_names_);
  }
  cells_.assign(columns_.size(), nullptr);
  for (size_t i = 0; i < row.values.size(); ++i) {
    cells_[row_columns_[i]] = &row.values[i].second;
  }
  std::string& text = file_->buffer();
  append_number(text, row.step);
  text += ',';
  append_number(text, row.epoch);
  for (const double* cell : cells_) {
    text += ',';
    if (cell == nullptr) continue;
    // to_chars shows the sign of NaN, which means nothing.
    if (std::isnan(*cell)) {
      text += "nan";
    } else {
      append_number(text, *cell);
    }
  }
  text += ',';
  append_number(text, std::round(elapsed_seconds() * 1e6) / 1e6);
  text += '\n';
  ++rows_;
  file_->row_done();
}

StateDict CSVLogger::do_state_dict() {
  file_->sync();
  StateDict state;
  state.set("rows", StateDict::Value(rows_));
  state.set("columns", StateDict::Value(columns_));
  state.set("time_seconds", StateDict::Value(elapsed_seconds()));
  return state;
}

void CSVLogger::do_flush() { file_->flush(); }

void CSVLogger::do_finalize(std::string_view /*status*/) { file_->close(); }

double CSVLogger::elapsed_seconds() const {
  const std::chrono::duration<double> since = std::chrono::steady_clock::now() - start_;
  return seconds_before_ + since.count();
}

}  // namespace lightning
