/// The work of a collective that is done when it returns.
#pragma once

#include <vector>

#include <ATen/core/ivalue.h>
#include <ATen/core/jit_type.h>
#include <torch/csrc/distributed/c10d/Work.hpp>

namespace lightning::detail {

inline c10::intrusive_ptr<c10d::Work> completed_work(const std::vector<at::Tensor>& result) {
  auto future =
      c10::make_intrusive<c10::ivalue::Future>(c10::ListType::create(c10::TensorType::get()));
  future->markCompleted(result);
  return c10d::Work::create_from_future(future);
}

}  // namespace lightning::detail
