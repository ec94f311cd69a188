/// BERT with a question-answering head. Parameters have the names that Hugging Face gives them
/// (bert.embeddings.word_embeddings.weight ... qa_outputs.bias).
/// Letters in shapes: B sequences, T tokens, H hidden size.
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include "bert_config.h"

namespace bert_squad {

/// What a new model's parameters hold.
enum class BertInit {
  /// As in Hugging Face: weights normal(0, initializer_range), biases 0, LayerNorm 1 and 0, drawn
  /// from torch's default generator.
  kRandom,
  /// Nothing of use: for models whose parameters are all loaded next.
  kNone,
};

/// Scores of each token to be the first and the last of the answer, [B, T] each, float32 also
/// under autocast.
struct SpanLogits {
  at::Tensor start;
  at::Tensor end;
};

class BertEncoderImpl;

class BertForQuestionAnsweringImpl : public torch::nn::Module {
 public:
  /// Throws lightning::ConfigError (check_bert_config()).
  explicit BertForQuestionAnsweringImpl(const BertConfig& config,
                                        BertInit init = BertInit::kRandom);

  /// input_ids [B, T] int64, T at most max_position_embeddings. token_type_ids [B, T] int64;
  /// undefined means all 0. attention_mask [B, T], any type, 0 for padding; undefined means no
  /// padding. Throws lightning::DataError for shapes that don't fit.
  SpanLogits forward(const at::Tensor& input_ids, const at::Tensor& token_type_ids = {},
                     const at::Tensor& attention_mask = {});

  const BertConfig& config() const { return config_; }

  /// Draws new values for the head alone.
  void initialise_head();

 private:
  BertConfig config_;
  std::shared_ptr<BertEncoderImpl> bert_;
  std::shared_ptr<torch::nn::Module> head_;
};
TORCH_MODULE(BertForQuestionAnswering);

/// Mean of the cross entropies of start and end over the tokens (padding included, as in Hugging
/// Face). Positions [B] int64; one that is T or more is left out of the mean.
/// Returns: a 0-dim float32 tensor; nan when no position counts.
at::Tensor span_loss(const SpanLogits& logits, const at::Tensor& start_positions,
                     const at::Tensor& end_positions);

}  // namespace bert_squad
