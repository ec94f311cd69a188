// Prints features for squad_features_parity.py.
// Usage: squad_features_dump FILE FOLDER windows|context_first MAX_SEQ_LENGTH DOC_STRIDE PAD_TO
// Output, all int32, per feature: question, T, context_begin, context_end, start, end; then input
// ids, token types and attention mask [T] as SquadDataset gives them in batches of 8 (padded to
// PAD_TO when it is not 0); then the context tokens' offsets [context_end - context_begin, 2].
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "examples/bert_squad/squad_dataset.h"
#include "examples/bert_squad/squad_features.h"

namespace {

using bert_squad::Feature;

void append_row(const at::Tensor& matrix, int64_t row, std::vector<int32_t>& out) {
  const int64_t* values = matrix.const_data_ptr<int64_t>() + row * matrix.size(1);
  out.insert(out.end(), values, values + matrix.size(1));
}

void write_row(const Feature& feature, const lightning::Batch& batch, int64_t row) {
  std::vector<int32_t> out = {static_cast<int32_t>(feature.question),
                              static_cast<int32_t>(batch["input_ids"].size(1)),
                              feature.context_begin, feature.context_end};
  for (const char* name : {"start_positions", "end_positions"}) {
    out.push_back(static_cast<int32_t>(batch[name].const_data_ptr<int64_t>()[row]));
  }
  for (const char* name : {"input_ids", "token_type_ids", "attention_mask"}) {
    append_row(batch[name], row, out);
  }
  for (const bert_squad::Offset& offset : feature.offsets) {
    out.insert(out.end(), {offset.begin, offset.end});
  }
  std::fwrite(out.data(), sizeof(int32_t), out.size(), stdout);
}

void dump(char** argv) {
  const auto tokenizer = bert_squad::WordPieceTokenizer::from_folder(argv[2]);
  const bool windows = std::string(argv[3]) == "windows";
  const auto features =
      bert_squad::make_features(bert_squad::read_squad(argv[1]), tokenizer,
                                {.layout = windows ? bert_squad::FeatureLayout::kWindows
                                                   : bert_squad::FeatureLayout::kContextFirst,
                                 .max_seq_length = std::stoll(argv[4]),
                                 .doc_stride = std::stoll(argv[5]),
                                 .num_threads = 2});
  bert_squad::SquadDataset dataset(features, tokenizer.pad_id(), std::stoll(argv[6]));
  for (int64_t begin = 0; begin < dataset.size(); begin += 8) {
    std::vector<int64_t> rows;
    for (int64_t row = begin; row < std::min<int64_t>(begin + 8, dataset.size()); ++row) {
      rows.push_back(row);
    }
    const lightning::Batch batch = dataset.get_batch(rows, {});
    for (size_t i = 0; i < rows.size(); ++i) {
      write_row(features->features[static_cast<size_t>(rows[i])], batch, static_cast<int64_t>(i));
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7) {
    std::fprintf(stderr,
                 "usage: squad_features_dump FILE FOLDER windows|context_first MAX_SEQ_LENGTH "
                 "DOC_STRIDE PAD_TO\n");
    return 2;
  }
  try {
    dump(argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "squad_features_dump: %s\n", error.what());
    return 1;
  }
  return 0;
}
