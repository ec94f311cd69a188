#include <lightning/util/detail/generator_state.h>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>

#include <lightning/util/random.h>

namespace lightning {
namespace {

int64_t num_gpus() {
  return at::globalContext().hasCUDA() ? at::detail::getCUDAHooks().deviceCount() : 0;
}

at::Generator gpu_generator(int64_t index) {
  return at::globalContext().defaultGenerator(
      at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(index)));
}

}  // namespace

GeneratorState GeneratorState::capture() {
  GeneratorState state;
  state.states_.set("cpu", at::detail::getDefaultCPUGenerator().get_state());
  for (int64_t i = 0; i < num_gpus(); ++i) {
    state.states_.set("cuda/" + std::to_string(i), gpu_generator(i).get_state());
  }
  return state;
}

void GeneratorState::restore() const {
  at::Generator cpu = at::detail::getDefaultCPUGenerator();
  cpu.set_state(states_.get<at::Tensor>("cpu"));
  for (int64_t i = 0; i < num_gpus(); ++i) {
    const std::string name = "cuda/" + std::to_string(i);
    // A run that resumes with more GPUs than it was saved with has no state for the new ones.
    if (states_.contains(name)) gpu_generator(i).set_state(states_.get<at::Tensor>(name));
  }
}

GeneratorState GeneratorState::from_state_dict(const StateDict& state) {
  GeneratorState result;
  result.states_ = state;
  return result;
}

void seed_rank_generators(int64_t global_step, int64_t rank) {
  at::manual_seed(
      mix_seed(global_seed(), static_cast<uint64_t>(global_step) + 1, static_cast<uint64_t>(rank)));
}

}  // namespace lightning
