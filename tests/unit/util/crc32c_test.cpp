#include <lightning/util/detail/crc32c.h>

#include <catch2/catch.hpp>

#include <array>
#include <numeric>
#include <string>
#include <vector>

using lightning::crc32c;
using lightning::detail::crc32c_by_table;

TEST_CASE("CRC-32C gives the values of RFC 3720, appendix B.4", "[util]") {
  std::array<unsigned char, 32> bytes{};
  for (const auto checksum : {crc32c, crc32c_by_table}) {
    bytes.fill(0);
    CHECK(checksum(bytes.data(), bytes.size(), 0) == 0x8a9136aau);
    bytes.fill(0xff);
    CHECK(checksum(bytes.data(), bytes.size(), 0) == 0x62a8ab43u);
    std::iota(bytes.begin(), bytes.end(), static_cast<unsigned char>(0));
    CHECK(checksum(bytes.data(), bytes.size(), 0) == 0x46dd794eu);
    CHECK(checksum("123456789", 9, 0) == 0xe3069283u);
    CHECK(checksum(nullptr, 0, 0) == 0);
  }
}

TEST_CASE("CRC-32C by instruction and by table agree at every size and start", "[util]") {
  std::vector<unsigned char> bytes(300);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<unsigned char>(i * i * 31 + 7);
  for (size_t start = 0; start < 9; ++start) {
    for (size_t size = 0; size + start <= bytes.size(); ++size) {
      const uint32_t expected = crc32c_by_table(bytes.data() + start, size);
      if (crc32c(bytes.data() + start, size) != expected) FAIL("size " << size);
      const size_t half = size / 3;
      const uint32_t first = crc32c(bytes.data() + start, half);
      if (crc32c(bytes.data() + start + half, size - half, first) != expected) {
        FAIL("in two parts, size " << size);
      }
    }
  }
  SUCCEED();
}
