#pragma once

#include <cstdint>
#include <functional>

#include <lightning/data/batch.h>

namespace lightning {

/// Receives the outputs of each batch, on the device they were made on, in order of the data.
using PredictionSink =
    std::function<void(const Batch& outputs, const Batch& batch, int64_t batch_idx)>;

}  // namespace lightning
