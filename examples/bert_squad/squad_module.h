/// SquadModule: BERT fine-tuned to answer questions about a passage.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <lightning/config/fields.h>
#include <lightning/core/lightning_module.h>

#include "answer_decoder.h"
#include "bert_model.h"
#include "pretrained.h"
#include "squad_dataset.h"
#include "wordpiece.h"

namespace bert_squad {

enum class Schedule { kLinear, kConstant };
LIGHTNING_ENUM(Schedule, LIGHTNING_ENUMERATOR(kLinear, "linear"),
               LIGHTNING_ENUMERATOR(kConstant, "constant"))

struct SquadModuleOptions {
  /// Hugging Face folder of a BERT: config.json, the tokenizer's files, model.safetensors. Required
  /// for a model that doesn't come from a checkpoint.
  std::filesystem::path pretrained = "";
  /// Whether validate, test, predict and ask may answer with a question-answering head that is new:
  /// not in the folder of `pretrained`, drawn at random.
  bool allow_new_head = false;
  // ---- optimization (AdamW)
  double learning_rate = 5e-5;
  Schedule schedule = Schedule::kLinear;
  /// Share of the steps over which the rate rises to learning_rate (linear schedule).
  double warmup_fraction = 0.1;
  double weight_decay = 0.01;
  /// Also decay biases and LayerNorms, as torch.optim.AdamW does when it is given all parameters.
  bool decay_all = false;
  /// Dropout of the whole model; null: as in config.json.
  std::optional<double> dropout = std::nullopt;
  // ---- answers
  int64_t n_best = 20;
  int64_t max_answer_length = 30;
  /// "No answer" is given when its score is better by more than this; null: always answer.
  std::optional<double> null_threshold = 0.0;
};

LIGHTNING_FIELDS(
    SquadModuleOptions,
    LIGHTNING_FIELD(pretrained, "folder with a BERT's config.json, tokenizer and weights"),
    LIGHTNING_FIELD(allow_new_head, "answer even if the folder has no question-answering head"),
    LIGHTNING_FIELD(learning_rate, "learning rate of AdamW"),
    LIGHTNING_FIELD(schedule, "linear (warmup, then down to 0) or constant"),
    LIGHTNING_FIELD(warmup_fraction, "fraction of the steps over which the rate rises"),
    LIGHTNING_FIELD(weight_decay, "weight decay of AdamW"),
    LIGHTNING_FIELD(decay_all, "also decay biases and LayerNorms"),
    LIGHTNING_FIELD(dropout, "dropout of the whole model; null: as in config.json"),
    LIGHTNING_FIELD(n_best, "first and last tokens that are combined to answers"),
    LIGHTNING_FIELD(max_answer_length, "longest answer, in tokens"),
    LIGHTNING_FIELD(null_threshold, "advantage that \"no answer\" needs; null: always answer"))

class SquadModule : public lightning::LightningModule {
 public:
  using Options = SquadModuleOptions;
  /// Reads configuration, tokenizer and weights of options.pretrained.
  explicit SquadModule(Options options);
  /// From what a checkpoint carries; the weights are loaded afterwards.
  static std::shared_ptr<SquadModule> from_checkpoint(const Options& options,
                                                      const std::filesystem::path& assets);

  const WordPieceTokenizer& tokenizer() const { return tokenizer_; }
  const Options& options() const { return options_; }
  BertForQuestionAnswering& model() { return model_; }
  const BertForQuestionAnswering& model() const { return model_; }
  /// Whether the question-answering head holds random numbers: the folder of `pretrained` has none,
  /// and neither a checkpoint nor training has given it values since.
  bool head_is_new() const { return head_is_new_; }
  /// Throws lightning::ConfigError for a new head, unless options().allow_new_head: for all that
  /// answers questions. The Trainer's validate, test and predict ask it themselves, as answer()
  /// does.
  void require_head() const;
  struct Answer {
    std::string text;
    double score;            // of the span
    double no_answer_score;  // of "no answer", minus the best span's
  };
  /// Is told how many windows are done, of how many: before the first batch and after each.
  using AnswerProgress = std::function<void(int64_t done, int64_t total)>;
  /// The best span for one question, whatever no_answer_score is; the model must be in eval mode.
  /// The windows go through the model in batches, so that the memory taken doesn't grow with the
  /// context. Warns when the question or (layout context_first) the context is cut.
  /// Throws lightning::DataError for texts that aren't UTF-8 or hold no token and for scores that
  /// are no numbers (a model that diverged), ConfigError for sizes that the model doesn't have.
  Answer answer(const std::string& question, const std::string& context,
                const FeatureOptions& features, const AnswerProgress& progress = {});
  /// Throws lightning::ConfigError when the model has fewer positions.
  void check_max_seq_length(int64_t max_seq_length) const;

  /// Whether `folder` is one that the option `pretrained` takes: a Hugging Face folder. The command
  /// line asks it of a ckpt_path. Returns the option's key, or "".
  static std::string option_of_folder(const std::filesystem::path& folder);
  /// The option that a checkpoint replaces, with its own model and tokenizer.
  static std::string source_option() { return "model.pretrained"; }
  /// The files beside the weights that the model was made from or with, by name: config.json and
  /// the tokenizer's.
  const std::vector<std::pair<std::string, std::string>>& assets() const { return assets_; }

  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t batch_idx) override;
  void validation_step(const lightning::Batch& batch, int64_t batch_idx) override;
  void test_step(const lightning::Batch& batch, int64_t batch_idx) override;
  lightning::Batch predict_step(const lightning::Batch& batch, int64_t batch_idx) override;
  lightning::OptimizerList configure_optimizers() override;
  void on_fit_start() override;
  void on_fit_end() override;
  void on_load_checkpoint(const lightning::StateDict& state) override;
  void on_train_start() override;
  void on_train_epoch_start() override;
  void on_train_batch_end(const lightning::StepOutput& output, const lightning::Batch& batch,
                          int64_t batch_idx) override;
  void on_train_epoch_end() override;
  void on_validation_start() override;
  void on_validation_epoch_start() override;
  void on_validation_epoch_end() override;
  void on_validation_end() override;
  void on_test_start() override;
  void on_test_epoch_start() override;
  void on_test_epoch_end() override;
  void on_predict_start() override;
  void on_predict_epoch_start() override;
  void on_predict_epoch_end() override;
  std::vector<std::pair<std::string, std::string>> checkpoint_assets() override;

 private:
  using Clock = std::chrono::steady_clock;
  /// `folder` holds config.json and the tokenizer's files.
  SquadModule(Options options, const std::filesystem::path& folder, bool load_weights);
  SpanLogits forward(const lightning::Batch& batch);
  /// Logs the loss under this name and keeps the answers for log_scores().
  void evaluate(const lightning::Batch& batch, const char* loss_name);
  void log_scores();
  /// From here on each rank has the `num_spans` best spans of each question over all ranks.
  void gather_answers(int64_t num_spans);
  lightning::StateDict scores() const;

  Options options_;
  WordPieceTokenizer tokenizer_;
  // Its parts are registered as this module's own, so that parameters have Hugging Face's names.
  BertForQuestionAnswering model_{nullptr};
  std::vector<std::pair<std::string, std::string>> assets_;
  bool head_is_new_ = false;
  AnswerDecoder decoder_;
  bool all_ranks_have_data_ = true;  // in decoder_, as of the last gather_answers()
  Clock::time_point fit_began_;
  Clock::time_point training_since_;  // what is not in training_time_ yet
  Clock::duration training_time_{};   // of the epoch, without validation
  bool epoch_is_whole_ = false;       // it began in this process
};

}  // namespace bert_squad
