#include <lightning/data/combined_loader.h>

#include <algorithm>
#include <any>
#include <set>
#include <string_view>

#include <lightning/util/error.h>

namespace lightning {
namespace {

CombinedLoader::Parts numbered(const DataLoaders& loaders) {
  CombinedLoader::Parts parts;
  for (const auto& source : loaders.sources()) {
    parts.emplace_back(std::to_string(parts.size()), source);
  }
  return parts;
}

std::string_view name_of(CombineMode mode) {
  switch (mode) {
    case CombineMode::kMaxSizeCycle:
      return "max_size_cycle";
    case CombineMode::kMinSize:
      return "min_size";
    case CombineMode::kMaxSize:
      return "max_size";
    case CombineMode::kSequential:
      break;
  }
  return "sequential";
}

bool is_sequential(const BatchSource& source) {
  const auto* combined = dynamic_cast<const CombinedLoader*>(&source);
  return combined != nullptr && combined->mode() == CombineMode::kSequential;
}

void check_parts(const CombinedLoader::Parts& parts) {
  LIGHTNING_CHECK(!parts.empty(), ConfigError,
                  "CombinedLoader: there are no parts, expected at least one loader.");
  std::set<std::string_view> names;
  std::set<const BatchSource*> sources;
  for (const auto& [name, source] : parts) {
    LIGHTNING_CHECK(!name.empty() && name.find('/') == std::string::npos, ConfigError,
                    "CombinedLoader: a part is named \"", name,
                    "\", expected a name without a slash. HINT: its tensors are named part/field.");
    LIGHTNING_CHECK(names.insert(name).second, ConfigError,
                    "CombinedLoader: two parts are named \"", name,
                    "\", expected different names.");
    LIGHTNING_CHECK(source != nullptr, ConfigError, "CombinedLoader: the loader of part \"", name,
                    "\" is null.");
    LIGHTNING_CHECK(sources.insert(source.get()).second, ConfigError,
                    "CombinedLoader: the loader of part \"", name,
                    "\" is that of another part too, expected one for each: a loader has one "
                    "position. HINT: make a second loader of the same data set.");
    LIGHTNING_CHECK(!is_sequential(*source), ConfigError, "CombinedLoader: part \"", name,
                    "\" is a sequential combination, expected a part of one size. HINT: use its "
                    "loaders as parts.");
  }
}

/// Batches side by side.
class Joined {
 public:
  void add(const std::string& name, const Batch& part, size_t index, size_t count) {
    for (const auto& [field, tensor] : part.items()) batch_.set(name + "/" + field, tensor);
    if (!any_) batch_.set_batch_size(part.batch_size());
    const bool weighs = !any_ || batch_.is_padding();
    if (weighs && (!any_ || !part.is_padding())) batch_.set_rank_weight(part.rank_weight());
    any_ = true;
    if (!part.has_payload()) return;
    payloads_.resize(count);
    payloads_[index] = part.any_payload();
  }
  std::optional<Batch> take() {
    if (!any_) return std::nullopt;
    if (!payloads_.empty()) batch_.set_payload(std::move(payloads_));
    return std::move(batch_);
  }

