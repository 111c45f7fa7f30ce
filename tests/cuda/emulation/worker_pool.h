#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "scheduler.h"

namespace hesscope::emulation {

/// The workers that run no launch at present. They outlive launches and OS threads: the thread
/// sanitizer loses sight of what a destroyed fiber did, and a fresh one costs it a millisecond.
class WorkerPool {
 public:
  static WorkerPool& instance() {
    static WorkerPool pool;
    return pool;
  }

  std::unique_ptr<Worker> take() {
    const std::lock_guard lock(mutex_);
    if (idle_.empty()) return std::make_unique<Worker>();
    std::unique_ptr<Worker> worker = std::move(idle_.back());
    idle_.pop_back();
    return worker;
  }
  void put_back(std::unique_ptr<Worker> worker) {
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(worker));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Worker>> idle_;
};

/// Workers for the length of a launch.
class LeasedWorkers {
 public:
  explicit LeasedWorkers(std::size_t count) : workers_(count) {
    for (std::unique_ptr<Worker>& worker : workers_) worker = WorkerPool::instance().take();
  }
  LeasedWorkers(const LeasedWorkers&) = delete;
  LeasedWorkers& operator=(const LeasedWorkers&) = delete;
  ~LeasedWorkers() {
    for (std::unique_ptr<Worker>& worker : workers_) {
      WorkerPool::instance().put_back(std::move(worker));
    }
  }

  Worker& operator[](std::size_t i) { return *workers_[i]; }

 private:
  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace hesscope::emulation
