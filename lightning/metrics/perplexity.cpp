#include <lightning/metrics/perplexity.h>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/ScalarType.h>

#include <lightning/util/error.h>

namespace lightning::metrics {

Perplexity::Perplexity(const PerplexityOptions& options) : Metric("Perplexity"), options_(options) {
  add_state("total_log_probs", StateReduceFx::kSum, {}, at::kDouble);
  add_state("count", StateReduceFx::kSum, {}, at::kLong);
  add_state("invalid", StateReduceFx::kSum, {}, at::kLong);
}

void Perplexity::update(const at::Tensor& preds, const at::Tensor& target) {
  const UpdateScope scope(*this, preds);
  const bool fits = target.defined() && preds.dim() == 3 && target.dim() == 2 &&
                    preds.sizes().slice(0, 2) == target.sizes() && preds.size(2) > 0;
  LIGHTNING_CHECK(fits, DataError, "Perplexity: preds are ", preds.sizes(), " and target is ",
                  target.defined() ? target.sizes() : at::IntArrayRef(),
                  ", expected [B, T, V] and [B, T]. HINT: the vocabulary is the last dimension.");
  LIGHTNING_CHECK(preds.is_floating_point() && target.scalar_type() == at::kLong &&
                      preds.device() == target.device(),
                  DataError, "Perplexity: preds are ", preds.scalar_type(), " on ", preds.device(),
                  " and target is ", target.scalar_type(), " on ", target.device(),
                  ", expected floating-point numbers and int64 on one device. HINT: convert them.");
  const int64_t vocabulary = preds.size(2);
  const at::Tensor rows = preds.detach().reshape({-1, vocabulary});
  const at::Tensor tokens = target.reshape({-1, 1});
  const at::Tensor is_token = at::logical_and(tokens >= 0, tokens < vocabulary);
  const at::Tensor is_used =
      options_.ignore_index ? tokens != *options_.ignore_index : at::ones_like(is_token);
  const at::Tensor counts = at::logical_and(is_used, is_token);
  const at::Tensor log_probs = rows.log_softmax(1, at::promoteTypes(rows.scalar_type(), at::kFloat))
                                   .gather(1, at::where(counts, tokens, 0));
  state("total_log_probs") -= at::where(counts, log_probs, 0.0).sum(at::kDouble);
  state("count") += counts.sum();
  state("invalid") += at::logical_and(is_used, at::logical_not(is_token)).sum();
}

at::Tensor Perplexity::do_compute() const {
  const int64_t invalid = counted("invalid");
  LIGHTNING_CHECK(
      invalid == 0, DataError, "Perplexity: ", invalid,
      " targets lie outside of the vocabulary, expected none. HINT: set ignore_index to "
      "the value of targets that don't count.");
  return (state("total_log_probs") / state("count")).exp();
}

}  // namespace lightning::metrics
