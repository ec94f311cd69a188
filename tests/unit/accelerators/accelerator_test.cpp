#include <lightning/accelerators/accelerator.h>

#include <torch/torch.h>
#include <catch2/catch.hpp>

#include <lightning/util/error.h>

#include "support/skip.h"

using Catch::Matchers::Contains;
using lightning::Accelerator;
using lightning::ConfigError;

TEST_CASE("the CPU counts processes as devices", "[accelerators]") {
  const Accelerator one = Accelerator::resolve("cpu", "auto");
  CHECK(one.devices() == std::vector<at::Device>{at::Device(at::kCPU)});
  CHECK_FALSE(one.name().empty());
  CHECK(Accelerator::resolve("cpu", "3").devices().size() == 3);
  CHECK(Accelerator::resolve("cpu", " 1 ").devices().size() == 1);
}

TEST_CASE("devices and accelerators that make no sense are refused", "[accelerators]") {
  for (const char* devices : {"0", "-1", "two", "", "1.5", "0,1", "[0]", "99999999999999999999"}) {
    CAPTURE(devices);
    CHECK_THROWS_AS(Accelerator::resolve("cpu", devices), ConfigError);
    CHECK_THROWS_WITH(Accelerator::resolve("cpu", devices), Contains("HINT"));
  }
  CHECK_THROWS_WITH(Accelerator::resolve("tpu", "auto"),
                    Contains("\"tpu\"") && Contains("auto, cpu, gpu or cuda"));
}

TEST_CASE("auto takes what there is, gpu insists", "[accelerators]") {
  const Accelerator automatic = Accelerator::resolve("auto", "auto");
  REQUIRE(automatic.devices().size() == 1);
  if (lightning::num_gpus() > 0) {
    CHECK(automatic.devices()[0].is_cuda());
    return;
  }
  CHECK(automatic.devices()[0].is_cpu());
  for (const char* name : {"gpu", "cuda"}) {
    CHECK_THROWS_AS(Accelerator::resolve(name, "auto"), ConfigError);
    CHECK_THROWS_WITH(Accelerator::resolve(name, "1"), Contains("sees no GPU") && Contains("HINT"));
  }
}

TEST_CASE("questions about the CPU are answered without a GPU", "[accelerators]") {
  const at::Device cpu(at::kCPU);
  lightning::set_current_device(cpu);
  lightning::synchronize(cpu);
  lightning::reset_peak_memory(cpu);
  CHECK(lightning::memory_stats(cpu).total == 0);
  CHECK_FALSE(lightning::device_name(cpu).empty());
}

TEST_CASE("GPUs are chosen by count and by list", "[accelerators]") {
  const int64_t available = lightning::num_gpus();
  if (available == 0) SKIP_WITHOUT_GPU("this process sees no GPU");
  const at::Device first(at::kCUDA, 0);
  for (const char* devices : {"auto", "1", "0,", "[0]"}) {
    CHECK(Accelerator::resolve("gpu", devices).devices() == std::vector<at::Device>{first});
  }
  CHECK(Accelerator::resolve("gpu", "-1").devices().size() == static_cast<size_t>(available));
  const std::string beyond = std::to_string(available) + ",";
  for (const std::string& devices : {beyond, std::string("0,0"), std::string("0"),
                                     std::to_string(available + 1), std::string("[]")}) {
    CHECK_THROWS_AS(Accelerator::resolve("gpu", devices), ConfigError);
  }
  lightning::set_current_device(first);
  lightning::reset_peak_memory(first);
  const at::Tensor block = torch::ones({1 << 20}, first);
  lightning::synchronize(first);
  const lightning::MemoryStats stats = lightning::memory_stats(first);
  CHECK(stats.allocated >= (4 << 20));
  CHECK(stats.peak_allocated >= stats.allocated);
  CHECK(stats.total > stats.free);
}
