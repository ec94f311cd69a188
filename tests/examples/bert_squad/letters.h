/// A tokenizer of letters, and texts and questions made of them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "examples/bert_squad/squad_features.h"
#include "examples/bert_squad/wordpiece.h"

namespace lightning_tests {

/// [PAD] 0, [UNK] 1, [CLS] 2, [SEP] 3, then the letters a to z: 4 to 29.
inline bert_squad::WordPieceTokenizer letter_tokenizer() {
  std::vector<std::string> vocab = {"[PAD]", "[UNK]", "[CLS]", "[SEP]"};
  for (char letter = 'a'; letter <= 'z'; ++letter) vocab.emplace_back(1, letter);
  return {std::move(vocab), bert_squad::WordPieceOptions{}};
}

/// "a b c ...", `count` letters: token i is the code points [2 * i, 2 * i + 1).
inline std::string letters(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) {
    text += (i == 0 ? "" : " ");
    text += static_cast<char>('a' + i % 26);
  }
  return text;
}

struct TestQuestion {
  std::string id;
  std::string question;
  std::vector<int64_t> answers = {};  // letters of the context, one token each
};

/// All questions about one context of that many letters.
inline bert_squad::SquadData letter_data(int context_length,
                                         const std::vector<TestQuestion>& questions) {
  bert_squad::SquadData data;
  data.contexts = {letters(context_length)};
  for (const TestQuestion& given : questions) {
    bert_squad::SquadQuestion question{given.id, given.question, 0, {}};
    for (const int64_t token : given.answers) {
      question.answers.push_back({data.contexts[0].substr(2 * token, 1), 2 * token});
    }
    data.questions.push_back(std::move(question));
  }
  return data;
}

}  // namespace lightning_tests
