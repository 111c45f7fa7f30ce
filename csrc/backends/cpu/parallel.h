#pragma once

#include "hesscope/types.h"

namespace hesscope::cpu {

/// A borrowed callable `void(index_t task)`.
class TaskRef {
 public:
  template <typename F>
  explicit TaskRef(const F& f)
      : object_(&f),
        call_([](const void* object, index_t task) { (*static_cast<const F*>(object))(task); }) {}

  void operator()(index_t task) const { call_(object_, task); }

 private:
  const void* object_;
  void (*call_)(const void*, index_t);
};

/// Run task 0, ..., num_tasks - 1 on at most `num_threads` threads, the caller's being one of them,
/// and return when all have ended. Which thread runs a task is not fixed: tasks must be cut by
/// sizes alone and write to places of their own. An exception in a task is rethrown here after all
/// have ended. Threads of the pool sleep when idle. A call made while another is running, from a
/// task or from another thread, runs serially. Safe after fork().
void run_tasks(int num_threads, index_t num_tasks, TaskRef task);

template <typename F>
void parallel_for(int num_threads, index_t num_tasks, const F& task) {
  run_tasks(num_threads, num_tasks, TaskRef(task));
}

}  // namespace hesscope::cpu
