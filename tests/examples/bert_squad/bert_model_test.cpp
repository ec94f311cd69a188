#include <examples/bert_squad/bert_model.h>

#include <ATen/autocast_mode.h>
#include <lightning/optim/parameter_groups.h>
#include <lightning/util/error.h>
#include <torch/utils.h>
#include <catch2/catch.hpp>

using bert_squad::BertConfig;
using bert_squad::BertForQuestionAnswering;
using bert_squad::span_loss;
using bert_squad::SpanLogits;

namespace {

BertConfig small_config() {
  return {.vocab_size = 50,
          .hidden_size = 32,
          .num_hidden_layers = 2,
          .num_attention_heads = 4,
          .intermediate_size = 64,
          .max_position_embeddings = 40};
}

torch::Tensor random_ids(int64_t rows, int64_t tokens) {
  return torch::randint(1, 50, {rows, tokens}, torch::kLong);
}

}  // namespace

TEST_CASE("a new BERT has Hugging Face's parameter names and initial values", "[bert]") {
  torch::manual_seed(1);
  const BertForQuestionAnswering model(small_config());
  const auto parameters = model->named_parameters();
  CHECK(parameters.size() == 5 + 2 * 16 + 2);
  CHECK(model->buffers().empty());
  for (const auto& entry : parameters) {
    CAPTURE(entry.key());
    const torch::Tensor& value = entry.value();
    if (entry.key().find("LayerNorm.weight") != std::string::npos) {
      CHECK((value == 1).all().item<bool>());
    } else if (value.dim() == 1) {
      CHECK((value == 0).all().item<bool>());
    } else {
      const double deviation = 0.02 / std::sqrt(2.0 * static_cast<double>(value.numel()));
      CHECK(value.std().item<double>() == Approx(0.02).margin(5 * deviation + 4e-4));
    }
  }
  CHECK(parameters.contains("bert.encoder.layer.1.attention.self.query.weight"));
  CHECK(parameters["qa_outputs.weight"].sizes() == torch::IntArrayRef({2, 32}));
  const auto padding = parameters["bert.embeddings.word_embeddings.weight"][0];
  CHECK((padding == 0).all().item<bool>());
}

TEST_CASE("BERT's LayerNorms and biases are left out of weight decay", "[bert]") {
  const BertForQuestionAnswering model(small_config());
  const auto split = lightning::optim::split_for_weight_decay(*model);
  CHECK(split.decay.size() == 3 + 2 * 6 + 1);
  CHECK(split.decay.size() + split.no_decay.size() == model->parameters().size());
}

TEST_CASE("padding doesn't change the scores of the tokens before it", "[bert]") {
  torch::manual_seed(2);
  BertForQuestionAnswering model(small_config());
  model->eval();
  const torch::NoGradGuard no_grad;
  const auto ids = random_ids(1, 12);
  const auto padded = torch::constant_pad_nd(ids, {0, 9});
  const auto mask = torch::constant_pad_nd(torch::ones_like(ids), {0, 9});
  const auto alone = model->forward(ids);
  const auto batched = model->forward(padded, torch::zeros_like(padded), mask);
  CHECK(torch::allclose(batched.start.slice(1, 0, 12), alone.start, 1e-4, 1e-6));
  CHECK(torch::allclose(batched.end.slice(1, 0, 12), alone.end, 1e-4, 1e-6));
  CHECK(batched.start.sizes() == torch::IntArrayRef({1, 21}));
}

TEST_CASE("token types count, and undefined ones are zeros", "[bert]") {
  torch::manual_seed(3);
  BertForQuestionAnswering model(small_config());
  model->eval();
  const auto ids = random_ids(2, 7);
  const auto zeros = model->forward(ids, torch::zeros_like(ids)).start;
  CHECK(model->forward(ids).start.equal(zeros));
  CHECK_FALSE(model->forward(ids, torch::ones_like(ids)).start.equal(zeros));
}

TEST_CASE("dropout is on in training only, and repeats with the seed", "[bert]") {
  torch::manual_seed(4);
  BertForQuestionAnswering model(small_config());
  const auto ids = random_ids(2, 9);
  const auto run = [&](uint64_t seed) {
    torch::manual_seed(seed);
    return model->forward(ids).start;
  };
  CHECK(run(1).equal(run(1)));
  CHECK_FALSE(run(1).equal(run(2)));
  model->eval();
  CHECK(run(1).equal(run(2)));
}

