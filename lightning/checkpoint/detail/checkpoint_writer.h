/// CheckpointWriter: writes checkpoints behind the training's back. One thread, in order.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>

#include <lightning/checkpoint/checkpoint.h>
#include <lightning/util/export.h>

namespace lightning {

class LIGHTNING_API CheckpointWriter {
 public:
  /// With `async` false every write happens in the caller.
  explicit CheckpointWriter(bool async);
  ~CheckpointWriter();  // waits; an error of the last write is logged as a warning
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  /// Writes `checkpoint` to `directory`, then calls `committed` (links, deletion of old ones) in
  /// the writer's thread. Async: takes a snapshot first, and waits for the write before, so that at
  /// most one snapshot lives. Throws the CheckpointError of an earlier write.
  void write(Checkpoint checkpoint, std::filesystem::path directory,
             std::function<void()> committed = {});
  /// Throws the error of a finished write, if any, once. One atomic load otherwise.
  void check();
  /// Waits until everything is on the disk; throws like check().
  void wait();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lightning
