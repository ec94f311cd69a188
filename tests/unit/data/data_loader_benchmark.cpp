// Hidden: `unit_data "[benchmark]"` prints what a batch of 32 MNIST-sized rows costs the training
// thread, in CPU time.
#include <algorithm>
#include <ctime>
#include <iostream>

#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include <lightning/data/data_loader.h>

namespace {

// Of this thread alone, so that other work on the machine disturbs little.
double cpu_microseconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return 1e6 * static_cast<double>(now.tv_sec) + 1e-3 * static_cast<double>(now.tv_nsec);
}

// The mean CPU time in next() over an epoch, with `step_us` of work after each batch.
double time_epoch(lightning::DataLoader& loader, int64_t epoch, double step_us) {
  loader.begin_epoch(epoch);
  double total = 0;
  int64_t count = 0;
  for (bool more = true; more; ++count) {
    const double start = cpu_microseconds();
    more = loader.next().has_value();
    const double step = cpu_microseconds();
    total += step - start;
    while (cpu_microseconds() - step < step_us) {
    }
  }
  return total / static_cast<double>(count);
}

double time_index_select(const at::Tensor& x, const at::Tensor& y) {
  const at::Tensor order = at::randperm(x.size(0));
  const int64_t count = x.size(0) / 32;
  const double start = cpu_microseconds();
  for (int64_t i = 0; i < count; ++i) {
    const at::Tensor rows = order.slice(0, i * 32, i * 32 + 32);
    x.index_select(0, rows);
    y.index_select(0, rows);
  }
  return (cpu_microseconds() - start) / static_cast<double>(count);
}

}  // namespace

TEST_CASE("DataLoader's cost per batch", "[.][benchmark]") {
  const at::Tensor x = at::rand({9000, 784});
  const at::Tensor y = at::randint(10, {9000});
  const auto dataset =
      std::make_shared<lightning::TensorDataset>(lightning::Batch({{"x", x}, {"y", y}}));
  double best = 1e9;
  for (int i = 0; i < 8; ++i) best = std::min(best, time_index_select(x, y));
  std::cout << "index_select alone: " << best << " us\n";
  for (const int64_t num_workers : {0, 1, 2}) {
    for (const double step_us : {0.0, 400.0}) {
      lightning::DataLoader loader(
          dataset, {.batch_size = 32, .shuffle = true, .num_workers = num_workers, .seed = 1});
      best = 1e9;
      for (int64_t epoch = 0; epoch < 8; ++epoch) {
        best = std::min(best, time_epoch(loader, epoch, step_us));
      }
      std::cout << num_workers << " workers, " << step_us << " us a step: " << best
                << " us in next()\n";
    }
  }
}
