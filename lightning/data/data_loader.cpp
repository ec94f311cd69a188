#include <lightning/data/data_loader.h>

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include <ATen/Context.h>

#include <lightning/data/detail/batch_jobs.h>
#include <lightning/data/detail/loader_options.h>
#include <lightning/data/detail/prefetcher.h>
#include <lightning/util/error.h>
#include <lightning/util/random.h>

namespace lightning {
namespace {

constexpr int64_t kUnknownEnd = std::numeric_limits<int64_t>::max();

void check_same_size(const StateDict& state, const char* entry, const char* what, int64_t now) {
  const int64_t then = state.get<int64_t>(entry);
  LIGHTNING_CHECK(
      then == now, CheckpointError,
      format("DataLoader: the checkpoint was written with a {} of {} samples, now there "
             "are {}; the same dataset is required to resume.",
             what, then, now));
}

}  // namespace

class DataLoader::Impl {
 public:
  explicit Impl(DataLoaderOptions loader_options) : options(std::move(loader_options)) {
    detail::check_options(options);
    batch_size = detail::rank_batch_size(options, shard.world_size);
    pin_memory = options.pin_memory.value_or(false);
  }

  void set_shard(const DataShard& new_shard);
  void set_fixed_order(bool fixed);
  std::optional<int64_t> num_batches() const;
  std::optional<int64_t> num_rank_batches() const;
  std::optional<ShardSize> shard_size(const DataShard& of, std::optional<int64_t> limit) const;
  void begin_epoch(int64_t new_epoch);
  std::optional<Batch> next();
  bool exhausted();
  int64_t batches_delivered() const { return delivered_; }
  StateDict state_dict() const;
  void load_state_dict(const StateDict& state);

  // Exactly one of the first two; at most one of the samplers.
  std::shared_ptr<Dataset> dataset;
  std::shared_ptr<IterableDataset> stream;
  std::shared_ptr<Sampler> sampler;
  std::shared_ptr<BatchSampler> batch_sampler;
  DataLoaderOptions options;
  DataShard shard;
  int64_t batch_size = 1;  // of this rank
  bool pin_memory = false;
  bool fixed_order = false;  // of the epochs to begin

 private:
  struct Length {
    int64_t size;         // of the epoch
    int64_t global_size;  // of a global batch
    bool keep_last;
  };
  std::optional<Length> length() const;
  uint64_t seed() const { return seed_.value_or(options.seed.value_or(global_seed())); }
  bool shuffles() const { return shuffle_.value_or(options.shuffle); }
  detail::EpochPlan make_plan(int64_t epoch, uint64_t seed, bool fixed, const DataShard& of) const;
  std::vector<int64_t> make_order(int64_t epoch, uint64_t seed, bool fixed) const;
  void prepare(detail::EpochPlan plan);
  void prepare_stream(int64_t epoch, uint64_t seed);
  void make_stream_job(int64_t samples_consumed);
  void launch();
  bool fetch(detail::LoadedBatch& loaded);
  void load_indexed(const StateDict& state, int64_t epoch, uint64_t seed);
  void load_stream(const StateDict& state, int64_t epoch, uint64_t seed);
  std::string expected_position() const;

  // What is in progress: nothing (job_ is null), or an epoch that is launched at its first batch.
  std::shared_ptr<detail::BatchJob> job_;
  bool launched_ = false;
  bool sharded_stream_ = false;               // the stream gives this rank's samples alone
  int64_t next_number_ = 0;                   // of the batch to fetch
  int64_t end_number_ = 0;                    // number of this rank's batches in the epoch
  int64_t num_global_ = 0;                    // number of global batches in the epoch
  std::optional<detail::LoadedBatch> ahead_;  // fetched by exhausted()

  // The position after the last delivered batch.
  std::optional<uint64_t> seed_;  // fixed when the first epoch begins
  std::optional<bool> shuffle_;   // of the position that was loaded
  bool in_fixed_order_ = false;   // of the present epoch
  int64_t epoch_ = 0;
  int64_t samples_consumed_ = 0;
  int64_t delivered_ = 0;  // batches
  StateDict stream_state_;

