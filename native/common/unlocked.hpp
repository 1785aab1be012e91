// Work without the lock of the Python interpreter.
#pragma once

#include <nanobind/nanobind.h>

#include <chrono>
#include <thread>

namespace monge {

// Lets other threads of Python run while it lives. Where the interpreter has shut down meanwhile, a thread that asks for
// the lock would be ended in the middle of C++, and the process aborted with it: such a thread, for which nobody waits,
// sleeps until the process is over.
class Unlocked {
 public:
  Unlocked() : state_(PyEval_SaveThread()) {}
  ~Unlocked() {
    while (finalizing()) std::this_thread::sleep_for(std::chrono::seconds(1));
    PyEval_RestoreThread(state_);
  }
  Unlocked(const Unlocked&) = delete;
  Unlocked& operator=(const Unlocked&) = delete;

 private:
  static bool finalizing() {
#if PY_VERSION_HEX >= 0x030d0000
    return Py_IsFinalizing();
#else
    return _Py_IsFinalizing();
#endif
  }

  PyThreadState* const state_;
};

}  // namespace monge