 private:
  Batch batch_;
  std::vector<std::any> payloads_;
  bool any_ = false;
};

int64_t count_in(const StateDict& state, std::string_view name) {
  const auto count = state.get<int64_t>(name);
  LIGHTNING_CHECK(count >= 0, CheckpointError, "CombinedLoader: ", name, " of the checkpoint is ",
                  count, ", expected 0 or more. HINT: resume from a different checkpoint.");
  return count;
}

}  // namespace

CombinedLoader::CombinedLoader(Parts parts, CombineMode mode) : mode_(mode) {
  check_parts(parts);
  for (auto& [name, source] : parts) {
    PartState part;
    part.name = std::move(name);
    part.source = std::move(source);
    parts_.push_back(std::move(part));
  }
}

CombinedLoader::CombinedLoader(const DataLoaders& loaders, CombineMode mode)
    : CombinedLoader(numbered(loaders), mode) {}

CombinedLoader::~CombinedLoader() = default;

std::optional<int64_t> CombinedLoader::num_batches() const {
  std::optional<int64_t> total;
  for (const PartState& part : parts_) {
    const std::optional<int64_t> batches = part.source->num_batches();
    if (!batches) return std::nullopt;
    if (!total) {
      total = batches;
    } else if (mode_ == CombineMode::kSequential) {
      *total += *batches;
    } else {
      total =
          mode_ == CombineMode::kMinSize ? std::min(*total, *batches) : std::max(*total, *batches);
    }
  }
  return total;
}

int64_t CombinedLoader::batch_size() const { return parts_.front().source->batch_size(); }

void CombinedLoader::begin_pass(PartState& part, int64_t pass) {
  // No epoch of any run, and the same whatever the lengths of the other parts are.
  static constexpr int64_t kEpochsBetweenPasses = 1'000'000;
  part.source->begin_epoch(epoch_ + pass * kEpochsBetweenPasses);
  part.pass = pass;
  part.served = 0;
  part.begun = true;
}

void CombinedLoader::begin_epoch(int64_t epoch) {
  LIGHTNING_CHECK(epoch >= 0, ConfigError, "CombinedLoader: epoch must be >= 0, got ", epoch, ".");
  epoch_ = epoch;
  delivered_ = 0;
  begun_ = true;
  for (PartState& part : parts_) {
    part.pass = 0;
    part.served = 0;
    part.begun = false;
  }
  // Of a sequence, workers of one part at a time.
  if (mode_ == CombineMode::kSequential) return;
  for (PartState& part : parts_) begin_pass(part, 0);
}

bool CombinedLoader::at_end(PartState& part) {
  if (!part.begun) begin_pass(part, part.pass);
  const std::optional<int64_t> batches = part.source->num_batches();
  return batches ? part.served >= *batches : part.source->exhausted();
}

std::optional<Batch> CombinedLoader::take(PartState& part) {
  std::optional<Batch> batch = part.source->next();
  ++part.served;
  return batch;
}

bool CombinedLoader::exhausted() {
  if (!begun_) begin_epoch(epoch_);
  const auto is_over = [this](PartState& part) { return part.pass > 0 || at_end(part); };
  if (mode_ == CombineMode::kMinSize) return std::any_of(parts_.begin(), parts_.end(), is_over);
  return std::all_of(parts_.begin(), parts_.end(), is_over);
}

std::optional<Batch> CombinedLoader::next() {
  if (!begun_) begin_epoch(epoch_);
  return mode_ == CombineMode::kSequential ? next_in_sequence() : next_combined();
}

std::optional<Batch> CombinedLoader::next_combined() {
  if (exhausted()) return std::nullopt;
  Joined joined;
  bool is_whole = true;
  for (size_t i = 0; i < parts_.size(); ++i) {
    PartState& part = parts_[i];
    if (at_end(part)) {
      if (mode_ == CombineMode::kMaxSize) continue;
      begin_pass(part, part.pass + 1);
      LIGHTNING_CHECK(!at_end(part), DataError, "CombinedLoader: part \"", part.name,
                      "\" gave no batch in a whole pass, expected at least one. HINT: check its "
                      "data set; begin_epoch() of a stream must begin anew.");
    }
    const std::optional<Batch> batch = take(part);
    is_whole = is_whole && batch.has_value();
    if (batch) joined.add(part.name, *batch, i, parts_.size());
  }
  ++delivered_;
  // In an evaluation a rank may have no samples of a part's last global batch.
  if (!is_whole && mode_ != CombineMode::kMaxSize) return std::nullopt;
  return joined.take();
}

std::optional<Batch> CombinedLoader::next_in_sequence() {
  for (size_t i = 0; i < parts_.size(); ++i) {
    if (at_end(parts_[i])) continue;
    std::optional<Batch> batch = take(parts_[i]);
    ++delivered_;
    if (batch) batch->set_dataloader_idx(static_cast<int64_t>(i));
    return batch;
  }
  return std::nullopt;
}

StateDict CombinedLoader::state_dict() const {
  StateDict state;
  state.set("kind", "combined");
  state.set("mode", std::string(name_of(mode_)));
  state.set("epoch", epoch_);
  state.set("delivered", delivered_);
  state.set("num_parts", static_cast<int64_t>(parts_.size()));
  for (size_t i = 0; i < parts_.size(); ++i) {
    const PartState& part = parts_[i];
    StateDict own;
    own.set("name", part.name);
    own.set("pass", part.pass);
    own.set("begun", part.begun);
    own.set("source", part.source->state_dict());
    state.set("parts/" + std::to_string(i), own);
  }
  return state;
}

void CombinedLoader::load_state_dict(const StateDict& state) {
  const std::string& kind = state.get<std::string>("kind");
  LIGHTNING_CHECK(
      kind == "combined", CheckpointError,
      "CombinedLoader: the checkpoint holds the position of a loader of kind \"", kind,
      "\", this one combines several. HINT: resume with the loaders of the checkpoint.");
  const std::string& mode = state.get<std::string>("mode");
  LIGHTNING_CHECK(mode == name_of(mode_), CheckpointError,
                  "CombinedLoader: the checkpoint was written with mode ", mode, ", this one has ",
                  name_of(mode_), ". HINT: resume with the mode of the checkpoint.");
  const int64_t count = count_in(state, "num_parts");
  LIGHTNING_CHECK(count == static_cast<int64_t>(parts_.size()), CheckpointError,
                  "CombinedLoader: the checkpoint has ", count, " parts, this one has ",
                  parts_.size(), ". HINT: resume with the loaders of the checkpoint.");
  epoch_ = count_in(state, "epoch");
  const int64_t delivered = count_in(state, "delivered");
  delivered_ = 0;
  for (size_t i = 0; i < parts_.size(); ++i) {
    load_part(parts_[i], state.nested("parts/" + std::to_string(i)));
    // With another batch size the same place has another number: that of a part in its first pass.
    if (mode_ == CombineMode::kSequential) {
      delivered_ += parts_[i].served;
    } else if (parts_[i].pass == 0) {
      delivered_ = std::max(delivered_, parts_[i].served);
    }
  }
  // Only at the end of a cycle every part may be in a later pass.
  if (delivered_ == 0) delivered_ = delivered;
  begun_ = true;
}

void CombinedLoader::load_part(PartState& part, const StateDict& state) {
  const std::string& name = state.get<std::string>("name");
  LIGHTNING_CHECK(name == part.name, CheckpointError,
                  "CombinedLoader: a part of the checkpoint is \"", name, "\", this one has \"",
                  part.name, "\" in its place. HINT: resume with the loaders of the checkpoint.");
  part.pass = count_in(state, "pass");
  part.begun = state.get<bool>("begun");
  part.served = 0;
  if (!part.begun) return;
  part.source->load_state_dict(state.nested("source"));
  part.served = part.source->batches_delivered();
}

void CombinedLoader::set_shard(const DataShard& shard) {
  for (PartState& part : parts_) {
    part.source->set_shard(shard);
    // The place in a pass has another number.
    if (part.begun) part.served = part.source->batches_delivered();
  }
}

std::optional<ShardSize> CombinedLoader::shard_size(const DataShard&,
                                                    std::optional<int64_t>) const {
  return std::nullopt;
}

void CombinedLoader::set_default_pin_memory(bool pin) {
  for (PartState& part : parts_) part.source->set_default_pin_memory(pin);
}

void CombinedLoader::set_fixed_order(bool fixed) {
  for (PartState& part : parts_) part.source->set_fixed_order(fixed);
  begun_ = false;
}

bool CombinedLoader::has_own_order() const {
  return std::any_of(parts_.begin(), parts_.end(),
                     [](const PartState& part) { return part.source->has_own_order(); });
}

std::shared_ptr<BatchSource> CombinedLoader::copy() const {
  Parts copies;
  for (const PartState& part : parts_) {
    copies.emplace_back(part.name, part.source->copy());
    if (copies.back().second == nullptr) return nullptr;
  }
  return std::make_shared<CombinedLoader>(std::move(copies), mode_);
}

void CombinedLoader::check() const {
  for (const PartState& part : parts_) {
    part.source->check();
    LIGHTNING_CHECK(part.source->num_batches() != 0, ConfigError, "CombinedLoader: part \"",
                    part.name, "\" has no batches, since ", part.source->why_no_batches());
  }
}

std::string CombinedLoader::why_no_batches() const {
  for (const PartState& part : parts_) {
    if (part.source->num_batches() == 0) return part.source->why_no_batches();
  }
  return "its parts give none. HINT: check their data.";
}

}  // namespace lightning
