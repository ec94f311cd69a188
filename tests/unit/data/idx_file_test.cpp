#include <lightning/data/idx_file.h>

#include <filesystem>
#include <fstream>

#include <ATen/ATen.h>
#include <unistd.h>
#include <zlib.h>

#include <catch2/catch.hpp>

#include <lightning/util/error.h>

#include "support/skip.h"
#include "support/test_data.h"

using Catch::Matchers::Contains;
using lightning::DataError;
using lightning::read_idx;
namespace fs = std::filesystem;

namespace {

class TempFolder {
 public:
  TempFolder() : path_(fs::temp_directory_path() / ("idx_test_" + std::to_string(getpid()))) {
    fs::create_directories(path_);
  }
  ~TempFolder() { fs::remove_all(path_); }

  std::string write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path_ / name, std::ios::binary) << bytes;
    return (path_ / name).string();
  }
  std::string write_gzipped(const std::string& name, const std::string& bytes) const {
    const std::string path = (path_ / name).string();
    gzFile file = gzopen(path.c_str(), "wb");
    gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size()));
    gzclose(file);
    return path;
  }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }

 private:
  fs::path path_;
};

std::string bytes_of(std::initializer_list<int> values) {
  std::string bytes;
  for (const int value : values) bytes += static_cast<char>(value);
  return bytes;
}

std::string read_all(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A 2 x 3 matrix of the numbers 1 to 5 and 250.
const std::string kMatrix = bytes_of({0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 250});

}  // namespace

TEST_CASE("read_idx reads files that are gzipped and files that are not", "[idx]") {
  const TempFolder folder;
  const at::Tensor expected = at::tensor({1, 2, 3, 4, 5, 250}, at::kByte).view({2, 3});
  CHECK(read_idx(folder.write("plain", kMatrix)).equal(expected));
  CHECK(read_idx(folder.write_gzipped("packed", kMatrix)).equal(expected));
  const std::string one_dimension = bytes_of({0, 0, 8, 1, 0, 0, 0, 2, 7, 9});
  CHECK(read_idx(folder.write("one", one_dimension)).equal(at::tensor({7, 9}, at::kByte)));
  const std::string none = bytes_of({0, 0, 8, 2, 0, 0, 0, 0, 0, 0, 0, 5});
  CHECK(read_idx(folder.write("none", none)).sizes() == at::IntArrayRef({0, 5}));
}

TEST_CASE("read_idx reads large sizes", "[idx]") {
  const TempFolder folder;
  std::string bytes = bytes_of({0, 0, 8, 2, 0, 1, 0x11, 0x70, 0, 0, 0, 2});  // 70000 x 2
  for (int i = 0; i < 70000; ++i) bytes += bytes_of({i & 0xff, i >> 8 & 0xff});
  const at::Tensor tensor = read_idx(folder.write_gzipped("large", bytes));
  CHECK(tensor.sizes() == at::IntArrayRef({70000, 2}));
  CHECK(tensor[69999][0].item<int>() == (69999 & 0xff));
}

TEST_CASE("read_idx names what is wrong with a file", "[idx]") {
  const TempFolder folder;
  const auto check = [](const std::string& path, const std::string& reason) {
    CHECK_THROWS_AS(read_idx(path), DataError);
    CHECK_THROWS_WITH(read_idx(path), Contains(path) && Contains(reason));
  };
  check(folder / "missing", "No such file");
  check(fs::temp_directory_path().string(), "not a regular file");
  check(folder.write("empty", ""), "shorter than the 4 bytes");
  check(folder.write("text", "hello world"), "begins with the bytes 104 101");
  check(folder.write("no_dimensions", bytes_of({0, 0, 8, 0})), "begins with the bytes");
  check(folder.write("floats", bytes_of({0, 0, 13, 1, 0, 0, 0, 1, 0, 0, 0, 0})), "data type 13");
  check(folder.write("header", kMatrix.substr(0, 10)), "truncated in its header");
  check(folder.write("short", kMatrix.substr(0, 16)), "holds 4 bytes of data");
  check(folder.write("long", kMatrix + "x"), "has data beyond the 6 bytes");
  check(folder.write_gzipped("long.gz", kMatrix + "x"), "has data beyond the 6 bytes");
  const std::string lie = bytes_of({0, 0, 8, 2, 255, 255, 255, 255, 255, 255, 255, 255});
  check(folder.write("lie", lie), "can't hold its shape");
  check(folder.write_gzipped("lie.gz", lie), "can't hold its shape");
}

TEST_CASE("read_idx finds damage in gzipped files", "[idx]") {
  const TempFolder folder;
  std::string body = bytes_of({0, 0, 8, 1, 0, 0, 0x10, 0});
  for (int i = 0; i < 4096; ++i) body += bytes_of({(i * i * 31 + i) & 0xff});
  const std::string packed = read_all(folder.write_gzipped("whole.gz", body));
  REQUIRE(read_idx(folder / "whole.gz").numel() == 4096);
  for (const size_t length :
       {packed.size() - 1, packed.size() - 9, packed.size() / 2, size_t{12}}) {
    const std::string path = folder.write("cut.gz", packed.substr(0, length));
    CHECK_THROWS_AS(read_idx(path), DataError);
  }
  for (const size_t position : {packed.size() - 2, packed.size() - 6, packed.size() / 2}) {
    std::string damaged = packed;
    damaged[position] = static_cast<char>(damaged[position] ^ 0x55);
    const std::string path = folder.write("damaged.gz", damaged);
    CHECK_THROWS_AS(read_idx(path), DataError);
  }
}

TEST_CASE("read_idx reads the MNIST test set", "[idx]") {
  const auto data = lightning_tests::test_data_dir();
  if (!data || !fs::exists(*data / "mnist")) SKIP_WITHOUT_DATA("there is no mnist folder");
  const at::Tensor images = read_idx((*data / "mnist/t10k-images-idx3-ubyte.gz").string());
  const at::Tensor labels = read_idx((*data / "mnist/t10k-labels-idx1-ubyte.gz").string());
  CHECK(images.sizes() == at::IntArrayRef({10000, 28, 28}));
  CHECK(images.scalar_type() == at::kByte);
  // Published facts about the set: how often each digit occurs, the first labels, the mean.
  CHECK(at::bincount(labels.to(at::kLong))
            .equal(at::tensor({980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009}, at::kLong)));
  CHECK(labels.slice(0, 0, 5).equal(at::tensor({7, 2, 1, 0, 4}, at::kByte)));
  CHECK(images.to(at::kDouble).mean().item<double>() / 255 == Approx(0.1325).margin(5e-5));
}
