/// Switches of LibTorch that hold for the whole process: a run sets them and puts them back.
#pragma once

#include <optional>

#include <lightning/run/options.h>
#include <lightning/util/export.h>

namespace lightning {

/// cudnn.benchmark as `benchmark` and `deterministic` ask for it, while it lives; left alone when
/// neither does.
class LIGHTNING_API CudnnBenchmark {
 public:
  explicit CudnnBenchmark(const TrainerOptions& options);
  ~CudnnBenchmark();
  CudnnBenchmark(const CudnnBenchmark&) = delete;
  CudnnBenchmark& operator=(const CudnnBenchmark&) = delete;

 private:
  std::optional<bool> before_;  // to be put back
};

/// Autograd's anomaly mode, while it lives, where `detect_anomaly` asks for it.
class LIGHTNING_API AnomalyDetection {
 public:
  explicit AnomalyDetection(const TrainerOptions& options);
  ~AnomalyDetection();
  AnomalyDetection(const AnomalyDetection&) = delete;
  AnomalyDetection& operator=(const AnomalyDetection&) = delete;

 private:
  bool was_enabled_;
  bool checked_nan_;
};

}  // namespace lightning
