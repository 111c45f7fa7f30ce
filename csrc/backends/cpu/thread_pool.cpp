#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "backends/cpu/parallel.h"

namespace hesscope::cpu {
namespace {

/// One call of run_tasks. Threads draw task numbers from `next` until none is left.
struct Job {
  TaskRef task;
  index_t num_tasks;
  std::atomic<index_t> next{0};
  std::mutex error_mutex;
  std::exception_ptr error;

  void work() {
    for (index_t i = next.fetch_add(1); i < num_tasks; i = next.fetch_add(1)) {
      try {
        task(i);
      } catch (...) {
        const std::lock_guard lock(error_mutex);
        if (!error) error = std::current_exception();
      }
    }
  }
};

class ThreadPool {
 public:
  void run(Job& job, int num_helpers) {
    grow(num_helpers);
    {
      const std::lock_guard lock(mutex_);
      job_ = &job;
      wanted_ = num_helpers;
      active_ = 0;
    }
    wake_.notify_all();
    job.work();
    std::unique_lock lock(mutex_);
    wanted_ = 0;  // a thread that wakes from now on finds nothing to join
    done_.wait(lock, [this] { return active_ == 0; });
    job_ = nullptr;
  }

  ~ThreadPool() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  std::atomic<bool> busy{false};  // for the length of a call

 private:
  void grow(int num_helpers) {
    while (threads_.size() < static_cast<std::size_t>(num_helpers)) {
      threads_.emplace_back([this] { serve(); });
    }
  }

  void serve() {
    std::unique_lock lock(mutex_);
    while (true) {
      wake_.wait(lock, [this] { return stop_ || wanted_ > 0; });
      if (stop_) return;
      Job* job = job_;
      --wanted_;
      ++active_;
      lock.unlock();
      job->work();
      lock.lock();
      if (--active_ == 0) done_.notify_one();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::vector<std::thread> threads_;
  Job* job_ = nullptr;
  int wanted_ = 0, active_ = 0;
  bool stop_ = false;
};

/// A child of fork() has none of its parent's threads: it starts with a new pool, and the old one,
/// whose locks may be in any state, is abandoned.
std::unique_ptr<ThreadPool>& pool_slot() {
  static std::unique_ptr<ThreadPool> slot = [] {
    pthread_atfork(nullptr, nullptr, [] {
      (void)pool_slot().release();  // NOLINT(bugprone-unused-return-value): leaked on purpose
      pool_slot() = std::make_unique<ThreadPool>();
    });
    return std::make_unique<ThreadPool>();
  }();
  return slot;
}

}  // namespace

void run_tasks(int num_threads, index_t num_tasks, TaskRef task) {
  const index_t helpers = (num_threads < num_tasks ? num_threads : num_tasks) - 1;
  if (helpers > 0) {
    ThreadPool& pool = *pool_slot();
    if (!pool.busy.exchange(true)) {
      Job job{.task = task, .num_tasks = num_tasks, .error_mutex = {}, .error = nullptr};
      pool.run(job, static_cast<int>(helpers));
      pool.busy = false;
      if (job.error) std::rethrow_exception(job.error);
      return;
    }
  }
  for (index_t i = 0; i < num_tasks; ++i) task(i);
}

}  // namespace hesscope::cpu
