#include "squad_reader.h"

#include <unordered_set>
#include <utility>

#include <lightning/util/error.h>
#include <lightning/util/file_system.h>
#include <nlohmann/json.hpp>

#include "utf8.h"

namespace bert_squad {
namespace {

using lightning::DataError;
using lightning::detail::concat;
using nlohmann::json;

/// Reads one file; knows where it is, for errors.
class Reader {
 public:
  Reader(std::string file, const SquadReaderOptions& options)
      : file_(std::move(file)), options_(options) {}

  SquadData read(const json& root) {
    const json& articles = member(root, "data", json::value_t::array);
    for (size_t i = 0; i < articles.size(); ++i) {
      const auto title = articles[i].is_object() ? articles[i].find("title") : articles[i].end();
      const bool named =
          articles[i].is_object() && title != articles[i].end() && title->is_string();
      article_ =
          named ? concat("article \"", title->get<std::string>(), "\"") : concat("article ", i);
      for (const json& paragraph : member(articles[i], "paragraphs", json::value_t::array)) {
        read_paragraph(paragraph);
      }
    }
    return std::move(data_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw DataError(concat("SQuAD file ", file_, article_.empty() ? "" : ", ", article_,
                           question_.empty() ? "" : ", question ", question_, ": ", what));
  }

  const json& member(const json& object, const char* key, json::value_t type) const {
    if (!object.is_object())
      fail(concat("a ", object.type_name(), " stands where an object was expected."));
    const auto found = object.find(key);
    if (found == object.end()) {
      fail(concat("key \"", key,
                  "\" is missing, expected one. HINT: this must be a file in SQuAD's format."));
    }
    const bool number = type == json::value_t::number_integer && found->is_number_integer();
    if (found->type() != type && !number) {
      fail(concat("key \"", key, "\" holds a ", found->type_name(), ", expected a ",
                  json(type).type_name(), "."));
    }
    return *found;
  }

  std::string text(const json& object, const char* key) const {
    return member(object, key, json::value_t::string).get<std::string>();
  }

  void read_paragraph(const json& paragraph) {
    question_.clear();
    data_.contexts.push_back(text(paragraph, "context"));
    for (const json& qa : member(paragraph, "qas", json::value_t::array)) {
      question_.clear();
      SquadQuestion question;
      question.id = text(qa, "id");
      question_ = question.id;
      if (!ids_.insert(question.id).second) fail("the id occurs twice, expected unique ids.");
      question.question = text(qa, "question");
      question.context = static_cast<int64_t>(data_.contexts.size()) - 1;
      read_answers(qa, question);
      data_.questions.push_back(std::move(question));
    }
    question_.clear();
  }

  void read_answers(const json& qa, SquadQuestion& question) {
    const auto impossible = qa.find("is_impossible");
    const bool is_impossible =
        impossible != qa.end() && impossible->is_boolean() && impossible->get<bool>();
    if (!qa.contains("answers")) {
      if (options_.check_answers && !is_impossible)
        fail("key \"answers\" is missing. HINT: this must be a file in SQuAD's format.");
      return;
    }
    for (const json& answer : member(qa, "answers", json::value_t::array)) {
      SquadAnswer read{
          text(answer, "text"),
          member(answer, "answer_start", json::value_t::number_integer).get<int64_t>()};
      if (is_impossible) fail("is_impossible is true and there are answers, expected none.");
      place(read, question);
      question.answers.push_back(std::move(read));
    }
    if (options_.check_answers && question.answers.empty() && !is_impossible) {
      fail("there is no answer, expected one or is_impossible: true.");
    }
  }

  /// Checks that the answer stands at its offset, or nearly.
  void place(SquadAnswer& answer, const SquadQuestion& question) const {
    if (!options_.check_answers) return;
    const std::string& context = data_.contexts[static_cast<size_t>(question.context)];
    const int64_t length = code_point_count(answer.text);
    const int64_t total = code_point_count(context);
    const auto stands_at = [&](int64_t start) {
      return start >= 0 && start <= total - length &&
             substr_code_points(context, start, start + length) == answer.text;
    };
    if (length == 0) fail("an answer is empty, expected a text of the context.");
    if (answer.start < 0 || answer.start > total) {
      fail(concat("answer_start is ", answer.start, ", expected a place in the context of ", total,
                  " code points."));
    }
    // The course's repair: some files count one or two characters too many.
    const int64_t reach = options_.repair_offsets ? 2 : 0;
    for (int64_t shift = 0; shift <= reach; ++shift) {
      for (const int64_t start : {answer.start - shift, answer.start + shift}) {
        if (!stands_at(start)) continue;
        answer.start = start;
        return;
      }
    }
    fail(concat("answer \"", answer.text, "\" does not stand at answer_start ", answer.start,
                " of its context. HINT: answer_start counts code points, not bytes."));
  }

  std::string file_;
  SquadReaderOptions options_;
  SquadData data_;
  std::unordered_set<std::string> ids_;
  std::string article_;
  std::string question_;
};

}  // namespace

SquadData read_squad(const std::filesystem::path& path, const SquadReaderOptions& options) {
  const std::string content = lightning::read_file(path);
  json root;
  try {
    root = json::parse(content);
  } catch (const json::exception& error) {
    throw DataError(concat("SQuAD file ", path.string(), ": ", error.what(),
                           ". HINT: the file is damaged or not JSON."));
  }
  return Reader(path.string(), options).read(root);
}

}  // namespace bert_squad
