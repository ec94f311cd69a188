/// SlurmIds: which task of which SLURM job each rank is, and on which device.
#pragma once

#include <lightning/callbacks/callback.h>

/// At the start of training, in the order of the ranks:
///   rank 1: SLURM_JOB_ID 4711, SLURM_PROCID 1, cuda:1 (NVIDIA A100-SXM4-40GB) on node1
/// Outside of SLURM: "SLURM_JOB_ID not set".
class SlurmIds : public lightning::Callback {
 public:
  void on_train_start(lightning::TrainerContext& trainer, lightning::LightningModule&) override;
};
