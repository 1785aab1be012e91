// A small persistent thread pool. OpenMP is avoided on purpose: torch ships its own runtime, and two of them in one
// process fight over the cores. The pool is rebuilt after a fork, where the parent's threads do not exist.
#pragma once

#include <cstddef>
#include <functional>

namespace monge {

// Calls body(begin, end) on disjoint ranges that cover [0, count), on at most `threads` threads, the caller included.
// Ranges are handed out dynamically, `grain` indices at a time, so uneven work balances itself. Nested calls run serially.
void parallel_for(std::size_t count, std::size_t grain, int threads,
                  const std::function<void(std::size_t, std::size_t)>& body);

}  // namespace monge
