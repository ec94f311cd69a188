/// The part of a StateDict that isn't tensors, as JSON that gives back every value exactly.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include <ATen/core/Tensor.h>

#include <lightning/util/state_dict.h>

namespace lightning::detail {

/// One entry a line, in order; tensors are only mentioned. Throws CheckpointError for names that
/// aren't UTF-8.
std::string state_to_json(const StateDict& state);

/// The inverse; `tensor` gives the tensors. Throws CheckpointError for anything else than the text
/// of state_to_json().
StateDict state_from_json(std::string_view text,
                          const std::function<at::Tensor(const std::string& name)>& tensor);

}  // namespace lightning::detail
