// Long loops ask now and then whether anybody still waits for their answer.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>

namespace monge {

// Thrown where a loop is one of several of a job that has failed in another thread.
struct Abandoned {};

// Asks whether a loop should stop. In the main thread the signals of Python are looked for, and what their handler raises
// (KeyboardInterrupt) is thrown; Python tells other threads of none. Cheap enough for every step of a loop: the clock is
// read once in many of them, and Python entered some twenty times a second.
class Watch {
  static constexpr std::size_t kUnseen = 1 << 16;

 public:
  // `work` lies between two calls, in elementary steps of about a nanosecond; much, if it is not said.
  explicit Watch(std::size_t work = kUnseen) : period_(kUnseen / (work + 1) + 1), left_(period_) {}

  void operator()() {
    if (--left_ == 0) look();
  }

 private:
  void look();

  std::size_t period_, left_;
  std::chrono::steady_clock::time_point asked_{};
};

// Runs the handlers of signals that wait, if this is the main thread of Python, and throws what they raise.
void ask_python();

// Says which thread that is; needs the interpreter lock.
void remember_main_thread();

// Whether the job that this thread works for has failed; null where it works for none.
extern thread_local const std::atomic<bool>* job_failed;

}  // namespace monge
