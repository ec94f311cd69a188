/// The few things that need the CUDA runtime itself; everything else goes through ATen.
#pragma once

#include <cstdint>
#include <string>

namespace lightning::cuda {

/// The GPU's name; "CUDA device N" when this library was built without a CUDA toolkit.
std::string device_name(int64_t index);

}  // namespace lightning::cuda
