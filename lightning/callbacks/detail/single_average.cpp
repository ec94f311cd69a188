#include <lightning/callbacks/detail/single_average.h>

#include <string>
#include <typeinfo>

#include <c10/util/Type.h>

#include <lightning/callbacks/model_pruning.h>
#include <lightning/callbacks/stochastic_weight_averaging.h>
#include <lightning/callbacks/weight_averaging.h>
#include <lightning/util/error.h>

namespace lightning::detail {
namespace {

void check_no_pruning(const TrainerContext& trainer, const std::string& average) {
  for (const auto& callback : trainer.callbacks()) {
    LIGHTNING_CHECK(dynamic_cast<const ModelPruning*>(callback.get()) == nullptr, ConfigError,
                    "Trainer: the callbacks ", average,
                    " and ModelPruning are in one run, expected one of them: an average of weights "
                    "isn't pruned. HINT: prune in a fit without an average.");
  }
}

}  // namespace

void check_single_average(const TrainerContext& trainer) {
  std::string first;
  for (const auto& callback : trainer.callbacks()) {
    const Callback& one = *callback;
    if (dynamic_cast<const WeightAveraging*>(&one) == nullptr &&
        dynamic_cast<const StochasticWeightAveraging*>(&one) == nullptr) {
      continue;
    }
    const std::string name = c10::demangle(typeid(one).name());
    LIGHTNING_CHECK(first.empty(), ConfigError, "Trainer: the callbacks ", first, " and ", name,
                    " both average the weights, expected one that does. HINT: remove one of them.");
    first = name;
  }
  check_no_pruning(trainer, first);
}

}  // namespace lightning::detail
