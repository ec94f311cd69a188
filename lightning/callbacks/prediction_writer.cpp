#include <lightning/callbacks/prediction_writer.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <string_view>

#include <ATen/Functions.h>

#include <lightning/checkpoint/safetensors.h>
#include <lightning/util/detail/disk.h>
#include <lightning/util/error.h>
#include <lightning/util/file_system.h>

namespace lightning {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSpoolFolder = ".spool";
constexpr std::string_view kSuffix = ".safetensors";

/// "predictions-00007.safetensors": in order of the numbers, too.
std::string numbered(std::string_view name, int64_t number) {
  std::array<char, 24> digits;
  std::snprintf(digits.data(), digits.size(), "%05lld", static_cast<long long>(number));
  return detail::concat(name, "-", digits.data(), kSuffix);
}

/// Takes `prefix` and a number off the beginning; false when they aren't there.
bool take_number(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  text.remove_prefix(digits);
  return digits > 0;
}

/// Whether write_on_epoch_end() writes files of that name.
bool is_epoch_file(std::string_view name) {
  return take_number(name, "predictions-") && name == kSuffix;
}

/// Whether write_on_batch_end() does, with any number of ranks.
bool is_batch_file(std::string_view name) {
  if (!take_number(name, "dataloader_idx=") || !take_number(name, "-batch_idx=")) return false;
  return name == kSuffix || (take_number(name, "-rank=") && name == kSuffix);
}

/// An entry of a spool is "LOADER/BATCH/NAME".
struct SpoolName {
  int64_t loader = 0;
  int64_t batch = 0;
  std::string name;
};

std::string to_text(const SpoolName& of) {
  return detail::concat(of.loader, "/", of.batch, "/", of.name);
}

SpoolName parse_spool_name(const std::string& text, const fs::path& file) {
  SpoolName parsed;
  const char* end = text.data() + text.size();
  const auto loader = std::from_chars(text.data(), end, parsed.loader);
  const bool has_loader = loader.ec == std::errc() && loader.ptr != end && *loader.ptr == '/';
  const auto batch = has_loader ? std::from_chars(loader.ptr + 1, end, parsed.batch) : loader;
  const bool has_batch =
      has_loader && batch.ec == std::errc() && batch.ptr != end && *batch.ptr == '/';
  LIGHTNING_CHECK(has_batch, DataError, "PredictionWriter: ", file.string(), " has a tensor \"",
                  text,
                  "\", expected a name of the form LOADER/BATCH/NAME. HINT: keep other files "
                  "out of the folder.");
  parsed.name.assign(batch.ptr + 1, end);
  return parsed;
}

int64_t bytes_of(const at::Tensor& tensor) { return static_cast<int64_t>(tensor.nbytes()); }

/// Whether `next` can be joined to it along the first dimension.
bool can_join(const at::Tensor& first, const at::Tensor& next) {
  return first.dim() > 0 && next.dim() == first.dim() &&
         next.scalar_type() == first.scalar_type() &&
         next.sizes().slice(1) == first.sizes().slice(1);
}

}  // namespace

// ---- Predictions

Predictions::Predictions(std::vector<fs::path> spools) : spools_(std::move(spools)) {
  for (size_t rank = 0; rank < spools_.size(); ++rank) {
    LIGHTNING_CHECK(detail::kind_of(spools_[rank]) == detail::FileKind::kFolder, DataError,
                    "PredictionWriter: ", spools_[rank].string(), ", the outputs of rank ", rank,
                    ", is not there, expected a folder that rank 0 sees. HINT: set dirpath to a "
                    "folder that all machines share, or write_interval to batch.");
    std::vector<std::string> files = detail::names_in(spools_[rank]);
    std::sort(files.begin(), files.end());
    for (const std::string& file : files) add_file(rank, spools_[rank] / file);
  }
  for (const auto& batch : batches_) order_.push_back(&batch);
}

Predictions::~Predictions() = default;

void Predictions::add_file(size_t rank, const fs::path& file) {
  const SafetensorsFile content(file);
  for (const SafetensorsInfo& tensor : content.tensors()) {
    const SpoolName spooled = parse_spool_name(tensor.name, file);
    Entry& entry = batches_[Place(spooled.loader, spooled.batch)];
    const auto [files, is_new_name] = entry.files.try_emplace(spooled.name, spools_.size());
    if (is_new_name) entry.names.push_back(spooled.name);
    files->second[rank] = file;
  }
}

