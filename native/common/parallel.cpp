#include "parallel.hpp"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "watch.hpp"

namespace monge {
namespace {

using std::chrono::milliseconds;

// What a thread must have to do before it is worth waking: it takes some ten microseconds to come.
constexpr double kWorthAThread = 50000;

thread_local bool inside_pool = false;

struct Job {
  const std::function<void(std::size_t, std::size_t)>* body;
  std::size_t count, grain;
  std::atomic<std::size_t> next{0};
  std::atomic<int> running{0};
  std::atomic<bool> failed{false};
  std::exception_ptr error;
  std::mutex error_lock;

  void fail() {
    std::lock_guard<std::mutex> guard(error_lock);
    if (!error) error = std::current_exception();
    failed = true;
    next.store(count);
  }

  // `between` is called after each range.
  template <class Between>
  void work(Between between) {
    inside_pool = true;
    job_failed = &failed;
    for (;;) {
      const std::size_t begin = next.fetch_add(grain, std::memory_order_relaxed);
      if (begin >= count) break;
      try {
        (*body)(begin, std::min(begin + grain, count));
        between();
      } catch (...) {
        fail();
      }
    }
    job_failed = nullptr;
  }
};

class Pool {
 public:
  explicit Pool(int workers) : owner_(getpid()), asked_(workers) {
    threads_.reserve(workers);
    try {
      for (int k = 0; k < workers; ++k) threads_.emplace_back([this] { loop(); });
    } catch (const std::system_error&) {
      // The system starts no more: the work goes on with those that are there.
    }
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
  bool fits(int workers) const { return mine() && asked_ >= workers; }

  void run(const std::shared_ptr<Job>& job, int workers) {
    {
      std::lock_guard<std::mutex> guard(lock_);
      job_ = job;
      seats_ = workers;
      ++ticket_;
    }
    wake_.notify_all();
    job->work(Watch());
    std::unique_lock<std::mutex> guard(lock_);
    seats_ = 0;
    const auto over = [&] { return job->running.load() == 0; };
    while (!done_.wait_for(guard, milliseconds(50), over)) {
      guard.unlock();
      try {
        ask_python();
      } catch (...) {
        job->fail();
      }
      guard.lock();
    }
    inside_pool = false;
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
      job->work([] {});
      guard.lock();
      job->running.fetch_sub(1);
      done_.notify_all();
    }
  }

  const pid_t owner_;
  const int asked_;
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

// Ranges of about a millisecond, between which the user is heard.
void alone(std::size_t count, std::size_t grain, double work,
           const std::function<void(std::size_t, std::size_t)>& body) {
  const std::size_t step = std::max(grain, static_cast<std::size_t>(1e6 / work) + 1);
  if (step >= count) return body(0, count);
  Watch watch;
  for (std::size_t begin = 0; begin < count; begin += step) {
    body(begin, std::min(begin + step, count));
    watch();
  }
}

}  // namespace

int threads_worth(double work, int threads) {
  return static_cast<int>(std::max(1.0, std::min(work / kWorthAThread, static_cast<double>(threads))));
}

void parallel_for(std::size_t count, std::size_t grain, double work, int threads,
                  const std::function<void(std::size_t, std::size_t)>& body) {
  if (count == 0) return;
  grain = std::max<std::size_t>(grain, 1);
  work = std::max(work, 1.0);
  const std::size_t pieces = (count + grain - 1) / grain;
  const int worth = threads_worth(work * static_cast<double>(count), threads);
  const int workers = static_cast<int>(std::min<std::size_t>(pieces, worth)) - 1;
  // One job at a time owns the pool; a second caller (another Python thread) works alone rather than waits.
  std::unique_lock<std::mutex> guard(pool_lock, std::defer_lock);
  if (workers == 0 || inside_pool || !guard.try_lock()) return alone(count, grain, work, body);
  if (!pool || !pool->fits(workers)) {
    if (pool && pool->mine()) delete pool;
    pool = nullptr;
    pool = new Pool(workers);
  }
  auto job = std::make_shared<Job>();
  job->body = &body;
  job->count = count;
  job->grain = grain;
  pool->run(job, workers);
  // Taken out of the job, which a helper may let go of last: an error of Python dies with the interpreter lock only.
  const std::exception_ptr error = std::move(job->error);
  if (error) std::rethrow_exception(error);
}

}  // namespace monge
