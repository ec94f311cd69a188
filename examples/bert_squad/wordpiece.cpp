#include "wordpiece.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>

#include <lightning/util/error.h>

#include "utf8.h"
#include "word_encoder.h"
#include "wordpiece_tables.h"

namespace bert_squad {
namespace {

using lightning::DataError;

// Throws for tokens that no vocab.txt can hold or that stand in it twice.
void check_vocab(const std::vector<std::string>& vocab, const std::string& source) {
  LIGHTNING_CHECK(!vocab.empty(), DataError, source,
                  ": the vocabulary is empty, expected one token per line. HINT: copy vocab.txt "
                  "from the model's folder.");
  std::vector<size_t> order(vocab.size());
  for (size_t i = 0; i < order.size(); ++i) {
    order[i] = i;
    LIGHTNING_CHECK(vocab[i].find_first_of("\r\n") == std::string::npos, DataError, source,
                    ": token ", i, " holds a line break, expected one line per token.");
    LIGHTNING_CHECK(find_invalid_utf8(vocab[i]) == std::string_view::npos, DataError, source,
                    ": token ", i, " (line ", i + 1,
                    ") is not valid UTF-8, expected UTF-8 text. HINT: copy vocab.txt from the "
                    "model's folder as a binary file.");
  }
  std::stable_sort(order.begin(), order.end(),
                   [&vocab](size_t a, size_t b) { return vocab[a] < vocab[b]; });
  for (size_t i = 1; i < order.size(); ++i) {
    LIGHTNING_CHECK(vocab[order[i - 1]] != vocab[order[i]], DataError, source, ": token \"",
                    vocab[order[i]], "\" is on lines ", order[i - 1] + 1, " and ", order[i] + 1,
                    ", expected each token once. HINT: copy vocab.txt from the model's folder.");
  }
}

}  // namespace

WordPieceTables::WordPieceTables(std::vector<std::string> vocabulary, WordPieceOptions chosen,
                                 const std::string& source)
    : vocab((check_vocab(vocabulary, source), std::move(vocabulary))),
      options(std::move(chosen)),
      trie(vocab),
      actions(options.lowercase, options.strip_accents.value_or(options.lowercase),
              options.tokenize_chinese_chars) {
  const auto required = [&](const std::string& token, const char* name) {
    const int32_t id = token.empty() ? -1 : trie.id(trie.walk(VocabTrie::kRoot, token));
    LIGHTNING_CHECK(id >= 0, DataError, source, ": the vocabulary of ", vocab.size(),
                    " tokens has no ", name, " \"", token,
                    "\", expected it among the tokens. HINT: use the vocab.txt that belongs to the "
                    "model, or name its own ",
                    name, " in tokenizer_config.json.");
    specials.push_back({token, id});
    return id;
  };
  unk = required(options.unk_token, "unk_token");
  sep = required(options.sep_token, "sep_token");
  pad = required(options.pad_token, "pad_token");
  cls = required(options.cls_token, "cls_token");
  if (trie.id(trie.walk(VocabTrie::kRoot, options.mask_token)) >= 0) {
    mask = required(options.mask_token, "mask_token");
  }
  // At one position of the text the longest special token wins.
  std::stable_sort(specials.begin(), specials.end(),
                   [](const auto& a, const auto& b) { return a.text.size() > b.text.size(); });
  continuation = trie.walk(VocabTrie::kRoot, "##");
  fill_ascii();
}

void WordPieceTables::fill_ascii() {
  using Kind = NormalizedChar::Kind;
  for (size_t byte = 0; byte < 128; ++byte) {
    AsciiChar& entry = ascii[byte];
    const uint16_t action = actions.action(static_cast<char32_t>(byte));
    entry.lower = static_cast<char>(byte);
    if (action == CharActions::kKeep) entry.kind = AsciiKind::kLetter;
    if (action == CharActions::kSpace) entry.kind = AsciiKind::kSpace;
    if (action == CharActions::kIsolate) entry.kind = AsciiKind::kIsolated;
    if (action >= CharActions::kNumPlain) {
      const auto& result = actions.replacement(action)[0];
      entry.kind = result.kind == Kind::kLetter ? AsciiKind::kLetter : AsciiKind::kOther;
      entry.lower = result.bytes[0];
    }
    if (entry.kind == AsciiKind::kIsolated) {
      const int32_t id = trie.id(trie.walk(VocabTrie::kRoot, {&entry.lower, 1}));
      entry.id = id < 0 ? unk : id;
    }
  }
}

WordPieceTokenizer::WordPieceTokenizer(std::vector<std::string> vocab, WordPieceOptions options)
    : WordPieceTokenizer(std::move(vocab), std::move(options), "WordPieceTokenizer") {}

WordPieceTokenizer::WordPieceTokenizer(std::vector<std::string> vocab, WordPieceOptions options,
                                       const std::string& source)
    : tables_(
          std::make_shared<const WordPieceTables>(std::move(vocab), std::move(options), source)) {}

Encoding WordPieceTokenizer::encode(std::string_view utf8) const {
  LIGHTNING_CHECK(utf8.size() <= INT32_MAX, DataError, "WordPieceTokenizer: the text has ",
                  utf8.size(), " bytes, expected less than 2 GiB. HINT: encode it in parts.");
  return WordEncoder(*tables_, utf8).run();
}

std::vector<Encoding> WordPieceTokenizer::encode_all(const std::vector<std::string>& texts,
                                                     int num_threads) const {
  constexpr size_t kChunk = 16;  // texts taken at a time: few enough to share out evenly
  std::vector<Encoding> result(texts.size());
  std::vector<std::exception_ptr> errors(texts.size());
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t begin = next.fetch_add(kChunk); begin < texts.size();
         begin = next.fetch_add(kChunk)) {
      for (size_t i = begin; i < std::min(begin + kChunk, texts.size()); ++i) {
        try {
          result[i] = encode(texts[i]);
        } catch (...) {
          errors[i] = std::current_exception();
        }
      }
    }
  };
  {
    const auto chunks = static_cast<int64_t>((texts.size() + kChunk - 1) / kChunk);
    std::vector<std::jthread> threads;  // joins when it goes
    for (int64_t i = 1; i < std::min<int64_t>(num_threads, chunks); ++i) threads.emplace_back(work);
    work();
  }
  for (size_t i = 0; i < errors.size(); ++i) {
    if (!errors[i]) continue;
    try {
      std::rethrow_exception(errors[i]);
    } catch (const DataError& error) {
      throw DataError(lightning::detail::concat("text ", i, ": ", error.what()));
    }
  }
  return result;
}

int32_t WordPieceTokenizer::cls_id() const { return tables_->cls; }
int32_t WordPieceTokenizer::sep_id() const { return tables_->sep; }
int32_t WordPieceTokenizer::pad_id() const { return tables_->pad; }
int32_t WordPieceTokenizer::unk_id() const { return tables_->unk; }
int32_t WordPieceTokenizer::mask_id() const { return tables_->mask; }

int64_t WordPieceTokenizer::vocab_size() const {
  return static_cast<int64_t>(tables_->vocab.size());
}

const std::string& WordPieceTokenizer::token(int32_t id) const {
  LIGHTNING_CHECK(id >= 0 && id < vocab_size(), DataError, "WordPieceTokenizer: token id is ", id,
                  ", expected 0 to ", vocab_size() - 1, ".");
  return tables_->vocab[static_cast<size_t>(id)];
}

const WordPieceOptions& WordPieceTokenizer::options() const { return tables_->options; }

}  // namespace bert_squad
