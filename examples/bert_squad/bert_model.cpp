#include "bert_model.h"

#include <lightning/nn/unit.h>
#include <lightning/ops/add_layer_norm.h>
#include <lightning/ops/bias_gelu.h>
#include <lightning/ops/dropout.h>
#include <lightning/ops/self_attention.h>
#include <lightning/util/error.h>
#include <torch/nn/init.h>

#include <ATen/autocast_mode.h>

// In the struct's own namespace, where units look for it.
namespace lightning::ops {
LIGHTNING_UNIT_TENSORS(AddLayerNormOutput, &AddLayerNormOutput::residual,
                       &AddLayerNormOutput::compute)
}  // namespace lightning::ops

namespace bert_squad {

using lightning::DataError;

namespace {

/// Parameters of a linear layer; the products are the business of the module that owns it.
class DenseImpl : public torch::nn::Module {
 public:
  DenseImpl(int64_t inputs, int64_t outputs)
      : weight(register_parameter("weight", at::empty({outputs, inputs}))),
        bias(register_parameter("bias", at::empty({outputs}))) {}

  /// Without the bias.
  at::Tensor product(const at::Tensor& input) const { return at::linear(input, weight); }

  at::Tensor weight;
  at::Tensor bias;
};
TORCH_MODULE(Dense);

class NormImpl : public torch::nn::Module {
 public:
  explicit NormImpl(const BertConfig& config)
      : weight(register_parameter("weight", at::ones({config.hidden_size}))),
        bias(register_parameter("bias", at::zeros({config.hidden_size}))),
        epsilon(config.layer_norm_eps) {}

  at::Tensor weight;
  at::Tensor bias;
  double epsilon;
};
TORCH_MODULE(Norm);

class TableImpl : public torch::nn::Module {
 public:
  TableImpl(int64_t rows, int64_t columns)
      : weight(register_parameter("weight", at::empty({rows, columns}))) {}

  at::Tensor weight;
};
TORCH_MODULE(Table);

/// The hidden state between layers: `residual` for additions and `compute`, the same in the dtype
/// of matrix products (bfloat16 under autocast), made once instead of before every product.
using Hidden = lightning::ops::AddLayerNormOutput;

at::Tensor to_compute_type(const at::Tensor& tensor) {
  const at::DeviceType device = tensor.device().type();
  return at::autocast::is_autocast_enabled(device)
             ? at::autocast::cached_cast(at::autocast::get_autocast_dtype(device), tensor, device)
             : tensor;
}

class EmbeddingsImpl : public torch::nn::Module {
 public:
  explicit EmbeddingsImpl(const BertConfig& config)
      : padding_id_(config.pad_token_id), dropout_(config.hidden_dropout_prob) {
    const int64_t size = config.hidden_size;
    words_ = register_module("word_embeddings", Table(config.vocab_size, size));
    positions_ =
        register_module("position_embeddings", Table(config.max_position_embeddings, size));
    types_ = register_module("token_type_embeddings", Table(config.type_vocab_size, size));
    norm_ = register_module("LayerNorm", Norm(config));
  }

  Hidden forward(const at::Tensor& ids, const at::Tensor& type_ids) const {
    // The gradient of the padding token is left out, as in Hugging Face.
    const at::Tensor words = at::embedding(words_->weight, ids, padding_id_);
    const at::Tensor types =
        type_ids.defined() ? at::embedding(types_->weight, type_ids) : types_->weight.select(0, 0);
    const at::Tensor sum = words + types + positions_->weight.narrow(0, 0, ids.size(1));
    const at::Tensor normalised =
        at::layer_norm(sum, {sum.size(-1)}, norm_->weight, norm_->bias, norm_->epsilon);
    const at::Tensor hidden = lightning::ops::dropout(normalised, dropout_, is_training());
    return {hidden, to_compute_type(hidden)};
  }

 private:
  int64_t padding_id_;
  double dropout_;
  Table words_{nullptr};
  Table positions_{nullptr};
  Table types_{nullptr};
  Norm norm_{nullptr};
};
TORCH_MODULE(Embeddings);

class ProjectionsImpl : public torch::nn::Module {
 public:
  explicit ProjectionsImpl(const BertConfig& config)
      : num_heads_(config.num_attention_heads), dropout_(config.attention_probs_dropout_prob) {
    const int64_t size = config.hidden_size;
    query_ = register_module("query", Dense(size, size));
    key_ = register_module("key", Dense(size, size));
    value_ = register_module("value", Dense(size, size));
  }

