// Half-steps of Sinkhorn on small square matrices, several problems side by side in the lanes of a register.
#pragma once

#include <cstddef>

namespace monge {

constexpr std::size_t most_tokens = 32;

// What is done to each problem of a call: an n x n matrix of scores S becomes diag(u) exp(S) diag(v), whose rows and
// columns are normalised in turn, `count` times, the last time the rows, or the columns if `flipped`. A problem that is
// not finite, or whose scores spread further than `range`, so that scalings could leave the range of their type, is left
// as it is and marked.
template <class T>
struct HalfSteps {
  std::size_t n, count;
  bool flipped;
  T range;
};

// One table of functions for each instruction set; each works on at most `lanes` problems, whose matrices are contiguous.
// `room` holds as many numbers as `doubly_stochastic_room` says.
template <class T>
struct DoublyStochastic {
  std::size_t lanes;
  // Plans, or with `upstream` the derivatives of <plan, upstream> by the scores, through each half-step.
  void (*run)(const HalfSteps<T>& steps, const T* scores, const T* upstream, std::size_t problems, T* out,
              unsigned char* left, T* room);
};

// The kernel, two derivatives, two sums of a side, and the scalings before and after each half-step; and what is lost
// where the room begins between two vectors.
inline std::size_t doubly_stochastic_room(std::size_t n, std::size_t count, std::size_t lanes) {
  return (3 * n * n + (count + 3) * n + 1) * lanes;
}

template <class T>
const DoublyStochastic<T>& doubly_stochastic();  // for the processor this runs on

}  // namespace monge
