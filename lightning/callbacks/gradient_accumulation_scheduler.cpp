#include <lightning/callbacks/gradient_accumulation_scheduler.h>

#include <algorithm>
#include <iterator>
#include <limits>

#include <lightning/config/value_io.h>
#include <lightning/util/error.h>

namespace lightning {
namespace {

constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();

}  // namespace

int64_t AccumulationSchedule::at(int64_t epoch) const {
  const auto next = factors_.upper_bound(epoch);
  return next == factors_.begin() ? 1 : std::prev(next)->second;
}

int64_t AccumulationSchedule::steps_in(int64_t epochs, int64_t batches) const {
  int64_t steps = 0;
  for (int64_t epoch = 0; epoch < epochs;) {
    // Epochs of one factor at once: there may be very many.
    const auto next = factors_.upper_bound(epoch);
    const int64_t end = next == factors_.end() ? epochs : std::min(next->first, epochs);
    const int64_t factor = at(epoch);
    const int64_t per_epoch = batches / factor + (batches % factor == 0 ? 0 : 1);
    int64_t part = 0;
    if (__builtin_mul_overflow(per_epoch, end - epoch, &part) ||
        __builtin_add_overflow(steps, part, &steps)) {
      return kLargest;
    }
    epoch = end;
  }
  return steps;
}

void AccumulationSchedule::read(const config::ConfigNode& node, std::string_view path) {
  using config::detail::read_signed;
  LIGHTNING_CHECK(node.kind() == config::ConfigNode::Kind::kMap, ConfigError,
                  node.source().to_string(), ": ", path,
                  " is no map, expected factors by epoch, such as {0: 1, 4: 2}.");
  std::map<int64_t, int64_t> factors;
  for (const auto& [key, value] : node.entries()) {
    const std::string place = detail::concat(path, ".", key);
    const auto epoch =
        read_signed(config::ConfigNode::scalar(key, value.source()), place, 0, kLargest);
    factors[epoch] = read_signed(value, place, 1, kLargest);
  }
  factors_ = std::move(factors);
}

config::ConfigNode AccumulationSchedule::to_node() const {
  config::ConfigNode node = config::ConfigNode::map();
  for (const auto& [epoch, factor] : factors_) {
    node.set(std::to_string(epoch), config::ConfigNode::scalar(std::to_string(factor)));
  }
  return node;
}

GradientAccumulationScheduler::GradientAccumulationScheduler(
    GradientAccumulationSchedulerOptions options)
    : options_(std::move(options)) {
  const auto& factors = options_.scheduling.factors();
  LIGHTNING_CHECK(!factors.empty(), ConfigError,
                  "GradientAccumulationScheduler: scheduling is empty, expected factors by epoch. "
                  "HINT: set it to {0: 1, 4: 2} for two batches a step from the fifth epoch on.");
  for (const auto& [epoch, factor] : factors) {
    LIGHTNING_CHECK(epoch >= 0, ConfigError, "GradientAccumulationScheduler: scheduling has epoch ",
                    epoch, ", expected 0 or more. HINT: the first epoch is 0.");
    LIGHTNING_CHECK(factor >= 1, ConfigError, "GradientAccumulationScheduler: the factor of epoch ",
                    epoch, " is ", factor,
                    ", expected 1 or more. HINT: use 1 for a step after every batch.");
  }
}

const AccumulationSchedule* GradientAccumulationScheduler::find(
    const std::vector<std::shared_ptr<Callback>>& callbacks) {
  for (const auto& callback : callbacks) {
    const auto* one = dynamic_cast<const GradientAccumulationScheduler*>(callback.get());
    if (one != nullptr) return &one->scheduling();
  }
  return nullptr;
}

void GradientAccumulationScheduler::setup(TrainerContext& trainer, LightningModule& module,
                                          Stage stage) {
  if (stage != Stage::kFit) return;
  LIGHTNING_CHECK(module.automatic_optimization(), ConfigError,
                  "GradientAccumulationScheduler: the module optimizes manually, expected "
                  "automatic optimization. HINT: accumulate by Sync::kMoreFollow, and remove the "
                  "callback.");
  LIGHTNING_CHECK(trainer.accumulate_grad_batches() == 1, ConfigError,
                  "GradientAccumulationScheduler: accumulate_grad_batches of the Trainer is ",
                  trainer.accumulate_grad_batches(),
                  ", expected 1 beside this callback. HINT: remove one of them.");
}

void GradientAccumulationScheduler::on_train_epoch_start(TrainerContext& trainer,
                                                         LightningModule&) {
  trainer.set_accumulate_grad_batches(options_.scheduling.at(trainer.current_epoch()));
}

}  // namespace lightning
