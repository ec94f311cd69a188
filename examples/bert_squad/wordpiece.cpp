#include "wordpiece.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <map>
#include <set>
#include <string_view>
#include <thread>

#include <lightning/util/error.h>

#include "utf8.h"
#include "word_encoder.h"
#include "wordpiece_tables.h"

namespace bert_squad {
namespace {

using lightning::DataError;

constexpr int64_t kMaxWordChars = 10000;
constexpr size_t kMaxAddedBytes = 1000;

// Throws for tokens that aren't text or that are there twice.
void check_vocab(const std::vector<std::string>& vocab, const std::string& source) {
  LIGHTNING_CHECK(!vocab.empty(), DataError, source,
                  ": the vocabulary is empty, expected one token per line. HINT: copy vocab.txt "
                  "from the model's folder.");
  std::vector<size_t> order(vocab.size());
  for (size_t i = 0; i < order.size(); ++i) {
    order[i] = i;
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
  LIGHTNING_CHECK(
      options.max_input_chars_per_word >= 1 && options.max_input_chars_per_word <= kMaxWordChars,
      DataError, source, ": max_input_chars_per_word is ", options.max_input_chars_per_word,
      ", expected 1 to ", kMaxWordChars, ". HINT: 100 is usual.");
  add_tokens(source);
  const auto required = [&](const std::string& token, const char* name) {
    const int32_t id = id_of(token);
    LIGHTNING_CHECK(
        id >= 0, DataError, source, ": the vocabulary of ", vocab.size(), " tokens has no ", name,
        " \"", token,
        "\", expected it among the tokens. HINT: use the vocabulary that belongs to the "
        "model, or name its own ",
        name, " in tokenizer_config.json.");
    return id;
  };
  unk = required(options.unk_token, "unk_token");
  sep = required(options.sep_token, "sep_token");
  pad = required(options.pad_token, "pad_token");
  cls = required(options.cls_token, "cls_token");
  mask = options.mask_token.empty() ? -1 : id_of(options.mask_token);
  continuation = trie.walk(VocabTrie::kRoot, options.continuing_subword_prefix);
  fill_finders(source);
  fill_ascii();
}

int32_t WordPieceTables::id_of(const std::string& token) const {
  const int32_t id = token.empty() ? -1 : trie.id(trie.walk(VocabTrie::kRoot, token));
  if (id >= 0) return id;
  for (size_t i = own_size; i < vocab.size(); ++i) {
    if (vocab[i] == token) return static_cast<int32_t>(i);
  }
  return -1;
}

void WordPieceTables::add_tokens(const std::string& source) {
  own_size = vocab.size();
  std::set<std::string_view> contents;
  for (const AddedToken& token : options.added_tokens) {
    LIGHTNING_CHECK(!token.content.empty() && token.content.size() <= kMaxAddedBytes &&
                        find_invalid_utf8(token.content) == std::string_view::npos,
                    DataError, source, ": an added token has ", token.content.size(),
                    " bytes, expected 1 to ", kMaxAddedBytes,
                    " of valid UTF-8. HINT: use a model without it.");
    LIGHTNING_CHECK(contents.insert(token.content).second, DataError, source, ": added token \"",
                    token.content, "\" is there twice, expected it once. HINT: name it once.");
    if (trie.id(trie.walk(VocabTrie::kRoot, token.content)) < 0) vocab.push_back(token.content);
  }
}

void WordPieceTables::fill_finders(const std::string& source) {
  std::map<std::string, int32_t> new_ids;
  for (size_t i = own_size; i < vocab.size(); ++i) new_ids[vocab[i]] = static_cast<int32_t>(i);
  std::vector<AddedTokenFinder::Pattern> as_given;
  std::vector<AddedTokenFinder::Pattern> normalized;
  std::map<std::string, std::string> of_pattern;  // content, by normalized text
  std::set<std::string> contents;
  for (const AddedToken& token : options.added_tokens) {
    contents.insert(token.content);
    const auto is_new = new_ids.find(token.content);
    const int32_t id = is_new != new_ids.end()
                           ? is_new->second
                           : trie.id(trie.walk(VocabTrie::kRoot, token.content));
    if (!token.normalized) {
      as_given.push_back({token.content, id, token.lstrip, token.rstrip});
      continue;
    }
    std::string text = WordEncoder(*this, token.content).normalized();
    LIGHTNING_CHECK(!text.empty(), DataError, source, ": added token \"", token.content,
                    "\" is empty after normalization, expected text that is left. HINT: use a "
                    "model without it, or give it \"normalized\": false.");
    const auto [other, is_first] = of_pattern.emplace(text, token.content);
    LIGHTNING_CHECK(is_first, DataError, source, ": added tokens \"", other->second, "\" and \"",
                    token.content,
                    "\" are the same after normalization, expected different "
                    "texts. HINT: give one of them \"normalized\": false.");
    normalized.push_back({std::move(text), id, token.lstrip, token.rstrip});
  }
  for (const std::string* special : {&options.unk_token, &options.sep_token, &options.pad_token,
                                     &options.cls_token, &options.mask_token}) {
    const int32_t id = id_of(*special);
    if (id >= 0 && contents.insert(*special).second) {
      as_given.push_back({*special, id, false, false});
    }
  }
  added = AddedTokenFinder(std::move(as_given));
  added_normalized = AddedTokenFinder(std::move(normalized));
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
    : WordPieceTokenizer(std::move(vocab), std::move(options), "WordPieceTokenizer") {
  for (int32_t id = 0; id < vocab_size(); ++id) {
    // files() has a vocab.txt.
    LIGHTNING_CHECK(token(id).find_first_of("\r\n") == std::string::npos, DataError,
                    "WordPieceTokenizer: token ", id,
                    " holds a line break, expected one line per token.");
  }
}

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

int32_t WordPieceTokenizer::id_of(const std::string& token) const { return tables_->id_of(token); }

size_t WordPieceTokenizer::own_vocab_size() const { return tables_->own_size; }

}  // namespace bert_squad
