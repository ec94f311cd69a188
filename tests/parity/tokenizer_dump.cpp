// Encodes texts for tokenizer_parity.py. Usage: tokenizer_dump FOLDER [SAVE_TO] < texts > tokens
// Input: per text its length in bytes (uint32) and its bytes. Output: per text the number of
// tokens (uint32), then per token its id, begin and end (int32 each).
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "examples/bert_squad/wordpiece.h"

namespace {

std::vector<std::string> read_texts() {
  std::vector<std::string> texts;
  uint32_t size = 0;
  while (std::fread(&size, sizeof(size), 1, stdin) == 1) {
    std::string text(size, '\0');
    if (std::fread(text.data(), 1, size, stdin) != size) break;
    texts.push_back(std::move(text));
  }
  return texts;
}

void write_encoding(const bert_squad::Encoding& encoding) {
  std::vector<int32_t> row = {static_cast<int32_t>(encoding.ids.size())};
  for (size_t i = 0; i < encoding.ids.size(); ++i) {
    row.insert(row.end(), {encoding.ids[i], encoding.offsets[i].begin, encoding.offsets[i].end});
  }
  std::fwrite(row.data(), sizeof(int32_t), row.size(), stdout);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: tokenizer_dump FOLDER [SAVE_TO] < texts > tokens\n");
    return 2;
  }
  try {
    const auto tokenizer = bert_squad::WordPieceTokenizer::from_folder(argv[1]);
    if (argc > 2) tokenizer.save(argv[2]);
    for (const auto& encoding : tokenizer.encode_all(read_texts(), /*num_threads=*/2)) {
      write_encoding(encoding);
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "tokenizer_dump: %s\n", error.what());
    return 1;
  }
  return 0;
}