TEST_CASE("under autocast BERT's scores are float and near those without", "[bert]") {
  torch::manual_seed(5);
  BertForQuestionAnswering model(small_config());
  model->eval();
  const auto ids = random_ids(2, 20);
  const auto exact = model->forward(ids).start;
  at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
  at::autocast::set_autocast_enabled(at::kCPU, true);
  const auto logits = model->forward(ids);
  at::autocast::set_autocast_enabled(at::kCPU, false);
  at::autocast::clear_cache();
  CHECK(logits.start.scalar_type() == torch::kFloat);
  CHECK_FALSE(logits.start.equal(exact));
  // bfloat16 keeps 8 bits.
  CHECK((logits.start - exact).abs().max().item<float>() < 0.05F * exact.abs().max().item<float>());
  logits.start.sum().backward();
  for (const auto& entry : model->named_parameters()) {
    CAPTURE(entry.key());
    CHECK(entry.value().grad().scalar_type() == torch::kFloat);
  }
}

TEST_CASE("all activations run and differ", "[bert]") {
  BertConfig config = small_config();
  std::vector<torch::Tensor> results;
  for (const char* activation :
       {"gelu", "gelu_new", "relu", "gelu_python", "gelu_pytorch_tanh", "gelu_python_tanh"}) {
    config.hidden_act = activation;
    torch::manual_seed(6);
    BertForQuestionAnswering model(config);
    model->eval();
    // Large weights, so that the two forms of GELU can be told apart.
    for (auto& parameter : model->parameters()) parameter.data().mul_(10);
    results.push_back(model->forward(random_ids(1, 8)).start);
  }
  CHECK_FALSE(results[0].equal(results[1]));
  CHECK_FALSE(results[0].equal(results[2]));
  // Other names of the first and the second.
  CHECK(results[3].equal(results[0]));
  CHECK(results[4].equal(results[1]));
  CHECK(results[5].equal(results[1]));
}

TEST_CASE("BERT refuses inputs that don't fit", "[bert]") {
  BertForQuestionAnswering model(small_config());
  CHECK_THROWS_WITH(model->forward(random_ids(1, 41)), Catch::Contains("at most 40"));
  CHECK_THROWS_AS(model->forward(random_ids(1, 4)[0]), lightning::DataError);
  CHECK_THROWS_AS(model->forward(random_ids(1, 4).to(torch::kFloat)), lightning::DataError);
  CHECK_THROWS_AS(model->forward(random_ids(1, 4), random_ids(1, 5)), lightning::DataError);
  CHECK_THROWS_AS(model->forward(random_ids(1, 4), {}, random_ids(2, 4)), lightning::DataError);
  BertConfig config = small_config();
  config.hidden_act = "swish";
  CHECK_THROWS_AS(BertForQuestionAnswering(config), lightning::ConfigError);
}

TEST_CASE("span_loss is the mean of both cross entropies without positions past the end",
          "[bert]") {
  const SpanLogits logits = {torch::tensor({{1.0F, 2.0F, 0.5F}, {0.0F, 0.0F, 0.0F}}),
                             torch::tensor({{0.0F, 0.0F, 3.0F}, {1.0F, 1.0F, 1.0F}})};
  const auto row_loss = [](double a, double b, double c, double target) {
    return std::log(std::exp(a) + std::exp(b) + std::exp(c)) - target;
  };
  const auto loss =
      span_loss(logits, torch::tensor({1, 0}, torch::kLong), torch::tensor({2, 99}, torch::kLong));
  const double start = (row_loss(1, 2, 0.5, 2) + row_loss(0, 0, 0, 0)) / 2;
  const double end = row_loss(0, 0, 3, 3);  // the second row's end is past the tokens
  CHECK(loss.item<double>() == Approx((start + end) / 2).epsilon(1e-6));
  const auto past = torch::tensor({3, 3}, torch::kLong);
  CHECK(span_loss(logits, past, past).isnan().item<bool>());
}
