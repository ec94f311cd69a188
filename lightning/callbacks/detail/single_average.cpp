#include <lightning/callbacks/detail/single_average.h>

#include <string>
#include <typeinfo>

#include <c10/util/Type.h>

#include <lightning/callbacks/stochastic_weight_averaging.h>
#include <lightning/callbacks/weight_averaging.h>
#include <lightning/util/error.h>

namespace lightning::detail {

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
}

}  // namespace lightning::detail
