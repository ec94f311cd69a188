// Times our side of run.py. Usage: benchmark_tokenizer --vocab FOLDER --texts FILE [--passes N]
// FILE holds per text its length in bytes (uint32) and its bytes. One thread; one pass to warm up,
// then the mean of N passes.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <string>
#include <vector>

#include <lightning/util/error.h>

#include "examples/bert_squad/wordpiece.h"

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

std::vector<std::string> read_texts(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::vector<std::string> texts;
  uint32_t size = 0;
  while (in.read(reinterpret_cast<char*>(&size), sizeof(size))) {
    std::string text(size, '\0');
    in.read(text.data(), size);
    LIGHTNING_CHECK(in.good(), DataError, path, ": ends inside text ", texts.size(), ".");
    texts.push_back(std::move(text));
  }
  LIGHTNING_CHECK(!texts.empty(), DataError, path, ": no texts, expected at least one.");
  return texts;
}

std::string argument(int argc, char** argv, const char* name, const char* fallback) {
  for (int i = 1; i + 1 < argc; ++i) {
    if (std::strcmp(argv[i], name) == 0) return argv[i + 1];
  }
  LIGHTNING_CHECK(fallback != nullptr, ConfigError, "benchmark_tokenizer: ", name, " is missing.");
  return fallback;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const auto texts = read_texts(argument(argc, argv, "--texts", nullptr));
    const int passes = std::max(1, std::atoi(argument(argc, argv, "--passes", "5").c_str()));
    auto begin = Clock::now();
    const auto tokenizer =
        bert_squad::WordPieceTokenizer::from_folder(argument(argc, argv, "--vocab", nullptr));
    const double load_seconds = seconds_since(begin);

    size_t tokens = 0;
    for (const auto& encoding : tokenizer.encode_all(texts, 1)) tokens += encoding.ids.size();
    begin = Clock::now();
    for (int pass = 0; pass < passes; ++pass) tokenizer.encode_all(texts, 1);
    const double seconds = seconds_since(begin) / passes;
    std::printf("{\"tokens\": %zu, \"seconds\": %.6f, \"tokens_per_s\": %.1f, \"load_s\": %.6f}\n",
                tokens, seconds, static_cast<double>(tokens) / seconds, load_seconds);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "benchmark_tokenizer: %s\n", error.what());
    return 1;
  }
  return 0;
}