  at::Tensor forward(const at::Tensor& compute, const at::Tensor& attended) const {
    const at::Tensor weight =
        at::cat({to_compute_type(query_->weight), to_compute_type(key_->weight),
                 to_compute_type(value_->weight)});
    const at::Tensor bias = at::cat({query_->bias, key_->bias, value_->bias});
    return lightning::ops::self_attention(
        at::linear(compute, weight, bias), attended,
        {.num_heads = num_heads_, .dropout = dropout_, .training = is_training()});
  }

 private:
  int64_t num_heads_;
  double dropout_;
  Dense query_{nullptr};
  Dense key_{nullptr};
  Dense value_{nullptr};
};
TORCH_MODULE(Projections);

/// LayerNorm(residual + dropout(dense(x))), the end of both halves of a layer.
class OutputImpl : public torch::nn::Module {
 public:
  OutputImpl(int64_t inputs, const BertConfig& config) : dropout_(config.hidden_dropout_prob) {
    dense_ = register_module("dense", Dense(inputs, config.hidden_size));
    norm_ = register_module("LayerNorm", Norm(config));
  }

  Hidden forward(const at::Tensor& input, const at::Tensor& residual) const {
    return lightning::ops::add_layer_norm(
        dense_->product(input), dense_->bias, residual, norm_->weight, norm_->bias,
        {.epsilon = norm_->epsilon, .dropout = dropout_, .training = is_training()});
  }

 private:
  double dropout_;
  Dense dense_{nullptr};
  Norm norm_{nullptr};
};
TORCH_MODULE(Output);

class AttentionImpl : public torch::nn::Module {
 public:
  explicit AttentionImpl(const BertConfig& config) {
    projections_ = register_module("self", Projections(config));
    output_ = register_module("output", Output(config.hidden_size, config));
  }

  Hidden forward(const Hidden& hidden, const at::Tensor& attended) const {
    return output_->forward(projections_->forward(hidden.compute, attended), hidden.residual);
  }

 private:
  Projections projections_{nullptr};
  Output output_{nullptr};
};
TORCH_MODULE(Attention);

class IntermediateImpl : public torch::nn::Module {
 public:
  explicit IntermediateImpl(const BertConfig& config) : activation_(config.hidden_act) {
    dense_ = register_module("dense", Dense(config.hidden_size, config.intermediate_size));
  }

  at::Tensor forward(const at::Tensor& compute) const {
    const at::Tensor product = dense_->product(compute);
    if (activation_ == "gelu" || activation_ == "gelu_python") {
      return lightning::ops::bias_gelu(product, dense_->bias);
    }
    const at::Tensor sum = product + dense_->bias;
    const at::Tensor active = activation_ == "relu" ? at::relu(sum) : at::gelu(sum, "tanh");
    return active.to(product.scalar_type());
  }

 private:
  std::string activation_;
  Dense dense_{nullptr};
};
TORCH_MODULE(Intermediate);

class LayerImpl : public torch::nn::Module {
 public:
  explicit LayerImpl(const BertConfig& config) {
    attention_ = register_module("attention", Attention(config));
    intermediate_ = register_module("intermediate", Intermediate(config));
    output_ = register_module("output", Output(config.intermediate_size, config));
  }

  Hidden forward(const Hidden& hidden, const at::Tensor& attended) const {
    const Hidden middle = attention_->forward(hidden, attended);
    return output_->forward(intermediate_->forward(middle.compute), middle.residual);
  }

 private:
  Attention attention_{nullptr};
  Intermediate intermediate_{nullptr};
  Output output_{nullptr};
};
TORCH_MODULE(Layer);

class LayersImpl : public torch::nn::Module {
 public:
  explicit LayersImpl(const BertConfig& config) {
    layers_ = lightning::UnitList<Layer>(*this, "layer");
    for (int64_t i = 0; i < config.num_hidden_layers; ++i) layers_.push_back(Layer(config));
  }

  Hidden forward(Hidden hidden, const at::Tensor& attended) const {
    for (const auto& layer : layers_) hidden = layer(hidden, attended);
    return hidden;
  }

