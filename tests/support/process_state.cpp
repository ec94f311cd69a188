#include "support/process_state.h"

#include <unistd.h>

#include <cstdlib>
#include <string_view>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <c10/core/DefaultDtype.h>
#include <c10/core/GradMode.h>

#include <lightning/util/random.h>

namespace lightning_tests {
namespace {

std::map<std::string, std::string> environment_variables() {
  std::map<std::string, std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const size_t end = text.find('=');
    if (end != std::string_view::npos) variables.emplace(text.substr(0, end), text.substr(end + 1));
  }
  return variables;
}

}  // namespace

ProcessState::ProcessState()
    : variables_(environment_variables()),
      folder_(std::filesystem::current_path()),
      log_sink_(lightning::set_log_sink([](std::string_view) {})),
      threads_(at::get_num_threads()) {
  lightning::set_log_sink(log_sink_);
  for (size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], nullptr, &actions_[i]);
}

void ProcessState::restore() const {
  for (const auto& [name, value] : environment_variables()) {
    if (!variables_.contains(name)) ::unsetenv(name.c_str());
  }
  for (const auto& [name, value] : variables_) ::setenv(name.c_str(), value.c_str(), 1);
  std::filesystem::current_path(folder_);
  for (size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &actions_[i], nullptr);
  lightning::set_log_sink(log_sink_);
  lightning::set_log_rank(0);
  lightning::set_log_level(lightning::LogLevel::kInfo);

  if (lightning::global_seed() != 0) lightning::seed_everything(0);
  at::Generator generator = at::detail::getDefaultCPUGenerator();
  generator.set_current_seed(c10::default_rng_seed_val);
  c10::set_default_dtype(caffe2::TypeMeta::Make<float>());
  c10::GradMode::set_enabled(true);
  at::globalContext().setDeterministicAlgorithms(false, false);
  if (at::get_num_threads() != threads_) at::set_num_threads(threads_);
}

}  // namespace lightning_tests
