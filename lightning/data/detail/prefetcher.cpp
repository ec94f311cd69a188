#include <lightning/data/detail/prefetcher.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include <ATen/Parallel.h>
#include <omp.h>

#include <lightning/data/detail/default_generator_guard.h>
#include <lightning/util/error.h>

namespace lightning::detail {
namespace {

// One thread for the operators run by this worker. at::set_num_threads() would change the number
// for every thread that is started later; torch takes its own number at a thread's first use, so
// that comes first.
void use_one_thread_here() {
  at::get_num_threads();
  omp_set_num_threads(1);
}

// Runs a job's make(); its exception becomes the batch.
class JobRunner {
 public:
  bool run(BatchJob& job, int64_t number, LoadedBatch& loaded) {
    try {
      const bool made = job.make(number, loaded);
      check_generator();
      return made;
    } catch (...) {
      forget_generator();
      loaded = LoadedBatch();
      loaded.error = std::current_exception();
      return true;
    }
  }

 private:
#ifndef NDEBUG
  void check_generator() {
    const auto offender = watch_.take_offender();
    LIGHTNING_CHECK(!offender, DataError, "DataLoader: ", *offender,
                    " used torch's default generator in a worker, which is not reproducible across "
                    "runs. HINT: pass SampleContext::generator() to it.");
  }
  void forget_generator() { watch_.take_offender(); }
  DefaultGeneratorGuard watch_;
#else
  void check_generator() {}
  void forget_generator() {}
#endif
};

}  // namespace

BatchJob::~BatchJob() = default;

Prefetcher::Prefetcher(int64_t num_workers, int64_t capacity)
    : slots_(static_cast<size_t>(capacity)) {
  threads_.reserve(static_cast<size_t>(num_workers));
  try {
    for (int64_t i = 0; i < num_workers; ++i) threads_.emplace_back([this] { work(); });
  } catch (const std::system_error& error) {
    const size_t started = threads_.size();
    stop_and_join();
    throw ConfigError(concat("DataLoader: the system gave ", started, " of ", num_workers,
                             " worker threads (", error.what(),
                             "). HINT: set num_workers: ", started, "."));
  }
}

Prefetcher::~Prefetcher() { stop_and_join(); }

void Prefetcher::stop_and_join() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  work_wanted_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

bool Prefetcher::work_left() const {
  return next_to_make_ < end_ &&
         next_to_make_ < next_to_deliver_ + static_cast<int64_t>(slots_.size());
}

Prefetcher::Slot& Prefetcher::slot_of(int64_t number) {
  return slots_[static_cast<size_t>(number) % slots_.size()];
}

void Prefetcher::reset(std::shared_ptr<BatchJob> job, int64_t first, int64_t end) {
  ++generation_;
  job_ = std::move(job);
  next_to_make_ = next_to_deliver_ = first;
  end_ = end;
  for (Slot& slot : slots_) slot = Slot();
}

void Prefetcher::start(std::shared_ptr<BatchJob> job, int64_t first, int64_t end) {
  {
    const std::lock_guard lock(mutex_);
    reset(std::move(job), first, end);
  }
  work_wanted_.notify_all();
}

void Prefetcher::quiesce() {
  std::unique_lock lock(mutex_);
  reset(nullptr, 0, 0);
  all_idle_.wait(lock, [this] { return num_working_ == 0; });
}

bool Prefetcher::next(LoadedBatch& loaded) {
  bool wake_worker = false;
  {
    std::unique_lock lock(mutex_);
    batch_ready_.wait(
        lock, [this] { return next_to_deliver_ >= end_ || slot_of(next_to_deliver_).ready; });
    if (next_to_deliver_ >= end_) return false;
    Slot& slot = slot_of(next_to_deliver_);
    loaded = std::exchange(slot.loaded, LoadedBatch());
    slot.ready = false;
    ++next_to_deliver_;
    wake_worker = num_waiting_ > 0 && work_left();
  }
  if (wake_worker) work_wanted_.notify_one();
  return true;
}

void Prefetcher::work() {
  use_one_thread_here();
  JobRunner runner;
  std::unique_lock lock(mutex_);
  while (true) {
    ++num_waiting_;
    work_wanted_.wait(lock, [this] { return stop_ || work_left(); });
    --num_waiting_;
    if (stop_) return;
    const int64_t number = next_to_make_++;
    const uint64_t generation = generation_;
    std::shared_ptr<BatchJob> job = job_;
    ++num_working_;
    lock.unlock();
    LoadedBatch loaded;
    const bool made = runner.run(*job, number, loaded);
    job.reset();
    lock.lock();
    if (--num_working_ == 0) all_idle_.notify_all();
    if (generation != generation_) continue;
    if (made) {
      Slot& slot = slot_of(number);
      slot.loaded = std::move(loaded);
      slot.ready = true;
    } else {
      end_ = std::min(end_, number);
    }
    if (number == next_to_deliver_) batch_ready_.notify_one();
  }
}

}  // namespace lightning::detail
