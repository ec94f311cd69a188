#include "squad_module.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <numeric>
#include <variant>

#include <ATen/core/grad_mode.h>
#include <lightning/loggers/logger.h>
#include <lightning/optim/optimizers.h>
#include <lightning/optim/parameter_groups.h>
#include <lightning/optim/warmup_schedules.h>
#include <lightning/util/error.h>
#include <lightning/util/file_system.h>
#include <lightning/util/log.h>

#include "predictions_file.h"

namespace bert_squad {
namespace {

namespace fs = std::filesystem;
using lightning::detail::concat;

bool has_file(const fs::path& folder, const char* name) {
  std::error_code ignored;
  return fs::is_regular_file(folder / name, ignored);
}

// What every checkpoint holds, and no folder of Hugging Face.
bool is_checkpoint(const fs::path& folder) { return has_file(folder, "manifest.json"); }

const fs::path& required_folder(const SquadModuleOptions& options) {
  const fs::path& folder = options.pretrained;
  LIGHTNING_CHECK(!folder.empty(), ConfigError,
                  "model.pretrained is empty and no checkpoint was given, expected the folder of a "
                  "BERT model. HINT: add --model.pretrained FOLDER (data/minilm, which "
                  "scripts/bootstrap.sh makes, or scripts/get_bert.sh's data/bert-base-uncased) or "
                  "--ckpt_path CHECKPOINT.");
  LIGHTNING_CHECK(!is_checkpoint(folder), ConfigError, "model.pretrained is ", folder.string(),
                  ", a checkpoint of this program, expected a Hugging Face folder. HINT: use "
                  "--ckpt_path ",
                  folder.string(), ", or make a folder of it with bert_squad export.");
  std::error_code ignored;
  LIGHTNING_CHECK(!fs::is_regular_file(folder, ignored), ConfigError, "model.pretrained is ",
                  folder.string(), ", which is a file, expected a folder. HINT: give its folder, ",
                  folder.has_parent_path() ? folder.parent_path().string() : ".", ".");
  return folder;
}

double in_seconds(std::chrono::steady_clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

/// As in "723.45 s (12 min 3.45 s)".
std::string format_duration(std::chrono::steady_clock::duration duration) {
  const double seconds = in_seconds(duration);
  const int minutes = static_cast<int>(seconds / 60);
  char text[96];
  std::snprintf(text, sizeof(text), "%.2f s (%d min %.2f s)", seconds, minutes,
                seconds - 60 * minutes);
  return text;
}

std::string format_loss(double loss) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.4f", loss);
  return text;
}

/// The scores of a batch become answers on the host: waits for the device.
void decode(const SpanLogits& logits, const lightning::Batch& batch, AnswerDecoder& decoder) {
  const at::Tensor start = logits.start.to(at::kCPU, at::kFloat).contiguous();
  const at::Tensor end = logits.end.to(at::kCPU, at::kFloat).contiguous();
  const auto length = static_cast<size_t>(start.size(1));
  const auto& payload = batch.payload<SquadRows>();
  for (size_t i = 0; i < payload.rows.size(); ++i) {
    decoder.add(payload.features, payload.rows[i],
                {start.const_data_ptr<float>() + i * length, length},
                {end.const_data_ptr<float>() + i * length, length});
  }
}

/// Says how many questions have scores that are no numbers.
void warn_of_divergence(const Predictions& predictions) {
  const auto not_finite =
      std::count_if(predictions.begin(), predictions.end(),
                    [](const auto& one) { return !std::isfinite(one.second.no_answer_score); });
  if (not_finite == 0) return;
  lightning::log_warning(concat("the scores of ", not_finite, " of ", predictions.size(),
                                " questions are not finite numbers, expected numbers: exact and f1 "
                                "mean nothing. HINT: the model has diverged, use an earlier "
                                "checkpoint."));
}

/// Windows that go through the model together for a single question.
constexpr int64_t kWindowsAtATime = 32;

/// A question and a context that a model can work on.
void check_texts(const SquadFeatures& features) {
  const Feature& first = features.features.front();
  LIGHTNING_CHECK(first.context_end > first.context_begin, DataError,
                  "answer: the context holds no token, expected a text to find the answer in.");
  const int64_t specials = 3;
  LIGHTNING_CHECK(first.length() - specials > first.context_end - first.context_begin, DataError,
                  "answer: the question holds no token, expected a question.");
}

/// What is lost of the only question and its context; empty for nothing.
std::string describe_cut_texts(const SquadFeatures& features, const FeatureOptions& options) {
  std::string text;
  const auto add = [&](const std::vector<CutText>& cut, const char* name) {
    if (cut.empty()) return;
    text += concat(text.empty() ? "" : " ", "The ", name, " has ", cut.front().num_tokens,
                   " tokens, only the first ", cut.front().num_kept,
                   " are used: max_seq_length is ", options.max_seq_length, ".");
  };
  add(features.cut_questions, "question");
  add(features.cut_contexts, "passage");
  return text;
}

void check_options(const SquadModuleOptions& options) {
  LIGHTNING_CHECK(options.learning_rate > 0.0, ConfigError, "model.learning_rate is ",
                  options.learning_rate, ", expected a positive number. HINT: 5e-5 is usual.");
  LIGHTNING_CHECK(options.warmup_fraction >= 0.0 && options.warmup_fraction <= 1.0, ConfigError,
                  "model.warmup_fraction is ", options.warmup_fraction, ", expected 0 to 1.");
  LIGHTNING_CHECK(options.weight_decay >= 0.0, ConfigError, "model.weight_decay is ",
                  options.weight_decay, ", expected 0 or more.");
  LIGHTNING_CHECK(options.n_best >= 1 && options.max_answer_length >= 1, ConfigError,
                  "model.n_best is ", options.n_best, " and model.max_answer_length is ",
                  options.max_answer_length, ", expected at least 1.");
}

}  // namespace

SquadModule::SquadModule(Options options)
    : SquadModule(options, required_folder(options), /*load_weights=*/true) {}

std::shared_ptr<SquadModule> SquadModule::from_checkpoint(const Options& options,
                                                          const fs::path& assets) {
  return std::shared_ptr<SquadModule>(new SquadModule(options, assets, /*load_weights=*/false));
}

SquadModule::SquadModule(Options options, const fs::path& folder, bool load_weights)
    : options_(std::move(options)),
      tokenizer_(WordPieceTokenizer::from_folder(folder)),
      decoder_({.n_best = options_.n_best, .max_answer_length = options_.max_answer_length}) {
  check_options(options_);
  BertConfig config = read_bert_config(folder / "config.json");
  if (options_.dropout) {
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = *options_.dropout;
  }
  check_same_model(config, tokenizer_, folder);
  if (load_weights) {
    LoadReport report;
    model_ = load_pretrained(folder, config, &report);
    head_is_new_ = !report.has_head();
  } else {
    model_ = BertForQuestionAnswering(config, BertInit::kNone);
  }
  for (const auto& child : model_->named_children()) register_module(child.key(), child.value());

  assets_ = tokenizer_.files();
  assets_.emplace_back("config.json", to_json(config));
  save_hyperparameters(options_);
}

std::vector<std::pair<std::string, std::string>> SquadModule::checkpoint_assets() {
  return assets_;
}

SpanLogits SquadModule::forward(const lightning::Batch& batch) {
  return model_->forward(batch["input_ids"], batch["token_type_ids"], batch["attention_mask"]);
}

lightning::StepOutput SquadModule::training_step(const lightning::Batch& batch, int64_t batch_idx) {
  const SpanLogits logits = forward(batch);
  const at::Tensor loss = span_loss(logits, batch["start_positions"], batch["end_positions"]);
  log("train_loss", loss, {.prog_bar = true});
  log("avg_train_loss", loss, {.on_step = false, .on_epoch = true});
  // Waits for the device, once in 100 batches.
  if (batch_idx % 100 == 0 && batch_idx > 0) {
    print(concat("Epoch ", current_epoch() + 1, ", batch ", batch_idx, ", train_loss ",
                 format_loss(loss.item<double>())));
  }
  return loss;
}

void SquadModule::validation_step(const lightning::Batch& batch, int64_t) {
  evaluate(batch, "val_loss");
}

void SquadModule::test_step(const lightning::Batch& batch, int64_t) {
  evaluate(batch, "test_loss");
}

void SquadModule::evaluate(const lightning::Batch& batch, const char* loss_name) {
  const SpanLogits logits = forward(batch);
  // Windows of answers whose place isn't known have no loss, and no weight in its mean.
  const auto num_without = batch.payload<SquadRows>().num_without_place;
  const int64_t num_rows = logits.start.size(0);
  lightning::LogOptions options;
  if (num_without > 0) options.batch_size = static_cast<double>(num_rows - num_without);
  log(loss_name,
      num_without < num_rows ? span_loss(logits, batch["start_positions"], batch["end_positions"])
                             : at::zeros({}, logits.start.options().dtype(at::kFloat)),
      options);
  decode(logits, batch, decoder_);
}

lightning::Batch SquadModule::predict_step(const lightning::Batch& batch, int64_t) {
  const SpanLogits logits = forward(batch);
  decode(logits, batch, decoder_);
  return lightning::Batch({{"start_logits", logits.start}, {"end_logits", logits.end}});
}

lightning::OptimizerList SquadModule::configure_optimizers() {
  const auto defaults =
      torch::optim::AdamWOptions(options_.learning_rate).weight_decay(options_.weight_decay);
  const auto optimizer =
      options_.decay_all ? std::make_shared<lightning::optim::AdamW>(parameters(), defaults)
                         : std::make_shared<lightning::optim::AdamW>(
                               lightning::optim::weight_decay_groups(*this, defaults), defaults);
  if (options_.schedule == Schedule::kConstant) return optimizer;
  const int64_t steps = trainer().estimated_stepping_batches();
  const auto warmup = static_cast<int64_t>(options_.warmup_fraction * static_cast<double>(steps));
  return lightning::OptimizerConfig{
      .optimizer = optimizer,
      .lr_scheduler = {{.scheduler = std::make_shared<lightning::optim::LinearWarmupLR>(
                            optimizer, warmup, steps),
                        .interval = lightning::Interval::kStep}}};
}

void SquadModule::on_fit_start() {
  fit_began_ = Clock::now();
  if (!head_is_new_) return;
  lightning::log_warning(
      concat(options_.pretrained.string(),
             " has no question-answering head: qa_outputs.weight and "
             "qa_outputs.bias are drawn at random, and this training is all that "
             "they learn from."));
}

void SquadModule::require_head() const {
  LIGHTNING_CHECK(!head_is_new_ || options_.allow_new_head, ConfigError, "the model folder ",
                  options_.pretrained.string(),
                  " has no question-answering head (qa_outputs.weight and qa_outputs.bias): "
                  "its answers would be random. HINT: train it with fit and pass the checkpoint by "
                  "--ckpt_path, or answer all the same with --model.allow_new_head true.");
}

void SquadModule::on_load_checkpoint(const lightning::StateDict&) { head_is_new_ = false; }

void SquadModule::on_fit_end() {
  const Clock::duration total = Clock::now() - fit_began_;
  print("Total training time: " + format_duration(total));
  // A value of the fit, not of an epoch: a separate row.
  for (const auto& logger : trainer().loggers()) {
    logger->log_metrics({.step = global_step(),
                         .epoch = current_epoch(),
                         .values = {{"total_time", in_seconds(total)}}});
  }
}

// Training that resumes in the middle of an epoch has no on_train_epoch_start().
void SquadModule::on_train_start() { training_since_ = Clock::now(); }

void SquadModule::on_train_epoch_start() {
  training_since_ = Clock::now();
  training_time_ = {};
  epoch_is_whole_ = true;
}

void SquadModule::on_train_batch_end(const lightning::StepOutput&, const lightning::Batch&,
                                     int64_t) {
  head_is_new_ = false;
  const Clock::time_point now = Clock::now();
  training_time_ += now - training_since_;
  training_since_ = now;
}

void SquadModule::on_validation_end() { training_since_ = Clock::now(); }

void SquadModule::on_train_epoch_end() {
  const lightning::MetricMap& metrics = trainer().callback_metrics();
  std::string text = concat("Epoch ", current_epoch() + 1);
  for (const char* name : {"avg_train_loss", "val_loss"}) {
    const auto loss = metrics.find(name);
    if (loss != metrics.end()) text += concat(", ", name, " ", format_loss(loss->second));
  }
  if (epoch_is_whole_) {
    text += ", epoch time " + format_duration(training_time_);
    log("epoch_time", in_seconds(training_time_), {.sync_dist = false});
  }
  print(text);
}

void SquadModule::on_validation_start() {
  if (trainer().stage() != lightning::Stage::kFit) require_head();
}

void SquadModule::on_validation_epoch_start() { decoder_.clear(); }

// The windows of a question may lie on several ranks. In parts, so that what is sent at a time
// doesn't grow with the file.
void SquadModule::gather_answers(int64_t num_spans) {
  all_ranks_have_data_ = decoder_.has_data();
  if (trainer().world_size() == 1) return;
  lightning::StateDict own;
  own.set("num_questions", decoder_.num_questions());
  int64_t num_questions = 0;
  for (const lightning::StateDict& state : trainer().all_gather("squad questions", own)) {
    const auto count = state.get<int64_t>("num_questions");
    if (count == 0) all_ranks_have_data_ = false;
    num_questions = std::max(num_questions, count);
  }
  constexpr int64_t kQuestionsAtATime = 2048;
  for (int64_t begin = 0; begin < num_questions; begin += kQuestionsAtATime) {
    const std::vector<lightning::StateDict> states = trainer().all_gather(
        "squad answers", decoder_.state_dict(num_spans, begin, begin + kQuestionsAtATime));
    for (size_t rank = 0; rank < states.size(); ++rank) {
      if (static_cast<int64_t>(rank) != trainer().global_rank()) decoder_.merge(states[rank]);
    }
  }
}

lightning::StateDict SquadModule::scores() const {
  const Predictions best = decoder_.best_spans();
  if (trainer().is_global_zero()) warn_of_divergence(best);
  const double always = std::numeric_limits<double>::infinity();
  const SquadScores spans = evaluate_squad(decoder_.data(), best, always);
  const SquadScores scores =
      evaluate_squad(decoder_.data(), best, options_.null_threshold.value_or(always));
  lightning::StateDict named;
  named.set("exact", scores.exact);
  named.set("f1", scores.f1);
  if (scores.has_ans_total > 0) {
    named.set("HasAns_exact", scores.has_ans_exact);
    named.set("HasAns_f1", scores.has_ans_f1);
    named.set("HasAns_best_span_exact", spans.has_ans_exact);
    named.set("HasAns_best_span_f1", spans.has_ans_f1);
  }
  if (scores.no_ans_total > 0) {
    named.set("NoAns_exact", scores.no_ans_exact);
    named.set("NoAns_f1", scores.no_ans_f1);
    named.set("best_exact", scores.best_exact);
    named.set("best_exact_thresh", scores.best_exact_threshold);
    named.set("best_f1", scores.best_f1);
    named.set("best_f1_thresh", scores.best_f1_threshold);
  }
  return named;
}

void SquadModule::on_validation_epoch_end() { log_scores(); }

void SquadModule::on_test_start() { require_head(); }

void SquadModule::on_test_epoch_start() { decoder_.clear(); }

void SquadModule::on_test_epoch_end() { log_scores(); }

void SquadModule::log_scores() {
  gather_answers(/*num_spans=*/1);
  if (decoder_.empty()) return;
  lightning::StateDict scores;
  if (decoder_.has_data()) scores = this->scores();
  if (!all_ranks_have_data_ && trainer().world_size() > 1) {
    // A rank without windows knows no questions; rank 0 has some when any rank has.
    scores = trainer().all_gather("squad scores", scores).at(0);
  }
  // Every rank has the scores of all ranks.
  for (const auto& [name, value] : scores.entries()) {
    log(name, std::get<double>(value),
        {.prog_bar = name == "exact" || name == "f1", .sync_dist = false});
  }
  decoder_.clear();
}

void SquadModule::on_predict_start() { require_head(); }

void SquadModule::on_predict_epoch_start() { decoder_.clear(); }

void SquadModule::on_predict_epoch_end() {
  gather_answers(options_.n_best);
  if (decoder_.empty()) return;
  const fs::path folder = trainer().run_dir();  // every rank must ask for it
  if (trainer().is_global_zero()) {
    const PredictionFiles files = write_predictions(folder, decoder_, options_.null_threshold);
    print("Predictions: " + files.predictions.string());
    print("N best answers: " + files.n_best.string());
    print("No-answer scores: " + files.null_odds.string());
  }
  decoder_.clear();
}

void SquadModule::check_max_seq_length(int64_t max_seq_length) const {
  const int64_t positions = model_->config().max_position_embeddings;
  LIGHTNING_CHECK(max_seq_length <= positions, ConfigError, "data.max_seq_length is ",
                  max_seq_length, ", expected at most the model's ", positions,
                  " positions. HINT: set --data.max_seq_length ", positions,
                  " and a --data.doc_stride of a third of it.");
}

std::string SquadModule::option_of_folder(const fs::path& folder) {
  return has_file(folder, "config.json") && !is_checkpoint(folder) ? "model.pretrained" : "";
}

SquadModule::Answer SquadModule::answer(const std::string& question, const std::string& context,
                                        const FeatureOptions& feature_options,
                                        const AnswerProgress& progress) {
  require_head();
  check_max_seq_length(feature_options.max_seq_length);
  SquadData data;
  data.contexts = {context};
  data.questions = {{"question", question, 0, {}}};
  FeatureOptions unlabelled = feature_options;
  unlabelled.labels = false;
  const auto features = make_features(std::move(data), tokenizer_, unlabelled);
  check_texts(*features);
  if (const auto cut = describe_cut_texts(*features, unlabelled); !cut.empty()) {
    lightning::log_warning(cut);
  }

  SquadDataset dataset(features, tokenizer_.pad_id());
  AnswerDecoder decoder(
      {.n_best = options_.n_best, .max_answer_length = options_.max_answer_length});
  const at::NoGradGuard no_grad;
  const auto report = [&](int64_t done) {
    if (progress) progress(done, dataset.size());
  };
  report(0);
  std::vector<int64_t> rows;
  for (int64_t begin = 0; begin < dataset.size(); begin += kWindowsAtATime) {
    rows.resize(static_cast<size_t>(std::min(kWindowsAtATime, dataset.size() - begin)));
    std::iota(rows.begin(), rows.end(), begin);
    const lightning::Batch batch = dataset.get_batch(rows, {});
    decode(forward(batch.to(device())), batch, decoder);
    report(begin + std::ssize(rows));
  }
  const Prediction best = decoder.best_span(0);
  LIGHTNING_CHECK(std::isfinite(best.no_answer_score), DataError,
                  "answer: the model's scores are not finite numbers, expected numbers. HINT: the "
                  "model has diverged, use an earlier checkpoint.");
  const auto& spans = decoder.spans(0);
  return {best.text, spans.empty() ? 0.0 : spans.front().score(), best.no_answer_score};
}

}  // namespace bert_squad
