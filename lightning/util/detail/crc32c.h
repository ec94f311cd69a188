/// CRC-32C (Castagnoli), the checksum of checkpoints and of TensorBoard's records.
#pragma once

#include <cstddef>
#include <cstdint>

#include <lightning/util/export.h>

namespace lightning {

/// The checksum of bytes that follow those with checksum `previous` (0 at the start). Uses the
/// processor's instruction where there is one.
LIGHTNING_API uint32_t crc32c(const void* data, size_t size_bytes, uint32_t previous = 0);

namespace detail {
/// The same by tables, on any processor.
LIGHTNING_API uint32_t crc32c_by_table(const void* data, size_t size_bytes, uint32_t previous = 0);
}  // namespace detail

}  // namespace lightning
