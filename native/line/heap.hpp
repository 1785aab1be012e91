// A heap with four children a node: half the levels of a binary one, and the children of a node share cache lines.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

namespace monge {

// The smallest element is on top. Elements are compared by `<`.
template <class T>
class Heap {
 public:
  explicit Heap(std::vector<T> items) : items_(std::move(items)) {
    for (std::size_t k = items_.size(); k-- > 0;) sink(k, items_[k]);
  }

  bool empty() const { return items_.empty(); }
  const T& top() const { return items_.front(); }

  void pop() {
    const T last = items_.back();
    items_.pop_back();
    if (!items_.empty()) sink(0, last);
  }

  // A pop and a push in one descent.
  void replace(const T& item) { sink(0, item); }

 private:
  void sink(std::size_t hole, const T item) {
    const std::size_t count = items_.size();
    const T* held = items_.data();
    for (std::size_t child = 4 * hole + 1; child < count; child = 4 * hole + 1) {
      std::size_t least = child;
      if (child + 4 <= count) {  // two matches and a final, as sums of comparisons: no branch to guess
        const std::size_t left = child + (held[child + 1] < held[child]);
        const std::size_t right = child + 2 + (held[child + 3] < held[child + 2]);
        least = left + (right - left) * (held[right] < held[left]);
      } else {
        for (++child; child < count; ++child) least = held[child] < held[least] ? child : least;
      }
      if (!(held[least] < item)) break;
      items_[hole] = held[least];
      hole = least;
    }
    items_[hole] = item;
  }

  std::vector<T> items_;
};

}  // namespace monge
