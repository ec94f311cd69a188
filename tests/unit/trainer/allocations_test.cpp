// What the framework itself costs per step: heap allocations are few, and no more in step 2000 than
// in step 200.
#include <atomic>
#include <cstdlib>
#include <new>

#include <catch2/catch.hpp>

#include <lightning/trainer/trainer.h>

#include "support/boring_module.h"

namespace {

std::atomic<int64_t> allocations{0};

}  // namespace

void* operator new(size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return std::malloc(size);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }

namespace {

/// A batch that exists already: what a loader allocates is not the loop's.
class SameBatch : public lightning::Dataset {
 public:
  int64_t size() const override { return 4096; }
  lightning::Batch get_batch(std::span<const int64_t> indices,
                             std::span<lightning::SampleContext>) override {
    lightning::Batch batch({{"x", x_}});
    batch.set_batch_size(static_cast<int64_t>(indices.size()));
    return batch;
  }

 private:
  at::Tensor x_ = torch::ones({1, 2});
};

class DoesNothing : public BoringModule {
 public:
  lightning::StepOutput training_step(const lightning::Batch&, int64_t batch_idx) override {
    if (batch_idx == 200) at_200 = allocations;
    if (batch_idx == 300) at_300 = allocations;
    if (batch_idx == 2000) at_2000 = allocations;
    if (batch_idx == 2100) at_2100 = allocations;
    log("number", 1.0);
    return lightning::StepOutput::skip();
  }
  int64_t at_200 = 0, at_300 = 0, at_2000 = 0, at_2100 = 0;
};

}  // namespace

TEST_CASE("A step of the framework makes few heap allocations, and always as many", "[trainer]") {
  // 8 today: the copies of a batch on its way (its list of tensors) and of its sample contexts.
  constexpr int64_t kAtMostPerStep = 10;
  lightning::TrainerOptions options = quiet_options();
  options.max_epochs = 1;
  options.limit_train_batches = 2200;
  lightning::Trainer trainer(options, {}, lightning::Loggers{});
  const auto module = std::make_shared<DoesNothing>();
  trainer.fit(module,
              std::make_shared<lightning::DataLoader>(
                  std::make_shared<SameBatch>(), lightning::DataLoaderOptions{.batch_size = 1}));
  const int64_t early = module->at_300 - module->at_200;
  const int64_t late = module->at_2100 - module->at_2000;
  INFO("allocations in 100 steps: " << early << " early, " << late << " late");
  CHECK(late <= early);
  CHECK(early <= 100 * kAtMostPerStep);
  CHECK(early > 0);
}
