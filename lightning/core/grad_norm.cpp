#include <lightning/core/grad_norm.h>

#include <charconv>
#include <cmath>
#include <vector>

#include <ATen/ATen.h>
#include <torch/nn/module.h>

#include <lightning/util/error.h>

namespace lightning {
namespace {

/// As Python writes it: "2.0", "inf".
std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return "inf";
  char text[32];
  const auto written = std::to_chars(text, text + sizeof(text), value);
  std::string result(text, written.ptr);
  if (result.find_first_of(".e") == std::string::npos) result += ".0";
  return result;
}

}  // namespace

std::map<std::string, at::Tensor> grad_norm(const torch::nn::Module& module, double norm_type,
                                            std::string_view group_separator) {
  LIGHTNING_CHECK(norm_type > 0.0, ConfigError, "grad_norm: norm_type is ", norm_type,
                  ", expected a number above 0. HINT: use 2 for the Euclidean norm.");
  const at::NoGradGuard no_grad;
  const std::string prefix = "grad_" + float_text(norm_type) + "_norm";
  std::map<std::string, at::Tensor> norms;
  std::vector<at::Tensor> all;
  for (const auto& item : module.named_parameters()) {
    const at::Tensor& gradient = item.value().grad();
    if (!gradient.defined()) continue;
    all.push_back(at::linalg_vector_norm(gradient, norm_type));
    norms[detail::concat(prefix, group_separator, item.key())] = all.back();
  }
  if (all.empty()) return norms;
  // Gradients may be of several types and devices.
  for (at::Tensor& norm : all) norm = norm.to(all.front().options(), /*non_blocking=*/true);
  norms[prefix + "_total"] = at::linalg_vector_norm(at::stack(all), norm_type);
  return norms;
}

}  // namespace lightning
