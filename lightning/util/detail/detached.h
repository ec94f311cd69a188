#pragma once

#include <exception>
#include <functional>
#include <future>
#include <memory>
#include <thread>
#include <utility>

namespace lightning::detail {

/// Runs `call` on a separate thread, which is detached if the caller stops waiting: for calls of
/// LibTorch that can't be cancelled. `call` must own what it needs.
template <typename Result>
std::future<Result> run_detached(std::function<Result()> call) {
  auto promise = std::make_shared<std::promise<Result>>();
  std::future<Result> result = promise->get_future();
  std::thread([promise, call = std::move(call)] {
    try {
      promise->set_value(call());
    } catch (...) {
      promise->set_exception(std::current_exception());
    }
  }).detach();
  return result;
}

}  // namespace lightning::detail
