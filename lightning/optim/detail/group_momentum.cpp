#include <lightning/optim/detail/group_momentum.h>

#include <tuple>

#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/rmsprop.h>
#include <torch/optim/sgd.h>

namespace lightning::optim {
namespace {

/// Calls visit with a reference to the momentum, where there is one.
template <typename Visit>
void visit_momentum(torch::optim::OptimizerOptions& options, Visit&& visit) {
  if (auto* sgd = dynamic_cast<torch::optim::SGDOptions*>(&options)) {
    visit(sgd->momentum());
  } else if (auto* adam = dynamic_cast<torch::optim::AdamOptions*>(&options)) {
    visit(std::get<0>(adam->betas()));
  } else if (auto* adamw = dynamic_cast<torch::optim::AdamWOptions*>(&options)) {
    visit(std::get<0>(adamw->betas()));
  } else if (auto* rmsprop = dynamic_cast<torch::optim::RMSpropOptions*>(&options)) {
    visit(rmsprop->momentum());
  }
}

}  // namespace

std::optional<double> get_momentum(const torch::optim::OptimizerOptions& options) {
  std::optional<double> momentum;
  // The visit only reads.
  visit_momentum(const_cast<torch::optim::OptimizerOptions&>(options),  // NOLINT
                 [&](double& value) { momentum = value; });
  return momentum;
}

void set_momentum(torch::optim::OptimizerOptions& options, double momentum) {
  visit_momentum(options, [momentum](double& value) { value = momentum; });
}

}  // namespace lightning::optim
