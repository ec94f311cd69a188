#include <lightning/cli/prediction_file.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include <ATen/Functions.h>

#include <lightning/checkpoint/safetensors.h>
#include <lightning/util/error.h>
#include <lightning/util/log.h>

namespace lightning {
namespace {

bool can_join(const std::vector<at::Tensor>& parts) {
  const at::Tensor& first = parts.front();
  return first.dim() > 0 && std::all_of(parts.begin(), parts.end(), [&](const at::Tensor& part) {
           return part.dim() == first.dim() && part.scalar_type() == first.scalar_type() &&
                  part.sizes().slice(1) == first.sizes().slice(1);
         });
}

}  // namespace

void PredictionFile::add(const Batch& outputs, const Batch& batch) {
  for (const auto& [name, tensor] : outputs.items()) {
    const int64_t loader = batch.dataloader_idx();
    outputs_[loader == 0 ? name : detail::concat(name, "/dataloader_idx_", loader)].push_back(
        tensor.detach().to(at::kCPU, /*non_blocking=*/false, /*copy=*/true));
  }
}

void PredictionFile::write(TrainerContext& trainer) const {
  std::vector<std::pair<std::string, at::Tensor>> joined;
  for (const auto& [name, parts] : outputs_) {
    if (can_join(parts)) {
      joined.emplace_back(name, at::cat(parts));
    } else {
      log_warning(detail::concat("predict: the batches of \"", name,
                                 "\" differ in shape and are not written."));
    }
  }
  const std::filesystem::path& run_dir = trainer.run_dir();  // every rank must ask for it
  if (joined.empty()) return;
  const std::string rank =
      trainer.world_size() == 1 ? "" : detail::concat("-rank=", trainer.global_rank());
  const auto path = run_dir / detail::concat("predictions", rank, ".safetensors");
  write_safetensors(path, joined);
  trainer.print("Predictions: " + path.string());
}

}  // namespace lightning
