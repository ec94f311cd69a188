#include <lightning/checkpoint/safetensors.h>

#include <catch2/catch.hpp>

#include <cstring>
#include <string>
#include <vector>

#include <torch/types.h>

#include <lightning/util/error.h>
#include <lightning/util/file_system.h>

#include "support/temporary_folder.h"

namespace fs = std::filesystem;
using Catch::Matchers::Contains;
using lightning::CheckpointError;
using lightning::SafetensorsFile;
using lightning::write_file_atomically;
using lightning::write_safetensors;
using lightning_tests::TemporaryFolder;

namespace {

bool same_bytes(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() && a.is_contiguous() &&
         b.is_contiguous() &&
         (a.numel() == 0 || std::memcmp(a.data_ptr(), b.data_ptr(), a.nbytes()) == 0);
}

/// A file with this header and so many bytes of data.
std::string file_text(const std::string& header, size_t data_bytes) {
  std::string text;
  for (size_t i = 0; i < 8; ++i) text += static_cast<char>(header.size() >> (8 * i));
  return text + header + std::string(data_bytes, 'x');
}

}  // namespace

TEST_CASE("safetensors gives back every type, shape and bit", "[checkpoint]") {
  const TemporaryFolder folder;
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  const at::Tensor bytes = torch::randint(256, {4, 16}, torch::kUInt8);
  for (const auto dtype :
       {torch::kFloat64, torch::kFloat32, torch::kFloat16, torch::kBFloat16, torch::kInt64,
        torch::kInt32, torch::kInt16, torch::kInt8, torch::kUInt8, torch::kUInt16, torch::kUInt32,
        torch::kUInt64, torch::kComplexFloat, torch::kFloat8_e4m3fn, torch::kFloat8_e5m2}) {
    tensors.emplace_back(std::string("t.") + c10::toString(dtype), bytes.view(dtype).contiguous());
  }
  tensors.emplace_back("bool", torch::tensor({true, false, true}));
  tensors.emplace_back("scalar", torch::tensor(0.1));
  tensors.emplace_back("empty", torch::empty({0, 3}));
  tensors.emplace_back("t\"\n\u00e9", torch::ones({1}));
  const std::map<std::string, std::string> metadata = {{"format", "pt"}, {"note", "\u4f60\n\""}};
  const size_t size = write_safetensors(folder / "a", tensors, metadata);
  CHECK(size == fs::file_size(folder / "a"));

  const SafetensorsFile file(folder / "a");
  CHECK(file.tensors().size() == tensors.size());
  CHECK(file.metadata() == metadata);
  for (const auto& [name, tensor] : tensors) {
    INFO(name);
    CHECK(file.contains(name));
    CHECK(same_bytes(file.read(name), tensor));
  }
  CHECK_FALSE(file.contains("t"));
  CHECK_THROWS_WITH(file.read("t"), Contains("no tensor \"t\"") && Contains("19 tensors"));
}

TEST_CASE("safetensors stores views by their elements", "[checkpoint]") {
  const TemporaryFolder folder;
  const at::Tensor base = torch::arange(12.0).view({3, 4}).requires_grad_();
  write_safetensors(folder / "a", {{"t", base.t()}, {"row", base[1]}});
  const SafetensorsFile file(folder / "a");
  CHECK(file.read("t").equal(base.t()));
  CHECK(file.read("row").equal(base[1]));
}

TEST_CASE("safetensors reads into tensors of another type and layout", "[checkpoint]") {
  const TemporaryFolder folder;
  write_safetensors(folder / "a", {{"x", torch::tensor({{1.5f, -2.0f}, {3.25f, 0.0f}})}});
  const SafetensorsFile file(folder / "a");
  at::Tensor wide = torch::zeros({2, 2}, torch::kFloat64);
  file.read_into("x", wide);
  CHECK(wide.equal(torch::tensor({{1.5, -2.0}, {3.25, 0.0}}, torch::kFloat64)));
  at::Tensor half = torch::zeros({2, 2}, torch::kBFloat16).t();
  file.read_into("x", half);
  CHECK(half.to(torch::kFloat32).equal(file.read("x")));
  at::Tensor parameter = torch::zeros({2, 2}).requires_grad_();
  file.read_into("x", parameter);
  CHECK(parameter.equal(file.read("x")));
  at::Tensor other = torch::zeros({4});
  CHECK_THROWS_WITH(file.read_into("x", other), Contains("[2, 2]") && Contains("[4]"));
}

