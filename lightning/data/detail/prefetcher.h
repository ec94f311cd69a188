/// Prefetcher: worker threads that make the batches of an epoch ahead of their consumer, who gets
/// them in order. The threads live as long as the object; jobs (epochs) come and go.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include <lightning/data/batch.h>
#include <lightning/util/state_dict.h>

namespace lightning::detail {

/// A batch with the loader's position after it, or the exception that came instead.
struct LoadedBatch {
  Batch batch;
  int64_t samples_consumed = 0;
  StateDict stream_state;
  std::exception_ptr error;
};

/// Makes the batches of one epoch. With several workers make() is called by all of them at once.
class BatchJob {
 public:
  virtual ~BatchJob();
  /// Batch number `number` of the epoch; false when the epoch has no such batch.
  virtual bool make(int64_t number, LoadedBatch& loaded) = 0;
};

class Prefetcher {
 public:
  /// At most `capacity` batches are made or in progress and not yet taken. ConfigError when the
  /// system gives no more threads.
  Prefetcher(int64_t num_workers, int64_t capacity);
  ~Prefetcher();

  /// Drops all batches and continues with those of `job` from `first` on, ending before `end` (or
  /// where make() ends). Doesn't wait for batches of the former job that are being made.
  void start(std::shared_ptr<BatchJob> job, int64_t first, int64_t end);
  /// Drops all batches and returns once no worker is in make().
  void quiesce();
  /// Waits for the next batch; false at the end.
  bool next(LoadedBatch& loaded);

 private:
  struct Slot {
    LoadedBatch loaded;
    bool ready = false;
  };

  void work();
  void stop_and_join();
  bool work_left() const;
  Slot& slot_of(int64_t number);
  void reset(std::shared_ptr<BatchJob> job, int64_t first, int64_t end);

  std::mutex mutex_;
  std::condition_variable work_wanted_;
  std::condition_variable batch_ready_;
  std::condition_variable all_idle_;
  // All below is guarded by mutex_.
  std::shared_ptr<BatchJob> job_;
  std::vector<Slot> slots_;  // batch n lies in slot n % capacity
  uint64_t generation_ = 0;  // counts jobs: late batches of a former one are thrown away
  int64_t next_to_make_ = 0;
  int64_t next_to_deliver_ = 0;
  int64_t end_ = 0;
  int64_t num_working_ = 0;
  int64_t num_waiting_ = 0;
  bool stop_ = false;

  std::vector<std::thread> threads_;
};

}  // namespace lightning::detail