at::Tensor Predictions::read_part(const fs::path& file, const std::string& name) const {
  auto& open = open_[file];
  if (open == nullptr) {
    // One of each rank: batches are read in order.
    if (open_.size() > spools_.size() + 1) {
      open_.clear();
      return read_part(file, name);
    }
    open = std::make_unique<SafetensorsFile>(file);
  }
  return open->read(name);
}

at::Tensor Predictions::interleave(const std::string& name,
                                   const std::vector<at::Tensor>& parts) const {
  const auto ranks = static_cast<int64_t>(parts.size());
  if (ranks == 1) return parts[0];
  int64_t rows = 0;
  const at::Tensor* first = nullptr;
  for (const at::Tensor& part : parts) {
    if (!part.defined()) continue;  // the rank had no sample of this batch
    if (first == nullptr) first = &part;
    LIGHTNING_CHECK(can_join(*first, part), DataError, "PredictionWriter: output \"", name,
                    "\" is ", part.sizes(), " on one rank and ", first->sizes(),
                    " on another, expected tensors that differ in their first dimension only. "
                    "HINT: set write_interval to batch.");
    rows += part.size(0);
  }
  std::vector<int64_t> shape = first->sizes().vec();
  shape[0] = rows;
  at::Tensor whole = at::empty(shape, first->options());
  for (int64_t rank = 0; rank < ranks; ++rank) {
    const at::Tensor& part = parts[static_cast<size_t>(rank)];
    const int64_t expected = rows > rank ? (rows - rank + ranks - 1) / ranks : 0;
    LIGHTNING_CHECK((part.defined() ? part.size(0) : 0) == expected, DataError,
                    "PredictionWriter: output \"", name, "\" has ",
                    part.defined() ? part.size(0) : 0, " rows on rank ", rank, " of ", ranks,
                    " and ", rows, " on all, expected ", expected,
                    ": a row for each sample. HINT: set write_interval to batch.");
    if (expected > 0) whole.slice(0, rank, rows, ranks).copy_(part);
  }
  return whole;
}

Batch Predictions::read(int64_t index) const {
  LIGHTNING_CHECK(index >= 0 && index < size(), DataError, "PredictionWriter: batch ", index,
                  " of ", size(), " was asked for, expected one of them.");
  const auto& [place, entry] = *order_[static_cast<size_t>(index)];
  Batch batch;
  batch.set_dataloader_idx(place.first);
  for (const std::string& name : entry.names) {
    std::vector<at::Tensor> parts;
    for (const fs::path& file : entry.files.at(name)) {
      const std::string spooled = to_text({place.first, place.second, name});
      parts.push_back(file.empty() ? at::Tensor() : read_part(file, spooled));
    }
    batch.set(name, interleave(name, parts));
  }
  return batch;
}

// ---- PredictionWriter

PredictionWriter::PredictionWriter(PredictionWriterOptions options) : options_(std::move(options)) {
  LIGHTNING_CHECK(options_.buffer_mib >= 1 && options_.buffer_mib <= (int64_t{1} << 30),
                  ConfigError, "PredictionWriter: buffer_mib is ", options_.buffer_mib,
                  ", expected 1 or more. HINT: use 64.");
}

PredictionWriter::~PredictionWriter() = default;

fs::path PredictionWriter::spool_of(int64_t rank) const {
  return folder_ / kSpoolFolder / detail::concat("rank=", rank);
}

void PredictionWriter::remove_earlier_files() const {
  for (const std::string& name : detail::names_in(folder_)) {
    const bool is_own =
        (writes_batches() && is_batch_file(name)) || (writes_epochs() && is_epoch_file(name));
    if (!is_own || detail::kind_of_entry(folder_ / name) != detail::FileKind::kFile) continue;
    FileSystem::current().remove_all(folder_ / name);
  }
}

void PredictionWriter::on_predict_start(TrainerContext& trainer, LightningModule&) {
  // Every rank must ask for the run's folder.
  folder_ = options_.dirpath.empty() ? trainer.run_dir() / "predictions" : options_.dirpath;
  rank_ = trainer.global_rank();
  buffer_.clear();
  buffered_bytes_ = 0;
  num_files_ = 0;
  FileSystem& files = FileSystem::current();
  make_writable_folder_of_option(
      options_.dirpath.empty() ? "Trainer: default_root_dir" : "PredictionWriter: dirpath",
      folder_);
  // Machines may have a folder of that name each.
  if (trainer.local_rank() == 0) remove_earlier_files();
  trainer.all_gather_bytes("earlier predictions are removed", "");
  if (!writes_epochs()) return;
  // What a run that was killed has left.
  if (detail::entry_exists(spool_of(rank_))) files.remove_all(spool_of(rank_));
  files.create_directories(spool_of(rank_));
}

