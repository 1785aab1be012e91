// Work without the lock of the Python interpreter.
#pragma once

#include <nanobind/nanobind.h>

#include <chrono>
#include <thread>

#ifdef Py_LIMITED_API
// The stable interface asks this from 3.13 on only; each version of Python has one of the two.
extern "C" __attribute__((weak)) int Py_IsFinalizing();
extern "C" __attribute__((weak)) int _Py_IsFinalizing();
#endif

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
#if defined(Py_LIMITED_API)
    return Py_IsFinalizing ? Py_IsFinalizing() : _Py_IsFinalizing && _Py_IsFinalizing();
#elif PY_VERSION_HEX >= 0x030d0000
    return Py_IsFinalizing();
#else
    return _Py_IsFinalizing();
#endif
  }

  PyThreadState* const state_;
};

}  // namespace monge
