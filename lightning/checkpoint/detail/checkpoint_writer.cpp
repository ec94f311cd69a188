#include <lightning/checkpoint/detail/checkpoint_writer.h>

#include <csignal>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include <lightning/util/format.h>
#include <lightning/util/log.h>

namespace lightning {
namespace {

struct Job {
  Checkpoint checkpoint;
  std::filesystem::path directory;
  std::function<void()> committed;

  void run() const {
    const auto start = std::chrono::steady_clock::now();
    const size_t size_bytes = checkpoint.write(directory);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    log_debug(format("CheckpointWriter: wrote {} ({} bytes) in {:.3f} s", directory.string(),
                     size_bytes, seconds.count()));
    if (committed) committed();
  }
};

/// A thread that signals leave alone, so that they reach the program's own threads.
template <typename Body>
std::thread start_quiet_thread(Body body) {
  sigset_t all;
  sigset_t previous;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &previous);
  try {
    std::thread thread(std::move(body));
    pthread_sigmask(SIG_SETMASK, &previous, nullptr);
    return thread;
  } catch (...) {
    pthread_sigmask(SIG_SETMASK, &previous, nullptr);
    throw;
  }
}

}  // namespace

class CheckpointWriter::Impl {
 public:
  explicit Impl(bool async) : async_(async) {}
  ~Impl() {
    if (!thread_.joinable()) return;
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  bool async() const { return async_; }

  void enqueue(Job job) {
    if (!thread_.joinable()) thread_ = start_quiet_thread([this] { run(); });
    {
      const std::lock_guard lock(mutex_);
      job_ = std::move(job);
    }
    changed_.notify_all();
  }

  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !job_.has_value(); });
  }

  void throw_error() {
    if (!failed_.load(std::memory_order_acquire)) return;
    std::exception_ptr error;
    {
      const std::lock_guard lock(mutex_);
      error = std::exchange(error_, nullptr);
      failed_ = false;
    }
    if (error) std::rethrow_exception(error);
  }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return job_.has_value() || stop_; });
      if (!job_) return;
      lock.unlock();
      std::exception_ptr error;
      try {
        job_->run();  // only replaced when it is empty
      } catch (...) {
        error = std::current_exception();
      }
      lock.lock();
      job_.reset();
      if (error) {
        error_ = error;
        failed_.store(true, std::memory_order_release);
      }
      changed_.notify_all();
    }
  }

  const bool async_;
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Job> job_;  // waiting or being written
  std::exception_ptr error_;
  std::atomic<bool> failed_{false};
  bool stop_ = false;
};

CheckpointWriter::CheckpointWriter(bool async) : impl_(std::make_unique<Impl>(async)) {}

CheckpointWriter::~CheckpointWriter() {
  try {
    wait();
  } catch (const std::exception& error) {
    log_warning(std::string("CheckpointWriter: ") + error.what());
  } catch (...) {
    log_warning("CheckpointWriter: the last write failed.");
  }
}

void CheckpointWriter::write(Checkpoint checkpoint, std::filesystem::path directory,
                             std::function<void()> committed) {
  wait();
  Job job{.checkpoint = std::move(checkpoint),
          .directory = std::move(directory),
          .committed = std::move(committed)};
  if (!impl_->async()) {
    job.run();
    return;
  }
  job.checkpoint = job.checkpoint.snapshot();
  impl_->enqueue(std::move(job));
}

void CheckpointWriter::check() { impl_->throw_error(); }

void CheckpointWriter::wait() {
  impl_->wait();
  impl_->throw_error();
}

}  // namespace lightning
