#include "squad_reader.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include <lightning/metrics/python_text.h>
#include <lightning/util/error.h>
#include <lightning/util/file_system.h>
#include <lightning/util/log.h>

#include "csv_text.h"
#include "literal_text.h"
#include "squad_answers.h"
#include "utf8.h"

namespace bert_squad {
namespace {

using lightning::DataError;
using lightning::format;
using lightning::metrics::python_lower;
using lightning::metrics::python_split;
using Kind = Literal::Kind;

constexpr int64_t kMaxListed = 10;

/// What was found in a file that can't be used, or only in part.
struct Findings {
  int64_t bad_questions = 0;
  int64_t bad_answers = 0;  // of questions that have others
  int64_t odd_answers = 0;  // they are used, but not for everything
  std::vector<std::string> lines;

  int64_t count() const { return bad_questions + bad_answers + odd_answers; }
  std::string list() const {
    std::string text;
    for (const std::string& line : lines) text += "\n  " + line;
    const int64_t more = count() - static_cast<int64_t>(lines.size());
    return more > 0 ? format("{}\n  ... and {} more", text, more) : text;
  }
};

/// "1 answer", "2 answers"
std::string counted(int64_t count, const char* what) {
  return format("{} {}{}", count, what, count == 1 ? "" : "s");
}

/// Turns the records of one file into questions.
class Reader {
 public:
  Reader(std::string file, std::string_view content, const SquadReaderOptions& options)
      : file_(std::move(file)), content_(content), options_(options) {}

  SquadData read() {
    const size_t begin = check_text_encoding(content_, subject());
    LiteralParser parser(content_, LiteralParser::Notation::kJson, begin);
    const char first = parser.peek();
    LIGHTNING_CHECK(!parser.at_end(), DataError, subject(),
                    " is empty, expected questions as JSON, JSON Lines or CSV. HINT: check how it "
                    "was written.");
    try {
      if (first == '{' || first == '[') {
        while (!parser.at_end()) read_document(parser);
        num_lone_surrogates_ += parser.num_lone_surrogates();
      } else {
        read_csv(begin);
      }
    } catch (const LiteralError& error) {
      throw DataError(
          format("{}: parse error in line {} (byte {}): {}. HINT: the file is damaged or "
                 "not {}.",
                 subject(), line_at(content_, error.position()), error.position(), error.what(),
                 first == '{' || first == '[' ? "JSON" : "CSV"));
    }
    report();
    return std::move(data_);
  }

 private:
  std::string subject() const { return "SQuAD file " + file_; }

  // ---- the file's form

  void read_document(LiteralParser& parser) {
    if (parser.peek() == '[') {
      return parser.for_each_item([&] { read_record(parser.value()); });
    }
    Literal rest;
    rest.kind = Kind::kObject;
    parser.peek();
    rest.position = parser.position();
    bool has_data = false;
    const auto read_member = [&](std::string&& key) {
      if (key == "data" && parser.peek() == '[') {
        has_data = true;
        parser.for_each_item([&] { read_record(parser.value()); });
        return;
      }
      rest.keys.push_back(std::move(key));
      rest.items.push_back(parser.value());
    };
    if (parser.peek() == '{') {
      parser.for_each_member(read_member);
    } else {
      rest = parser.value();
    }
    if (has_data) return;
    const Literal* data = rest.find("data");
    if (data != nullptr) return add_bad_list(rest, "data", *data);
    if (is_record(rest)) return read_record(rest);
    add_bad_question(rest, format("{} {}, expected {{\"data\": [...]}}, an array, or lines of "
                                  "objects with \"context\" and \"question\"",
                                  rest.kind_name(),
                                  rest.is(Kind::kObject) ? "whose key \"data\" is missing"
                                                         : "where an object was expected"));
  }

  static bool is_record(const Literal& value) {
    return value.find("paragraphs") != nullptr || value.find("qas") != nullptr ||
           (value.find("question") != nullptr && value.find("context") != nullptr);
  }

  void read_csv(size_t begin) {
    std::vector<std::string> header;
    char delimiter = ',';
    for (const char candidate : {',', ';', '\t'}) {
      delimiter = candidate;
      size_t position = 0;
      CsvReader(content_, candidate, begin).next(header, position);
      for (std::string& name : header) name = join(python_split(python_lower(name)), " ");
      if (has(header, "context") && has(header, "question")) break;
    }
    if (!has(header, "context") || !has(header, "question")) {
      const std::string_view line =
          content_.substr(begin, content_.find_first_of("\r\n", begin) - begin);
      throw DataError(
          format("{} begins with {}, expected JSON, JSON Lines, or CSV whose header names "
                 "id, context and question. HINT: docs/bert_squad.md has the forms.",
                 subject(), shown_text(line)));
    }
    LIGHTNING_CHECK(
        has(header, "id"), DataError, subject(),
        ": the header of the CSV names no column \"id\", expected one. HINT: number the "
        "rows.");
    CsvReader rows(content_, delimiter, begin);
    std::vector<std::string> fields;
    size_t position = 0;
    rows.next(fields, position);
    while (rows.next(fields, position)) read_row(header, fields, position);
  }