 private:
  lightning::UnitList<Layer> layers_;
};
TORCH_MODULE(Layers);

void check_inputs(const at::Tensor& ids, const at::Tensor& type_ids, const at::Tensor& mask,
                  int64_t max_tokens) {
  LIGHTNING_CHECK(ids.dim() == 2 && ids.scalar_type() == at::kLong, DataError,
                  "BertForQuestionAnswering: input_ids is ", ids.toString(), " ", ids.sizes(),
                  ", expected int64 [B, T].");
  LIGHTNING_CHECK(ids.size(1) <= max_tokens, DataError, "BertForQuestionAnswering: ", ids.size(1),
                  " tokens in a row, the model takes at most ", max_tokens,
                  ". HINT: lower data.max_seq_length.");
  LIGHTNING_CHECK(!type_ids.defined() || type_ids.sizes() == ids.sizes(), DataError,
                  "BertForQuestionAnswering: token_type_ids and input_ids differ in shape.");
  LIGHTNING_CHECK(!mask.defined() || mask.sizes() == ids.sizes(), DataError,
                  "BertForQuestionAnswering: attention_mask and input_ids differ in shape.");
}

}  // namespace

class BertEncoderImpl : public torch::nn::Module {
 public:
  explicit BertEncoderImpl(const BertConfig& config) {
    embeddings_ = lightning::register_unit(*this, "embeddings", Embeddings(config));
    encoder_ = register_module("encoder", Layers(config));
  }

  at::Tensor forward(const at::Tensor& ids, const at::Tensor& type_ids, const at::Tensor& mask) {
    const at::Tensor attended = mask.defined() ? (mask != 0).to(at::kByte) : mask;
    return encoder_->forward(embeddings_(ids, type_ids), attended).residual;
  }

 private:
  lightning::Unit<Embeddings> embeddings_;
  Layers encoder_{nullptr};
};

BertForQuestionAnsweringImpl::BertForQuestionAnsweringImpl(const BertConfig& config, BertInit init)
    : config_(config) {
  check_bert_config(config);
  bert_ = register_module("bert", std::make_shared<BertEncoderImpl>(config));
  head_ = register_module("qa_outputs", std::make_shared<DenseImpl>(config.hidden_size, 2));
  if (init == BertInit::kNone) return;
  const torch::NoGradGuard no_grad;
  for (auto& entry : bert_->named_parameters()) {
    const std::string& name = entry.key();
    if (name.find("LayerNorm") != std::string::npos) continue;  // made as 1 and 0
    if (name.ends_with("bias")) {
      entry.value().zero_();
    } else {
      entry.value().normal_(0.0, config.initializer_range);
    }
  }
  bert_->named_parameters()["embeddings.word_embeddings.weight"]
      .select(0, config.pad_token_id)
      .zero_();
  initialise_head();
}

void BertForQuestionAnsweringImpl::initialise_head() {
  const torch::NoGradGuard no_grad;
  auto parameters = head_->named_parameters();
  parameters["weight"].normal_(0.0, config_.initializer_range);
  parameters["bias"].zero_();
}

SpanLogits BertForQuestionAnsweringImpl::forward(const at::Tensor& input_ids,
                                                 const at::Tensor& token_type_ids,
                                                 const at::Tensor& attention_mask) {
  check_inputs(input_ids, token_type_ids, attention_mask, config_.max_position_embeddings);
  const at::Tensor hidden = bert_->forward(input_ids, token_type_ids, attention_mask);
  // Two columns: float costs nothing here, and bfloat16 scores would tie.
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
  const auto& head = static_cast<const DenseImpl&>(*head_);
  const at::Tensor logits = at::linear(hidden, head.weight, head.bias);
  return {logits.select(-1, 0).contiguous(), logits.select(-1, 1).contiguous()};
}

at::Tensor span_loss(const SpanLogits& logits, const at::Tensor& start_positions,
                     const at::Tensor& end_positions) {
  const int64_t ignored = logits.start.size(1);
  const auto cross_entropy = [&](const at::Tensor& scores, const at::Tensor& positions) {
    return at::cross_entropy_loss(scores.to(at::kFloat), positions.clamp(0, ignored), {},
                                  at::Reduction::Mean, ignored);
  };
  return (cross_entropy(logits.start, start_positions) + cross_entropy(logits.end, end_positions)) /
         2;
}

}  // namespace bert_squad
