#include "parallel.hpp"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace monge {
namespace {

thread_local bool inside_pool = false;

struct Job {
  const std::function<void(std::size_t, std::size_t)>* body;
  std::size_t count, grain;
  std::atomic<std::size_t> next{0};
  std::atomic<int> running{0};
  std::exception_ptr error;
  std::mutex error_lock;

  void work() {
    for (;;) {
      const std::size_t begin = next.fetch_add(grain, std::memory_order_relaxed);
      if (begin >= count) return;
      try {
        (*body)(begin, std::min(begin + grain, count));
      } catch (...) {
        std::lock_guard<std::mutex> guard(error_lock);
        if (!error) error = std::current_exception();
        next.store(count);
      }
    }
  }
};

class Pool {
 public:
  explicit Pool(int workers) : owner_(getpid()) {
    for (int k = 0; k < workers; ++k) threads_.emplace_back([this] { loop(); });
  }

  ~Pool() {
    {
      std::lock_guard<std::mutex> guard(lock_);
      stop_ = true;
    }
    wake_.notify_all();
    for (auto& thread : threads_) thread.join();
  }

  bool mine() const { return getpid() == owner_; }
  bool fits(int workers) const { return mine() && static_cast<int>(threads_.size()) >= workers; }

  void run(const std::shared_ptr<Job>& job, int workers) {
    {
      std::lock_guard<std::mutex> guard(lock_);
      job_ = job;
      seats_ = workers;
      ++ticket_;
    }
    wake_.notify_all();
    inside_pool = true;
    job->work();
    inside_pool = false;
    std::unique_lock<std::mutex> guard(lock_);
    seats_ = 0;
    done_.wait(guard, [&] { return job->running.load() == 0; });
    job_.reset();
  }

 private:
  void loop() {
    inside_pool = true;
    std::size_t seen = 0;
    std::unique_lock<std::mutex> guard(lock_);
    for (;;) {
      wake_.wait(guard, [&] { return stop_ || (ticket_ != seen && seats_ > 0); });
      if (stop_) return;
      seen = ticket_;
      --seats_;
      std::shared_ptr<Job> job = job_;
      job->running.fetch_add(1);
      guard.unlock();
      job->work();
      guard.lock();
      job->running.fetch_sub(1);
      done_.notify_all();
    }
  }

  const pid_t owner_;
  std::vector<std::thread> threads_;
  std::mutex lock_;
  std::condition_variable wake_, done_;
  std::shared_ptr<Job> job_;
  std::size_t ticket_ = 0;
  int seats_ = 0;
  bool stop_ = false;
};

std::mutex pool_lock;
// Never destroyed: a forked child must not touch its parent's threads, and at exit the system ends them.
Pool* pool = nullptr;

}  // namespace

void parallel_for(std::size_t count, std::size_t grain, int threads,
                  const std::function<void(std::size_t, std::size_t)>& body) {
  if (count == 0) return;
  grain = std::max<std::size_t>(grain, 1);
  const std::size_t pieces = (count + grain - 1) / grain;
  const int workers = static_cast<int>(std::min<std::size_t>(pieces, std::max(threads, 1))) - 1;
  // One job at a time owns the pool; a second caller (another Python thread) works alone rather than waits.
  std::unique_lock<std::mutex> guard(pool_lock, std::defer_lock);
  if (workers == 0 || inside_pool || !guard.try_lock()) {
    body(0, count);
    return;
  }
  if (!pool || !pool->fits(workers)) {
    if (pool && pool->mine()) delete pool;
    pool = new Pool(workers);
  }
  auto job = std::make_shared<Job>();
  job->body = &body;
  job->count = count;
  job->grain = grain;
  pool->run(job, workers);
  if (job->error) std::rethrow_exception(job->error);
}

}  // namespace monge
