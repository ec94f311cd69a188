// What the framework itself costs per step: heap allocations are few, and no more in step 2000 than
// in step 200; nor is more memory in use then.
#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include <catch2/catch.hpp>

#include <lightning/trainer/trainer.h>

#include "support/boring_module.h"

namespace {

std::atomic<int64_t> allocations{0};
std::atomic<int64_t> bytes_in_use{0};  // of operator new; tensors have their values elsewhere

int64_t bytes_of(void* memory) { return static_cast<int64_t>(::malloc_usable_size(memory)); }

void* allocate(size_t size) noexcept {
  void* memory = std::malloc(size);
  allocations.fetch_add(1, std::memory_order_relaxed);
  bytes_in_use.fetch_add(bytes_of(memory), std::memory_order_relaxed);
  return memory;
}
void release(void* memory) noexcept {
  bytes_in_use.fetch_sub(bytes_of(memory), std::memory_order_relaxed);
  std::free(memory);
}

}  // namespace

void* operator new(size_t size) {
  if (void* memory = allocate(size)) return memory;
  throw std::bad_alloc();
}
void* operator new(size_t size, const std::nothrow_t&) noexcept { return allocate(size); }
void operator delete(void* memory) noexcept { release(memory); }
void operator delete(void* memory, size_t) noexcept { release(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { release(memory); }

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

/// Trains and validates with values that are logged in each way.
class LogsAll : public BoringModule {
 public:
  struct Growth {
    int64_t from = 0, to = 0;  // bytes in use in batch or epoch 200, and 2000
    void note(int64_t index) {
      if (index == 200) from = bytes_in_use;
      if (index == 2000) to = bytes_in_use;
    }
  };
  void on_train_epoch_start() override { epochs.note(current_epoch()); }
  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t batch_idx) override {
    training.note(batch_idx);
    lightning::StepOutput output = BoringModule::training_step(batch, batch_idx);
    log("loss", output.loss, {.on_epoch = true, .prog_bar = true});
    return std::move(output).with({{"loss", output.loss}});
  }
  void validation_step(const lightning::Batch& batch, int64_t batch_idx) override {
    validation.note(batch_idx);
    const at::Tensor value = layer->forward(batch["x"]).mean();
    log("value", value, {.on_step = true});
    set_step_outputs({{"value", value}});
  }
  Growth training;
  Growth validation;
  Growth epochs;
};

std::shared_ptr<lightning::DataLoader> same_batches() {
  return std::make_shared<lightning::DataLoader>(std::make_shared<SameBatch>(),
                                                 lightning::DataLoaderOptions{.batch_size = 1});
}

std::shared_ptr<LogsAll> train_and_validate(int64_t epochs, int64_t batches) {
  lightning::TrainerOptions options = quiet_options();
  options.max_epochs = epochs;
  options.limit_train_batches = options.limit_val_batches = batches;
  lightning::Trainer trainer(options, {}, lightning::Loggers{});
  auto module = std::make_shared<LogsAll>();
  trainer.fit(module, same_batches(), same_batches());
  return module;
}

void check(const LogsAll::Growth& growth) {
  // One number that is kept each time would be 14 KB.
  constexpr int64_t kAtMost = 4096;
  CAPTURE(growth.from, growth.to);
  CHECK(growth.from > 0);
  CHECK(growth.to - growth.from <= kAtMost);
}

}  // namespace

TEST_CASE("A step of the framework makes few heap allocations, and always as many", "[trainer]") {
  // 8 today: the copies of a batch on its way (its list of tensors) and of its sample contexts.
  constexpr int64_t kAtMostPerStep = 10;
  lightning::TrainerOptions options = quiet_options();
  options.max_epochs = 1;
  options.limit_train_batches = 2200;
  lightning::Trainer trainer(options, {}, lightning::Loggers{});
  const auto module = std::make_shared<DoesNothing>();
  trainer.fit(module, same_batches());
  const int64_t early = module->at_300 - module->at_200;
  const int64_t late = module->at_2100 - module->at_2000;
  INFO("allocations in 100 steps: " << early << " early, " << late << " late");
  CHECK(late <= early);
  CHECK(early <= 100 * kAtMostPerStep);
  CHECK(early > 0);
}

TEST_CASE("Logging and outputs take no more memory from batch to batch (pain #4556)", "[trainer]") {
  const auto module = train_and_validate(/*epochs=*/1, /*batches=*/2200);
  check(module->training);
  check(module->validation);
}

TEST_CASE("Logging takes no more memory from epoch to epoch, also when nobody reads the metrics",
          "[trainer]") {
  check(train_and_validate(/*epochs=*/2001, /*batches=*/1)->epochs);
}
