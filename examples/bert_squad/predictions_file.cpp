#include "predictions_file.h"

#include <unistd.h>

#include <cmath>
#include <memory>
#include <string>

#include <lightning/util/error.h>
#include <lightning/util/file_system.h>
#include <lightning/util/log.h>
#include <nlohmann/json.hpp>

namespace bert_squad {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using lightning::FileSystem;
using lightning::detail::concat;

/// A JSON object that is written member by member, laid out as Json::dump(1) does. It takes its
/// name when it is complete.
class JsonObjectFile {
 public:
  explicit JsonObjectFile(const fs::path& path)
      : path_(path),
        temporary_(path.parent_path() / concat(".", path.filename().string(), ".tmp-", ::getpid())),
        file_(FileSystem::current().open_for_writing(temporary_)) {}

  JsonObjectFile(const JsonObjectFile&) = delete;
  JsonObjectFile& operator=(const JsonObjectFile&) = delete;
  ~JsonObjectFile() {
    if (committed_) return;
    std::error_code ignored;
    fs::remove(temporary_, ignored);
  }

  void add(const std::string& key, const Json& value) {
    Json object = Json::object();
    object[key] = value;
    std::string text = object.dump(1);
    text = text.substr(1, text.size() - 3);  // without "{" and "\n}"
    buffer_ += (empty_ ? "{" : ",") + text;
    empty_ = false;
    constexpr size_t kBlock = 1 << 20;
    if (buffer_.size() >= kBlock) flush();
  }

  void commit() {
    buffer_ += empty_ ? "{}\n" : "\n}\n";
    flush();
    file_->sync();
    file_->close();
    FileSystem::current().rename(temporary_, path_);
    committed_ = true;
    FileSystem::current().sync_directory(path_.parent_path());
  }

 private:
  void flush() {
    file_->write(buffer_);
    buffer_.clear();
  }

  fs::path path_;
  fs::path temporary_;
  std::unique_ptr<lightning::WritableFile> file_;
  std::string buffer_;
  bool empty_ = true;
  bool committed_ = false;
};

Json to_json(const std::vector<RankedAnswer>& answers) {
  Json list = Json::array();
  for (const RankedAnswer& answer : answers) {
    list.push_back(Json{{"text", answer.text},
                        {"probability", answer.probability},
                        {"start_logit", answer.start_logit},
                        {"end_logit", answer.end_logit}});
  }
  return list;
}

}  // namespace

PredictionFiles write_predictions(const fs::path& folder, const AnswerDecoder& decoder,
                                  const std::optional<double>& null_threshold) {
  PredictionFiles files{folder / "predictions.json", folder / "nbest_predictions.json",
                        folder / "null_odds.json"};
  JsonObjectFile predictions(files.predictions);
  JsonObjectFile n_best(files.n_best);
  JsonObjectFile null_odds(files.null_odds);
  int64_t num_questions = 0;
  int64_t not_finite = 0;
  for (int64_t i = 0; i < decoder.num_questions(); ++i) {
    if (!decoder.seen(i)) continue;
    const std::string& id = decoder.data().questions[static_cast<size_t>(i)].id;
    const Prediction best = decoder.best_span(i);
    const bool none = null_threshold && best.no_answer_score > *null_threshold;
    predictions.add(id, none ? "" : best.text);
    n_best.add(id, to_json(decoder.ranked_answers(i, null_threshold.has_value())));
    null_odds.add(id, best.no_answer_score);
    ++num_questions;
    if (!std::isfinite(best.no_answer_score)) ++not_finite;
  }
  if (not_finite > 0) {
    lightning::log_warning(concat(
        "predict: the scores of ", not_finite, " of ", num_questions,
        " questions are not finite numbers, expected numbers; they are written as null. HINT: the "
        "model has diverged, use an earlier checkpoint."));
  }
  n_best.commit();
  null_odds.commit();
  predictions.commit();
  return files;
}

}  // namespace bert_squad
