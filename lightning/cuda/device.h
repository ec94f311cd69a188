/// What the plug-in asks the CUDA runtime itself. No function throws.
#pragma once

#include <cstdint>
#include <string>

namespace lightning::cuda {

/// Of the CUDA runtime that was loaded: "13.0".
std::string version();
/// Why no device can be used; empty when one can or there just is none.
std::string device_error();
/// The maker's name; empty when CUDA does not know the device.
std::string device_name(int64_t index);

}  // namespace lightning::cuda