  static bool has(const std::vector<std::string>& names, std::string_view name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  }

  static std::string join(const std::vector<std::string>& words, std::string_view between) {
    std::string text;
    for (const std::string& word : words) {
      if (!text.empty()) text += between;
      text += word;
    }
    return text;
  }

  void read_row(const std::vector<std::string>& header, std::vector<std::string>& fields,
                size_t position) {
    Literal row;
    row.kind = Kind::kObject;
    row.position = position;
    if (fields.size() == 1 && python_split(fields[0]).empty()) return;
    if (fields.size() > header.size()) {
      return add_bad_question(row, format("the row has {} fields, expected {} as in the header",
                                          fields.size(), header.size()));
    }
    fields.resize(header.size());  // missing ones at the end are null, as in Python's DictReader
    for (size_t i = 0; i < header.size(); ++i) {
      Literal cell;
      cell.position = position;
      cell.kind = fields[i].empty() ? Kind::kNull : Kind::kText;
      cell.text = std::move(fields[i]);
      row.keys.push_back(header[i]);
      row.items.push_back(std::move(cell));
    }
    read_record(row);
  }

  // ---- articles, passages, rows

  void read_record(const Literal& record) {
    article_.clear();
    if (const Literal* title = record.find("title"); title != nullptr && title->is(Kind::kText)) {
      article_ = title->text;
    }
    if (!is_record(record)) {
      add_bad_question(record, format("{}, expected an article with \"paragraphs\", a passage with "
                                      "\"qas\", or a row with \"context\" and \"question\"",
                                      record.kind_name()));
    } else if (const Literal* paragraphs = record.find("paragraphs")) {
      if (!paragraphs->is(Kind::kList)) return add_bad_list(record, "paragraphs", *paragraphs);
      for (const Literal& paragraph : paragraphs->items) read_passage(paragraph);
    } else if (record.find("qas") != nullptr) {
      read_passage(record);
    } else {
      try {
        const Literal& value = *record.find("context");
        if (value.is(Kind::kObject) || value.is(Kind::kList)) {
          throw BadExample(
              format("key \"context\" holds {}, expected a string: these are columns, "
                     "not rows (pandas: orient=\"records\")",
                     value.kind_name()));
        }
        const std::string context = read_text(record, "context");
        read_question(record, [&] { return index_of(context); });
      } catch (const BadExample& bad) {
        add_bad_question(record, bad.what());
      }
    }
  }

  void read_passage(const Literal& passage) {
    std::string context;
    try {
      if (!passage.is(Kind::kObject)) {
        throw BadExample(format("{} where a passage was expected", passage.kind_name()));
      }
      context = read_text(passage, "context");
    } catch (const BadExample& bad) {
      return add_bad_passage(passage, bad.what());
    }
    const Literal* questions = passage.find("qas");
    if (questions == nullptr) return add_bad_passage(passage, "key \"qas\" is missing");
    if (questions->is(Kind::kNull)) return;
    if (!questions->is(Kind::kList)) return add_bad_list(passage, "qas", *questions);
    const auto index = static_cast<int64_t>(data_.contexts.size());
    data_.contexts.push_back(std::move(context));
    for (const Literal& question : questions->items) {
      read_question(question, [index] { return index; });
    }
  }

  /// Of the context of a row: rows repeat the context for each question.
  int64_t index_of(const std::string& context) {
    const size_t hash = std::hash<std::string>()(context);
    const auto [first, last] = by_hash_.equal_range(hash);
    for (auto known = first; known != last; ++known) {
      if (data_.contexts[static_cast<size_t>(known->second)] == context) return known->second;
    }
    const auto index = static_cast<int64_t>(data_.contexts.size());
    data_.contexts.push_back(context);
    by_hash_.emplace(hash, index);
    return index;
  }

  // ---- questions

  void read_question(const Literal& given, const std::function<int64_t()>& context) {
    SquadQuestion question;
    try {
      if (!given.is(Kind::kObject)) {
        throw BadExample(format("{} where a question was expected", given.kind_name()));
      }
      question.id = read_text(given, "id", /*allow_number=*/true);
      question.question = read_text(given, "question");
      if (ids_.contains(question.id)) throw BadExample("the id occurs twice, expected unique ids");
      question.context = context();
      const int64_t bad_answers = read_answers_of(given, question);
      findings_.bad_answers += bad_answers;
    } catch (const BadExample& bad) {
      return add_bad_question(given, bad.what(), bad.position);
    }
    ids_.insert(question.id);
    ++num_questions_;
    data_.questions.push_back(std::move(question));
  }

