#include "watch.hpp"

#include <nanobind/nanobind.h>

namespace nb = nanobind;

namespace monge {
namespace {

std::atomic<unsigned long> main_thread{0};

}  // namespace

thread_local const std::atomic<bool>* job_failed = nullptr;

void remember_main_thread() {
  main_thread = nb::cast<unsigned long>(nb::module_::import_("threading").attr("main_thread")().attr("ident"));
}

void ask_python() {
  // No other thread may wait for the interpreter: where it is shutting down, it never lets them in.
  if (PyThread_get_thread_ident() != main_thread) return;
  nb::gil_scoped_acquire hold;
  if (PyErr_CheckSignals() != 0) throw nb::python_error();
}

void Watch::look() {
  left_ = period_;
  if (job_failed && *job_failed) throw Abandoned();
  const auto now = std::chrono::steady_clock::now();
  if (asked_ == decltype(asked_)()) asked_ = now;
  if (now - asked_ < std::chrono::milliseconds(50)) return;
  asked_ = now;
  ask_python();
}

}  // namespace monge