  std::unique_ptr<detail::Prefetcher> prefetcher_;  // last: its threads end before the rest goes
};

void DataLoader::Impl::set_shard(const DataShard& new_shard) {
  detail::check_shard(new_shard);
  if (new_shard == shard) return;
  const int64_t new_batch_size = detail::rank_batch_size(options, new_shard.world_size);
  const bool under_way = job_ != nullptr;
  const StateDict position = under_way ? state_dict() : StateDict();
  if (prefetcher_) prefetcher_->quiesce();
  shard = new_shard;
  batch_size = new_batch_size;
  if (stream) sharded_stream_ = detail::shard_stream(*stream, shard);
  if (under_way) load_state_dict(position);
}

void DataLoader::Impl::set_fixed_order(bool fixed) {
  if (fixed == fixed_order || stream) return;
  fixed_order = fixed;
  if (prefetcher_) prefetcher_->quiesce();
  job_.reset();
  ahead_.reset();
}

// In samples, or in batches of the batch sampler; nothing for a stream of unknown length.
std::optional<DataLoader::Impl::Length> DataLoader::Impl::length() const {
  const bool keep_last = !options.drop_last && shard.uneven != UnevenInputs::kDrop;
  if (batch_sampler) {
    const int64_t epoch = fixed_order ? 0 : epoch_;
    return Length{batch_sampler->num_batches(epoch), shard.world_size, keep_last};
  }
  const bool by_sampler = sampler != nullptr && !fixed_order;
  const std::optional<int64_t> size =
      stream ? stream->size() : std::optional(by_sampler ? sampler->size() : dataset->size());
  if (!size) return std::nullopt;
  return Length{*size, batch_size * shard.world_size, keep_last};
}

std::optional<int64_t> DataLoader::Impl::num_batches() const {
  if (job_ && !stream) return num_global_;
  const std::optional<Length> known = length();
  if (!known) return std::nullopt;
  return detail::count_global_batches(known->size, known->global_size, known->keep_last);
}

std::optional<int64_t> DataLoader::Impl::num_rank_batches() const {
  if (job_ && !stream) return end_number_;
  const std::optional<Length> known = length();
  if (!known || (sharded_stream_ && shard.uneven == UnevenInputs::kExact)) return std::nullopt;
  return detail::count_rank_batches(known->size, known->global_size, known->keep_last, shard);
}

std::optional<ShardSize> DataLoader::Impl::shard_size(const DataShard& of,
                                                      std::optional<int64_t> limit) const {
  detail::check_shard(of);
  if (stream) return std::nullopt;
  const detail::EpochPlan plan = make_plan(epoch_, seed(), fixed_order, of);
  const int64_t num_global = plan.num_global_batches();
  const int64_t at_most = limit.value_or(num_global);
  ShardSize size;
  size.batches = std::min(plan.num_batches(), at_most);
  size.samples_all_ranks = plan.consumed[static_cast<size_t>(std::min(num_global, at_most))];
  for (size_t n = 0; n < static_cast<size_t>(size.batches); ++n) {
    const bool is_padding = !plan.rank_weights.empty() && plan.rank_weights[n] == 0.0;
    if (!is_padding) size.samples += plan.offsets[n + 1] - plan.offsets[n];
  }
  return size;
}

std::vector<int64_t> DataLoader::Impl::make_order(int64_t epoch, uint64_t seed, bool fixed) const {
  if (fixed) return SequentialSampler(dataset->size()).order(epoch);
  if (!sampler) {
    const int64_t size = dataset->size();
    return shuffles() ? RandomSampler(size, seed).order(epoch)
                      : SequentialSampler(size).order(epoch);
  }
  std::vector<int64_t> order = sampler->order(epoch);
  LIGHTNING_CHECK(static_cast<int64_t>(order.size()) == sampler->size(), DataError,
                  "DataLoader: the sampler's order has ", order.size(), " samples, its size is ",
                  sampler->size(), ".");
  return order;
}

detail::EpochPlan DataLoader::Impl::make_plan(int64_t epoch, uint64_t seed, bool fixed,
                                              const DataShard& of) const {
  const int64_t size = dataset->size();
  detail::EpochPlan plan =
      batch_sampler ? detail::plan_from_batches(batch_sampler->batches(fixed ? 0 : epoch), size, of)
                    : detail::plan_from_order(make_order(epoch, seed, fixed), size,
                                              detail::rank_batch_size(options, of.world_size),
                                              options.drop_last, of);
  plan.epoch = epoch;
  plan.seed = seed;
  plan.fixed_order = fixed;
  return plan;
}

void DataLoader::Impl::prepare(detail::EpochPlan plan) {
  launched_ = false;
  ahead_.reset();
  seed_ = plan.seed;
  epoch_ = plan.epoch;
  in_fixed_order_ = plan.fixed_order;
  samples_consumed_ = 0;
  delivered_ = 0;
  next_number_ = 0;
  end_number_ = plan.num_batches();
  num_global_ = plan.num_global_batches();
  job_ =
      std::make_shared<detail::IndexedJob>(dataset, std::move(plan), pin_memory && at::hasCUDA());
}

// Leaves job_ to be made by the caller, when the stream is where it should be.
void DataLoader::Impl::prepare_stream(int64_t epoch, uint64_t seed) {
  if (prefetcher_) prefetcher_->quiesce();
  job_.reset();
  launched_ = false;
  ahead_.reset();
  seed_ = seed;
  epoch_ = epoch;
  samples_consumed_ = 0;
  delivered_ = 0;
  stream_state_ = StateDict();
  next_number_ = 0;
  end_number_ = kUnknownEnd;
  stream->begin_epoch(epoch, seed);
}

void DataLoader::Impl::make_stream_job(int64_t samples_consumed) {
  job_ = std::make_shared<detail::StreamJob>(
      stream, detail::StreamJobOptions{.batch_size = batch_size,
                                       .drop_last = options.drop_last,
                                       .pin_memory = pin_memory && at::hasCUDA(),
                                       .shard = shard,
                                       .sharded_stream = sharded_stream_,
                                       .samples_consumed = samples_consumed});
}

void DataLoader::Impl::launch() {
  if (options.num_workers > 0) {
    if (!prefetcher_) {
      prefetcher_ = std::make_unique<detail::Prefetcher>(
          options.num_workers, options.num_workers * options.prefetch_factor);
    }
    prefetcher_->start(job_, next_number_, end_number_);
  }
  launched_ = true;
}

void DataLoader::Impl::begin_epoch(int64_t new_epoch) {
  LIGHTNING_CHECK(new_epoch >= 0, ConfigError, "DataLoader: epoch must be >= 0, got ", new_epoch,
                  ".");
  if (stream) {
    prepare_stream(new_epoch, seed());
    make_stream_job(0);
  } else {
    prepare(make_plan(new_epoch, seed(), fixed_order, shard));
  }
  launch();
}

bool DataLoader::Impl::fetch(detail::LoadedBatch& loaded) {
  if (next_number_ >= end_number_) return false;
  if (!launched_) launch();
  const int64_t number = next_number_++;
  if (options.num_workers > 0) return prefetcher_->next(loaded);
  try {
    return job_->make(number, loaded);
  } catch (...) {
    loaded = detail::LoadedBatch();
    loaded.error = std::current_exception();
    return true;
  }
}

std::optional<Batch> DataLoader::Impl::next() {
  if (!job_) begin_epoch(epoch_);
  detail::LoadedBatch loaded;
  if (ahead_) {
    loaded = std::move(*ahead_);
    ahead_.reset();
  } else if (!fetch(loaded)) {
    return std::nullopt;
  }
  if (loaded.error) std::rethrow_exception(loaded.error);
  samples_consumed_ = loaded.samples_consumed;
  ++delivered_;
  stream_state_ = std::move(loaded.stream_state);
  return std::move(loaded.batch);
}

bool DataLoader::Impl::exhausted() {
  if (!stream) return job_ ? next_number_ >= end_number_ : num_rank_batches() == 0;
  if (!job_) begin_epoch(epoch_);
  if (!ahead_) {
    detail::LoadedBatch loaded;
    if (!fetch(loaded)) return true;
    ahead_ = std::move(loaded);
  }
  return false;
}

StateDict DataLoader::Impl::state_dict() const {
  StateDict state;
  state.set("kind", stream ? "stream" : "indexed");
  state.set("seed", static_cast<int64_t>(seed()));
  state.set("epoch", epoch_);
  state.set("samples_consumed", samples_consumed_);
  if (stream) {
    state.set("dataset", stream_state_);
  } else {
    state.set("dataset_size", dataset->size());
    if (sampler) {
      state.set("sampler_size", sampler->size());
    } else if (!batch_sampler) {
      state.set("shuffle", shuffles());
    }
    if (in_fixed_order_) state.set("fixed_order", true);
  }
  return state;
}

void DataLoader::Impl::load_state_dict(const StateDict& state) {
  const std::string& kind = state.get<std::string>("kind");
  LIGHTNING_CHECK(kind == (stream ? "stream" : "indexed"), CheckpointError,
                  "DataLoader: the checkpoint holds the position of a data set of kind \"", kind,
                  "\", this loader reads one of kind \"", stream ? "stream" : "indexed", "\".");
  const auto epoch = state.get<int64_t>("epoch");
  const auto seed = static_cast<uint64_t>(state.get<int64_t>("seed"));
  stream ? load_stream(state, epoch, seed) : load_indexed(state, epoch, seed);
}

void DataLoader::Impl::load_indexed(const StateDict& state, int64_t epoch, uint64_t seed) {
  check_same_size(state, "dataset_size", "data set", dataset->size());
  if (sampler) check_same_size(state, "sampler_size", "sampler", sampler->size());
  // Not in the first checkpoints that were written.
  if (state.contains("shuffle")) shuffle_ = state.get<bool>("shuffle");
  const bool fixed = state.contains("fixed_order") && state.get<bool>("fixed_order");
  detail::EpochPlan plan = make_plan(epoch, seed, fixed, shard);
  const auto samples = state.get<int64_t>("samples_consumed");
  const auto found = std::lower_bound(plan.consumed.begin(), plan.consumed.end(), samples);
  const auto number = found - plan.consumed.begin();
  // Past the last batch: what the epoch has left wouldn't fill another one, and is dropped.
  const bool at_end = found == plan.consumed.end() && samples <= plan.num_samples;
  LIGHTNING_CHECK(at_end || (found != plan.consumed.end() && *found == samples), CheckpointError,
                  "DataLoader: the checkpoint was written after ", samples, " samples of epoch ",
                  epoch, ", ", expected_position());
  prepare(std::move(plan));
  next_number_ = number;
  delivered_ = number;
  samples_consumed_ = samples;
}

std::string DataLoader::Impl::expected_position() const {
  const int64_t ranks = shard.world_size;
  if (batch_sampler) {
    return detail::concat(
        "the end of a round of ", ranks,
        " batches of the batch sampler was expected. HINT: resume with the number "
        "of ranks of the checkpoint.");
  }
  const std::string size = ranks == 1 ? detail::concat("batch size (", batch_size)
                                      : detail::concat("global batch size (", batch_size,
                                                       " on each of ", ranks, " ranks");
  return detail::concat("a multiple of this loader's ", size,
                        ") was expected. HINT: resume with the batch size and the number of ranks "
                        "of the checkpoint, or set global_batch_size to their product.");
}

void DataLoader::Impl::load_stream(const StateDict& state, int64_t epoch, uint64_t seed) {
  const auto samples = state.get<int64_t>("samples_consumed");
  prepare_stream(epoch, seed);
  if (samples > 0) {
    stream_state_ = state.nested("dataset");
    stream->load_state_dict(stream_state_);
    samples_consumed_ = samples;
    const int64_t global_size = batch_size * shard.world_size;
    delivered_ = samples / global_size + (samples % global_size == 0 ? 0 : 1);
  }
  make_stream_job(samples);
}

DataLoader::DataLoader(std::shared_ptr<Dataset> dataset, DataLoaderOptions options)
    : impl_(std::make_unique<Impl>(std::move(options))) {
  LIGHTNING_CHECK(dataset != nullptr, ConfigError, "DataLoader: the data set is null.");
  impl_->dataset = std::move(dataset);
}

DataLoader::DataLoader(std::shared_ptr<Dataset> dataset, std::shared_ptr<Sampler> sampler,
                       DataLoaderOptions options)
    : DataLoader(std::move(dataset), std::move(options)) {
  LIGHTNING_CHECK(sampler != nullptr, ConfigError, "DataLoader: the sampler is null.");
  LIGHTNING_CHECK(!impl_->options.shuffle, ConfigError,
                  "DataLoader: shuffle is true and a sampler is given, one or the other was "
                  "expected.");
  impl_->sampler = std::move(sampler);
}

DataLoader::DataLoader(std::shared_ptr<Dataset> dataset, std::shared_ptr<BatchSampler> sampler,
                       DataLoaderOptions options)
    : DataLoader(std::move(dataset), std::move(options)) {
  LIGHTNING_CHECK(sampler != nullptr, ConfigError, "DataLoader: the batch sampler is null.");
  const DataLoaderOptions& given = impl_->options;
  LIGHTNING_CHECK(
      given.batch_size == 1 && !given.global_batch_size && !given.shuffle && !given.drop_last,
      ConfigError,
      "DataLoader: batch_size, global_batch_size, shuffle or drop_last is set and a "
      "batch sampler is given, which decides all of them. HINT: set them where the "
      "batch sampler is made.");
  impl_->batch_sampler = std::move(sampler);
}

DataLoader::DataLoader(std::shared_ptr<IterableDataset> dataset, DataLoaderOptions options)
    : impl_(std::make_unique<Impl>(std::move(options))) {
  LIGHTNING_CHECK(dataset != nullptr, ConfigError, "DataLoader: the data set is null.");
  LIGHTNING_CHECK(impl_->options.num_workers <= 1, ConfigError, "DataLoader: num_workers is ",
                  impl_->options.num_workers,
                  ", a stream is read by one thread. HINT: set num_workers: 1.");
  LIGHTNING_CHECK(!impl_->options.shuffle, ConfigError,
                  "DataLoader: shuffle is true, a stream has no order to shuffle. HINT: shuffle in "
                  "the IterableDataset.");
  impl_->stream = std::move(dataset);
}

DataLoader::DataLoader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
DataLoader::~DataLoader() = default;

void DataLoader::set_shard(const DataShard& shard) { impl_->set_shard(shard); }
const DataShard& DataLoader::shard() const { return impl_->shard; }
std::optional<int64_t> DataLoader::num_batches() const { return impl_->num_batches(); }
std::optional<int64_t> DataLoader::num_rank_batches() const { return impl_->num_rank_batches(); }
std::optional<ShardSize> DataLoader::shard_size(const DataShard& shard,
                                                std::optional<int64_t> limit) const {
  return impl_->shard_size(shard, limit);
}
const DataLoaderOptions& DataLoader::options() const { return impl_->options; }
int64_t DataLoader::batch_size() const { return impl_->batch_size; }
void DataLoader::begin_epoch(int64_t epoch) { impl_->begin_epoch(epoch); }
std::optional<Batch> DataLoader::next() { return impl_->next(); }
bool DataLoader::exhausted() { return impl_->exhausted(); }
int64_t DataLoader::batches_delivered() const { return impl_->batches_delivered(); }
StateDict DataLoader::state_dict() const { return impl_->state_dict(); }
void DataLoader::load_state_dict(const StateDict& state) { impl_->load_state_dict(state); }

void DataLoader::set_default_pin_memory(bool pin) {
  impl_->pin_memory = impl_->options.pin_memory.value_or(pin);
}

void DataLoader::set_fixed_order(bool fixed) { impl_->set_fixed_order(fixed); }

bool DataLoader::has_own_order() const {
  return impl_->options.shuffle || impl_->sampler != nullptr || impl_->batch_sampler != nullptr;
}

std::shared_ptr<BatchSource> DataLoader::copy() const {
  if (impl_->stream) return nullptr;
  auto impl = std::make_unique<Impl>(impl_->options);
  impl->dataset = impl_->dataset;
  impl->sampler = impl_->sampler;
  impl->batch_sampler = impl_->batch_sampler;
  impl->pin_memory = impl_->pin_memory;
  impl->fixed_order = impl_->fixed_order;
  return std::shared_ptr<BatchSource>(new DataLoader(std::move(impl)));
}

std::string DataLoader::why_no_batches() const {
  const DataShard& shard = impl_->shard;
  if (impl_->dataset && impl_->dataset->size() == 0) {
    return "the data set is empty. HINT: check where the data is read.";
  }
  if (impl_->options.drop_last) {
    return "drop_last leaves out the only batch, which isn't full. HINT: use a smaller batch size, "
           "or drop_last: false.";
  }
  if (shard.uneven == UnevenInputs::kDrop && shard.world_size > 1) {
    return "uneven_inputs is drop and there is less than one batch for each rank. HINT: use a "
           "smaller batch size, or uneven_inputs: join.";
  }
  return "its sampler gives none. HINT: check the sampler.";
}

}  // namespace lightning
