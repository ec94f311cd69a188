/// IDX files, the format of MNIST.
#pragma once

#include <string>

#include <ATen/core/Tensor.h>

#include <lightning/util/export.h>

namespace lightning {

/// Reads an IDX file of unsigned bytes, gzipped or not: a uint8 tensor of the file's shape. Throws
/// DataError for a file that is missing, not an IDX file, truncated, too long or damaged.
LIGHTNING_API at::Tensor read_idx(const std::string& path);

}  // namespace lightning