void PredictionWriter::on_predict_batch_end(TrainerContext& trainer, LightningModule& module,
                                            const Batch& outputs, const Batch& batch,
                                            int64_t batch_idx) {
  if (writes_batches()) write_on_batch_end(trainer, module, outputs, batch, batch_idx);
  if (writes_epochs()) spool(outputs, batch, batch_idx);
}

void PredictionWriter::spool(const Batch& outputs, const Batch& batch, int64_t batch_idx) {
  for (const auto& [name, tensor] : outputs.items()) {
    // A copy: the module may use the tensor again.
    at::Tensor on_host = tensor.detach().to(at::kCPU, /*non_blocking=*/false, /*copy=*/true);
    buffered_bytes_ += bytes_of(on_host);
    buffer_.emplace_back(to_text({batch.dataloader_idx(), batch_idx, name}), std::move(on_host));
  }
  if (buffered_bytes_ >= buffer_bytes()) flush();
}

void PredictionWriter::flush() {
  if (buffer_.empty()) return;
  write_safetensors(spool_of(rank_) / numbered("part", num_files_++), buffer_);
  buffer_.clear();
  buffered_bytes_ = 0;
}

void PredictionWriter::on_predict_epoch_end(TrainerContext& trainer, LightningModule& module) {
  if (!writes_epochs()) return;
  flush();
  trainer.all_gather_bytes("predictions are on the disk", "");
  if (trainer.is_global_zero()) {
    std::vector<fs::path> spools;
    for (int64_t rank = 0; rank < trainer.world_size(); ++rank) spools.push_back(spool_of(rank));
    write_on_epoch_end(trainer, module, Predictions(std::move(spools)));
  }
  trainer.all_gather_bytes("predictions are written", "");
  if (trainer.is_global_zero()) FileSystem::current().remove_all(folder_ / kSpoolFolder);
}

void PredictionWriter::write_on_batch_end(TrainerContext& trainer, LightningModule&,
                                          const Batch& outputs, const Batch& batch,
                                          int64_t batch_idx) {
  if (outputs.empty()) return;
  const std::string rank =
      trainer.world_size() == 1 ? "" : detail::concat("-rank=", trainer.global_rank());
  const std::string name = detail::concat("dataloader_idx=", batch.dataloader_idx(),
                                          "-batch_idx=", batch_idx, rank, kSuffix);
  write_safetensors(folder_ / name, outputs.items());
}

void PredictionWriter::write_on_epoch_end(TrainerContext&, LightningModule&,
                                          const Predictions& predictions) {
  std::map<std::string, std::vector<at::Tensor>> joined;
  int64_t bytes = 0;
  int64_t part = 0;
  const auto end_part = [&] {
    if (!joined.empty()) write_part(part++, joined);
    joined.clear();
    bytes = 0;
  };
  for (int64_t i = 0; i < predictions.size(); ++i) {
    const Batch outputs = predictions.read(i);
    const int64_t loader = outputs.dataloader_idx();
    NamedTensors named;
    bool fits = bytes < buffer_bytes();
    for (const auto& [name, tensor] : outputs.items()) {
      named.emplace_back(loader == 0 ? name : detail::concat(name, "/dataloader_idx_", loader),
                         tensor);
      const auto found = joined.find(named.back().first);
      if (found != joined.end() && !can_join(found->second.front(), tensor)) fits = false;
    }
    if (!fits) end_part();
    for (auto& [name, tensor] : named) {
      bytes += bytes_of(tensor);
      joined[name].push_back(std::move(tensor));
    }
  }
  end_part();
}

void PredictionWriter::write_part(
    int64_t part, const std::map<std::string, std::vector<at::Tensor>>& joined) const {
  NamedTensors tensors;
  for (const auto& [name, parts] : joined) {
    tensors.emplace_back(name, parts.size() == 1 ? parts.front() : at::cat(parts));
  }
  write_safetensors(folder_ / numbered("predictions", part), tensors);
}

}  // namespace lightning
