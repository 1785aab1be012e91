// A small persistent thread pool. OpenMP is avoided on purpose: torch ships its own runtime, and two of them in one
// process fight over the cores. The pool is rebuilt after a fork, where the parent's threads do not exist.
#pragma once

#include <cstddef>
#include <functional>

namespace monge {

// How many of the threads so much work is worth, in elementary steps of about a nanosecond: waking one takes time, too.
int threads_worth(double work, int threads);

// Calls body(begin, end) on disjoint ranges that cover [0, count), on at most `threads` threads, the caller included:
// fewer where the work is not worth them, `work` being that of one index, or where the system starts no more. Ranges are
// handed out dynamically, at least `grain` indices at a time, so uneven work balances itself. Nested calls run serially.
// Between ranges the user may stop it all, see `Watch`.
void parallel_for(std::size_t count, std::size_t grain, double work, int threads,
                  const std::function<void(std::size_t, std::size_t)>& body);

}  // namespace monge
