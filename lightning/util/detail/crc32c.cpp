#include <lightning/util/detail/crc32c.h>

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace lightning {
namespace {

constexpr uint32_t kPolynomial = 0x82f63b78u;  // 0x1edc6f41 with its bits reversed

using Tables = std::array<std::array<uint32_t, 256>, 8>;

/// tables[k][b]: the effect of byte b with k more bytes to come.
constexpr Tables make_tables() {
  Tables tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
    tables[0][byte] = crc;
  }
  for (size_t k = 1; k < 8; ++k) {
    for (size_t byte = 0; byte < 256; ++byte) {
      const uint32_t crc = tables[k - 1][byte];
      tables[k][byte] = (crc >> 8) ^ tables[0][crc & 0xff];
    }
  }
  return tables;
}

constexpr Tables kTables = make_tables();

uint32_t update_by_table(uint32_t crc, const uint8_t* next, size_t size) {
  for (; size >= 8; size -= 8, next += 8) {
    uint32_t folded = 0;
    for (size_t i = 0; i < 4; ++i) {
      folded ^= kTables[7 - i][next[i] ^ ((crc >> (8 * i)) & 0xff)];
      folded ^= kTables[3 - i][next[4 + i]];
    }
    crc = folded;
  }
  for (; size > 0; --size, ++next) crc = (crc >> 8) ^ kTables[0][(crc ^ *next) & 0xff];
  return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t update_by_instruction(uint32_t crc, const uint8_t* next,
                                                                 size_t size) {
  uint64_t wide = crc;
  for (; size >= 8; size -= 8, next += 8) {
    uint64_t word;
    std::memcpy(&word, next, sizeof word);
    wide = _mm_crc32_u64(wide, word);
  }
  crc = static_cast<uint32_t>(wide);
  for (; size > 0; --size, ++next) crc = _mm_crc32_u8(crc, *next);
  return crc;
}
#endif

}  // namespace

uint32_t crc32c(const void* data, size_t size_bytes, uint32_t previous) {
#if defined(__x86_64__)
  static const bool has_instruction = __builtin_cpu_supports("sse4.2") != 0;
  if (has_instruction) {
    return ~update_by_instruction(~previous, static_cast<const uint8_t*>(data), size_bytes);
  }
#endif
  return detail::crc32c_by_table(data, size_bytes, previous);
}

uint32_t detail::crc32c_by_table(const void* data, size_t size_bytes, uint32_t previous) {
  return ~update_by_table(~previous, static_cast<const uint8_t*>(data), size_bytes);
}

}  // namespace lightning