  /// Returns the number of answers that are left out. Throws BadExample when the question can't be
  /// used for what the answers are for.
  int64_t read_answers_of(const Literal& given, SquadQuestion& question) {
    if (options_.answers == AnswerUse::kNone) return 0;
    const bool trains = options_.answers == AnswerUse::kTrain;
    const std::optional<bool> is_impossible = read_is_impossible(given);
    const GivenAnswers all = read_answers(given);
    num_lone_surrogates_ += all.num_lone_surrogates;
    const auto blank = [](const GivenAnswer& answer) { return answer.is_blank(); };
    const int64_t num_blank = std::count_if(all.answers.begin(), all.answers.end(), blank);
    if (num_blank == std::ssize(all.answers)) {
      read_no_answer(given, question, all, is_impossible);
      return 0;
    }
    if (is_impossible.value_or(false)) {
      const std::string what = "is_impossible is true and there are answers, expected none";
      if (trains) throw BadExample(what);
      add_odd(given, question, given.position, what);
    }
    struct Bad {
      size_t position;
      std::string fault;
      bool is_left_out;
    };
    std::vector<Bad> bad;
    for (const GivenAnswer& answer : all.answers) {
      if (answer.is_blank()) {
        add_odd(given, question, answer.position, "an answer is empty beside others");
        continue;
      }
      SquadAnswer read{answer.text, SquadAnswer::kNoPlace};
      const std::string fault =
          answer.fault.empty() ? place(*answer.start, read, question) : answer.fault;
      // For the scores an answer needs no more than its text.
      const bool is_left_out = !fault.empty() && (trains || answer.is_unreadable);
      if (!fault.empty()) bad.push_back({answer.position, fault, is_left_out});
      if (!is_left_out) question.answers.push_back(std::move(read));
    }
    if (question.answers.empty()) throw BadExample(bad.front().fault, bad.front().position);
    int64_t num_left_out = 0;
    for (const Bad& one : bad) {
      if (one.is_left_out) {
        ++num_left_out;
        list(given, question.id, one.position, one.fault);
      } else {
        add_odd(given, question, one.position, one.fault);
      }
    }
    return num_left_out;
  }

  /// A question without answers, or with empty ones only.
  void read_no_answer(const Literal& given, SquadQuestion& question, const GivenAnswers& all,
                      std::optional<bool> is_impossible) {
    if (is_impossible.value_or(false)) return;
    if (!all.has_key) {
      throw BadExample("key \"answers\" is missing, expected answers or is_impossible: true");
    }
    const bool trains = options_.answers == AnswerUse::kTrain;
    std::string what;
    if (!all.answers.empty()) {
      what = "the answer is empty, expected a text of the context or is_impossible: true";
    } else if (is_impossible.has_value()) {
      what = "is_impossible is false and there is no answer, expected one or is_impossible: true";
    }
    if (what.empty()) return;
    if (trains) throw BadExample(what);
    // The official script counts it among the answerable ones when there is an answer, if empty.
    if (!all.answers.empty()) question.answers.push_back({"", SquadAnswer::kNoPlace});
    add_odd(given, question, given.position, what);
  }

  /// Finds where the answer stands: at its offset, or nearly. Returns what is wrong.
  std::string place(int64_t given, SquadAnswer& answer, const SquadQuestion& question) {
    const std::string& context = data_.contexts[static_cast<size_t>(question.context)];
    if (measured_ != question.context) {
      measured_ = question.context;
      context_length_ = code_point_count(context);
    }
    const int64_t total = context_length_;
    if (given < 0 || given > total) {
      return format("answer_start is {}, expected a place in the context of {} code points", given,
                    total);
    }
    const int64_t length = code_point_count(answer.text);
    const auto stands_at = [&](int64_t start) {
      return start >= 0 && start <= total - length &&
             std::string_view(context).substr(byte_index(context, start)).starts_with(answer.text);
    };
    // The course's repair: some files count one or two characters too many.
    const int64_t reach = options_.repair_offsets ? 2 : 0;
    for (int64_t shift = 0; shift <= reach; ++shift) {
      for (const int64_t start : {given - shift, given + shift}) {
        if (!stands_at(start)) continue;
        answer.start = start;
        return "";
      }
    }
    return format("answer {} does not stand at answer_start {} of its context",
                  shown_text(answer.text), given);
  }

  // ---- what is wrong