TEST_CASE("safetensors reads data that isn't aligned", "[checkpoint]") {
  const TemporaryFolder folder;
  // A header of odd length, as other writers may make it.
  std::string text = file_text(R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}} )", 0);
  REQUIRE(text.size() % 4 != 0);
  const float values[] = {1.5f, -3.0f};
  text.append(reinterpret_cast<const char*>(values), sizeof values);
  write_file_atomically(folder / "a", text);
  const SafetensorsFile file(folder / "a");
  CHECK(file.read("x").equal(torch::tensor({1.5f, -3.0f})));
  at::Tensor target = torch::zeros({2});
  file.read_into("x", target);
  CHECK(target.equal(torch::tensor({1.5f, -3.0f})));
}

TEST_CASE("safetensors refuses every file that lies", "[checkpoint]") {
  const TemporaryFolder folder;
  const auto tensor = [](const std::string& dtype, const std::string& shape,
                         const std::string& offsets) {
    return "{\"dtype\":" + dtype + ",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
  };
  const std::string sound = tensor("\"F32\"", "[2]", "[0,8]");
  struct Case {
    std::string text;
    std::string message;
  };
  const std::vector<Case> cases = {
      {"", "0 bytes, too few"},
      {"1234567", "7 bytes, too few"},
      {std::string(8, '\0'), "not a JSON object"},
      {std::string(8, '\xff'), "header of 18446744073709551615 bytes, but only 0 follow"},
      {file_text("{\"x\":" + sound + "}", 8).substr(0, 20), "but only 12 follow"},
      {file_text("{\"x\":" + sound + "}", 7), "take 8 bytes, but 7 follow"},
      {file_text("{\"x\":" + sound + "}", 9), "take 8 bytes, but 9 follow"},
      {file_text("{}", 1), "take 0 bytes, but 1 follow"},
      {file_text("[1]", 0), "not a JSON object"},
      {file_text(" {}", 0), "not a JSON object"},
      {file_text("{\"x\":" + sound, 8), "not JSON"},
      {file_text("{\"x\":" + sound + "} x", 8), "not JSON"},
      {file_text("{\"\xff\":" + sound + "}", 8), "not JSON"},
      {file_text("{\"x\":" + sound + ",\"x\":" + sound + "}", 8), "the key \"x\" twice"},
      {file_text("{\"x\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],"
                 "\"data_offsets\":[0,8]}}",
                 8),
       "the key \"dtype\" twice"},
      {file_text("{\"x\":" + tensor("\"F33\"", "[2]", "[0,8]") + "}", 8), "unknown dtype \"F33\""},
      {file_text("{\"x\":" + tensor("32", "[2]", "[0,8]") + "}", 8), "unknown dtype 32"},
      {file_text("{\"x\":" + tensor("\"F32\"", "[3]", "[0,8]") + "}", 8), "takes 12 bytes"},
      {file_text("{\"x\":" + tensor("\"F32\"", "[-2]", "[0,8]") + "}", 8), "shape of [-2]"},
      {file_text("{\"x\":" + tensor("\"F32\"", "[2.0]", "[0,8]") + "}", 8), "shape of [2.0]"},
      {file_text("{\"x\":" + tensor("\"F32\"", "\"2\"", "[0,8]") + "}", 8), "shape of \"2\""},
      {file_text("{\"x\":" + tensor("\"F32\"", "[4611686018427387904,4]", "[0,0]") + "}", 0),
       "impossible shape"},
      {file_text("{\"x\":" + tensor("\"F32\"", "[18446744073709551615]", "[0,0]") + "}", 0),
       "shape of"},
      {file_text("{\"x\":" + tensor("\"F32\"", "[2]", "[8,0]") + "}", 8), "data_offsets of [8,0]"},
      {file_text("{\"x\":" + tensor("\"F32\"", "[2]", "[0]") + "}", 8), "data_offsets of [0]"},
      {file_text("{\"x\":" + tensor("\"F32\"", "[2]", "[0,8,8]") + "}", 8), "data_offsets"},
      {file_text("{\"x\":" + tensor("\"F32\"", "[2]", "[4,12]") + "}", 12), "begins at byte 4"},
      {file_text("{\"x\":" + sound + ",\"y\":" + sound + "}", 8), "begins at byte 0"},
      {file_text("{\"x\":" + sound + ",\"y\":" + tensor("\"F32\"", "[2]", "[4,12]") + "}", 12),
       "begins at byte 4"},
      {file_text("{\"x\":" + sound + ",\"y\":" + tensor("\"F32\"", "[2]", "[12,20]") + "}", 20),
       "begins at byte 12"},
      {file_text("{\"x\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8), "has no data_offsets"},
      {file_text("{\"x\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8), "has no dtype"},
      {file_text("{\"x\":7}", 0), "\"x\" has no dtype"},
      {file_text("{\"__metadata__\":[]}", 0), "__metadata__ is not a JSON object"},
      {file_text("{\"__metadata__\":{\"a\":1}}", 0), "metadata \"a\" is not a string"},
      {file_text("{\"x\":" + std::string(2000, '[') + std::string(2000, ']') + "}", 0),
       "nested too deeply"},
  };
  for (size_t i = 0; i < cases.size(); ++i) {
    INFO("case " << i << ": " << cases[i].message);
    const fs::path path = folder / ("case_" + std::to_string(i));
    write_file_atomically(path, cases[i].text);
    CHECK_THROWS_AS(SafetensorsFile(path), CheckpointError);
    CHECK_THROWS_WITH(SafetensorsFile(path), Contains(cases[i].message) && Contains(path.string()));
  }
  write_file_atomically(folder / "sound", file_text("{\"x\":" + sound + "}", 8));
  CHECK(SafetensorsFile(folder / "sound").tensors().size() == 1);
}

TEST_CASE("safetensors refuses paths that are no files", "[checkpoint]") {
  const TemporaryFolder folder;
  CHECK_THROWS_WITH(SafetensorsFile(folder / "missing"), Contains("No such file"));
  CHECK_THROWS_WITH(SafetensorsFile(folder.path()), Contains("not a regular file"));
}

TEST_CASE("safetensors refuses tensors that it can't store", "[checkpoint]") {
  const TemporaryFolder folder;
  const auto write = [&](const std::string& name, const at::Tensor& tensor) {
    write_safetensors(folder / "a", {{"other", torch::ones({1})}, {name, tensor}});
  };
  CHECK_THROWS_WITH(write("x", at::Tensor()), Contains("\"x\" is undefined"));
  CHECK_THROWS_WITH(write("x", torch::ones({1}, torch::kComplexDouble)),
                    Contains("\"x\" has type ComplexDouble"));
  CHECK_THROWS_WITH(write("x", torch::ones({2}).to_sparse()), Contains("\"x\" is sparse"));
  CHECK_THROWS_WITH(write("x", torch::empty({2}, torch::kMeta)),
                    Contains("\"x\" is sparse or has"));
  CHECK_THROWS_WITH(write("other", torch::ones({1})), Contains("two tensors are named \"other\""));
  CHECK_THROWS_WITH(write("__metadata__", torch::ones({1})), Contains("__metadata__"));
  CHECK_THROWS_WITH(write("\xff", torch::ones({1})), Contains("must be UTF-8"));
  CHECK_THROWS_WITH(write_safetensors("/dev/full", {{"x", torch::ones({1})}}),
                    Contains("/dev/full") && Contains("No space left"));
}
