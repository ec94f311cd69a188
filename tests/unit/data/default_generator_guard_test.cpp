#include <lightning/data/detail/default_generator_guard.h>

#include <thread>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <catch2/catch.hpp>

using lightning::detail::DefaultGeneratorGuard;

TEST_CASE("DefaultGeneratorGuard names operators that draw from the default generator",
          "[data_loader]") {
  DefaultGeneratorGuard watch;
  const at::Tensor x = at::ones({4});
  CHECK_FALSE(watch.take_offender());
  at::rand({2});
  CHECK(watch.take_offender() == "aten::uniform_");
  CHECK_FALSE(watch.take_offender());
  at::randn({2});
  CHECK(watch.take_offender());
  at::randperm(5);
  CHECK(watch.take_offender());
  at::randint(3, {2});
  CHECK(watch.take_offender());
  at::dropout(x, 0.5, true);
  CHECK(watch.take_offender());
  at::multinomial(x, 2);
  CHECK(watch.take_offender());
  at::rand({2}, at::detail::getDefaultCPUGenerator());
  CHECK(watch.take_offender());
}

TEST_CASE("DefaultGeneratorGuard lets other generators and other threads pass", "[data_loader]") {
  DefaultGeneratorGuard watch;
  at::Generator own = at::make_generator<at::CPUGeneratorImpl>(1);
  at::rand({2}, own);
  at::randperm(5, own);
  at::ones({3}).sum();
  CHECK_FALSE(watch.take_offender());
  std::thread([] { at::rand({2}); }).join();
  CHECK_FALSE(watch.take_offender());
}

TEST_CASE("DefaultGeneratorGuard ends with the object", "[data_loader]") {
  { DefaultGeneratorGuard watch; }
  at::rand({2});
  DefaultGeneratorGuard watch;
  CHECK_FALSE(watch.take_offender());
}