  std::string location(const Literal& given, const std::string& id, size_t position) const {
    std::string text = format("line {}", line_at(content_, position));
    if (!article_.empty()) text += format(", article {}", shown_text(article_));
    const Literal* found = given.is(Kind::kObject) ? given.find("id") : nullptr;
    const bool known = found != nullptr && (found->is(Kind::kText) || found->is(Kind::kNumber));
    const std::string& shown = id.empty() && known ? found->text : id;
    return shown.empty() ? text : format("{}, question {}", text, shown_text(shown));
  }

  void list(const Literal& given, const std::string& id, size_t position, const std::string& what) {
    if (std::ssize(findings_.lines) == kMaxListed) return;
    findings_.lines.push_back(location(given, id, position) + ": " + what);
  }

  void add_bad_question(const Literal& given, const std::string& what,
                        std::optional<size_t> position = std::nullopt) {
    ++num_questions_;
    ++findings_.bad_questions;
    list(given, "", position.value_or(given.position), what);
  }

  /// A passage without a context takes its questions with it.
  void add_bad_passage(const Literal& passage, const std::string& what) {
    const Literal* questions = passage.is(Kind::kObject) ? passage.find("qas") : nullptr;
    const bool some =
        questions != nullptr && questions->is(Kind::kList) && !questions->items.empty();
    if (!some) return add_bad_question(passage, what);
    for (const Literal& question : questions->items) add_bad_question(question, what);
  }

  void add_bad_list(const Literal& record, std::string_view key, const Literal& value) {
    add_bad_question(record,
                     format("key \"{}\" holds {}, expected an array", key, value.kind_name()));
  }

  void add_odd(const Literal& given, const SquadQuestion& question, size_t position,
               const std::string& what) {
    ++findings_.odd_answers;
    list(given, question.id, position, what);
  }

  void report() const {
    const int64_t bad = findings_.bad_questions;
    const bool none_left = data_.questions.empty();
    LIGHTNING_CHECK(num_questions_ > 0, DataError, subject(),
                    ": there is no question in it, expected at least one. HINT: check how it was "
                    "written.");
    if (num_lone_surrogates_ > 0) {
      lightning::log_warning(
          format("{}: {} (\\ud800 to \\udfff without its other half) read as U+FFFD. HINT: the "
                 "file was cut within a character; check how it was written.",
                 subject(), counted(num_lone_surrogates_, "lone surrogate")));
    }
    if (findings_.count() == 0) return;
    std::string counts;
    if (bad > 0) counts = counted(bad, "bad question");
    if (findings_.bad_answers > 0) {
      counts += format("{}{} beside good ones", counts.empty() ? "" : " and ",
                       counted(findings_.bad_answers, "bad answer"));
    }
    const bool fails = bad + findings_.bad_answers > 0 &&
                       (none_left || options_.on_bad_example == OnBadExample::kError);
    if (fails) {
      throw DataError(format("{}: {} among {}, expected none:{}\nHINT: {}", subject(), counts,
                             counted(num_questions_, "question"), findings_.list(),
                             none_left ? "no question can be used; check how the file was written."
                                       : "correct the file, or leave them out with "
                                         "--data.on_bad_example skip."));
    }
    std::vector<std::string> texts;
    if (!counts.empty()) {
      texts.push_back(format("{} among {} left out (data.on_bad_example is skip)", counts,
                             counted(num_questions_, "question")));
    }
    if (findings_.odd_answers > 0 && options_.answers == AnswerUse::kTrain) {
      texts.push_back(
          format("{} beside others not used", counted(findings_.odd_answers, "empty answer")));
    } else if (findings_.odd_answers > 0) {
      texts.push_back(
          format("{} with faults: exact and f1 count them as the official script does, "
                 "the loss leaves out questions without an answer that stands at its "
                 "answer_start",
                 counted(findings_.odd_answers, "answer")));
    }
    lightning::log_warning(format("{}: {}:{}", subject(), join(texts, "; "), findings_.list()));
  }

  std::string file_;
  std::string_view content_;
  SquadReaderOptions options_;
  SquadData data_;
  int64_t num_questions_ = 0;  // bad ones included
  Findings findings_;
  std::unordered_set<std::string> ids_;
  std::unordered_multimap<size_t, int64_t> by_hash_;  // contexts of rows
  int64_t num_lone_surrogates_ = 0;
  int64_t measured_ = -1;       // the context whose length is known
  int64_t context_length_ = 0;  // in code points
  std::string article_;
};

}  // namespace

bool SquadQuestion::is_without_place() const {
  const auto has_place = [](const SquadAnswer& answer) { return answer.has_place(); };
  return !answers.empty() && std::none_of(answers.begin(), answers.end(), has_place);
}

SquadData read_squad(const std::filesystem::path& path, const SquadReaderOptions& options) {
  check_is_no_folder(path, "SQuAD file");
  const std::string content = lightning::read_file(path);
  return Reader(path.string(), content, options).read();
}

}  // namespace bert_squad
