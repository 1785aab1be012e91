// Any masses, exact in integer units: a sweep with a heap of slopes where the cost is the distance, and the greedy
// profile of infinitesimal atoms for every other order.
#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "partial1d.hpp"
#include "power_cost.hpp"

namespace monge::partial1d {
namespace {

constexpr std::uint32_t none = ~std::uint32_t{0};

std::int64_t total(const std::vector<std::int64_t>& masses) {
  return std::accumulate(masses.begin(), masses.end(), std::int64_t{0});
}

// ---------------------------------------------------------------- p = 1

// V(f), the cheapest cost so far if the net flow over the current place is f, is convex and piecewise linear: two heaps
// hold its slopes on either side of f = 0, each with an offset for all of them.
class SlopeHeap {
 public:
  explicit SlopeHeap(bool greatest_first) : sign_(greatest_first ? 1.0 : -1.0) {}
  void shift(double by) { offset_ += by; }
  void push(double slope, std::int64_t length, std::uint32_t atom) {
    items_.push_back({sign_ * (slope - offset_), length, atom});
    std::push_heap(items_.begin(), items_.end());
  }
  // Moves a total length from the top of this heap to another one.
  void move(std::int64_t length, SlopeHeap& to) {
    while (length > 0) {
      Item& top = items_.front();
      const double slope = sign_ * top.key + offset_;
      const std::int64_t piece = std::min(length, top.length);
      to.push(slope, piece, top.atom);
      length -= piece;
      top.length -= piece;
      if (top.length == 0) {
        std::pop_heap(items_.begin(), items_.end());
        items_.pop_back();
      }
    }
  }
  template <class Visit>
  void visit(const Visit& visit) const {
    for (const Item& item : items_) visit(item.atom, item.length);
  }

 private:
  struct Item {
    double key;
    std::int64_t length;
    std::uint32_t atom;  // place in the merged order
    bool operator<(const Item& other) const { return key < other.key; }
  };
  std::vector<Item> items_;
  double sign_, offset_ = 0.0;
};

// A point of the profile: mass moved and its cost, in integer units of mass.
struct Point {
  double mass, cost, penalty;
  std::vector<std::int64_t> kept_x, kept_y;
};

double flow_cost(const Side& x, const Side& y, const Merged& both) {
  std::int64_t flow = 0;
  double cost = 0.0;
  for (std::size_t t = 0; t + 1 < both.size(); ++t) {
    flow += both.sign[t] > 0 ? x.kept[both.rank[t]] : -y.kept[both.rank[t]];
    cost += std::abs(static_cast<double>(flow)) * (both.position[t + 1] - both.position[t]);
  }
  return cost;
}

}  // namespace

double slopes_for_penalty(Side& x, Side& y, const Merged& both, double penalty) {
  SlopeHeap left(true), right(false);
  for (std::size_t t = 0; t < both.size(); ++t) {
    if (t > 0) {
      const double gap = both.position[t] - both.position[t - 1];
      left.shift(-gap);
      right.shift(gap);
    }
    const auto atom = static_cast<std::uint32_t>(t);
    if (both.sign[t] > 0) {
      const std::int64_t mass = x.mass[both.rank[t]];
      left.push(-penalty, mass, atom);
      left.move(mass, right);
    } else {
      const std::int64_t mass = y.mass[both.rank[t]];
      right.push(penalty, mass, atom);
      right.move(mass, left);
    }
  }
  std::fill(x.kept.begin(), x.kept.end(), 0);
  std::fill(y.kept.begin(), y.kept.end(), 0);
  left.visit([&](std::uint32_t atom, std::int64_t length) {
    if (both.sign[atom] > 0) x.kept[both.rank[atom]] += length;
  });
  right.visit([&](std::uint32_t atom, std::int64_t length) {
    if (both.sign[atom] < 0) y.kept[both.rank[atom]] += length;
  });
  return penalty;
}

// The profile is convex and piecewise linear in the mass, and a penalty finds a point of it. Chords between two points
// around the mass wanted give the next penalty; when no point lies below the chord, it is the profile.
double slopes_for_mass(Side& x, Side& y, const Merged& both, std::int64_t mass, std::int64_t& sliver) {
  sliver = static_cast<std::int64_t>(2 * both.size() + 256);
  const auto solve = [&](double penalty) {
    slopes_for_penalty(x, y, both, penalty);
    return Point{static_cast<double>(total(x.kept)), flow_cost(x, y, both), penalty, x.kept, y.kept};
  };
  const double span = both.size() ? both.position.back() - both.position.front() : 0.0;
  Point low{0.0, 0.0, 0.0, std::vector<std::int64_t>(x.size(), 0), std::vector<std::int64_t>(y.size(), 0)};
  Point high = solve(span + 1.0);
  const auto wanted = static_cast<double>(mass);
  double below = 0.0, above = 0.5 * span + 1.0;  // penalties that find too little and too much
  const auto apart = [&] { return high.mass - low.mass > static_cast<double>(sliver); };
  double chord = 0.0;
  for (int step = 0; step < 300 && apart(); ++step) {
    chord = 0.5 * (high.cost - low.cost) / (high.mass - low.mass);
    const bool bisect = step % 4 == 3;
    Point found = solve(bisect ? 0.5 * (below + above) : chord);
    if (!bisect) {
      const double on_chord = low.cost - 2 * chord * low.mass, here = found.cost - 2 * chord * found.mass;
      if (here >= on_chord - 1e-14 * (high.cost + 2 * std::abs(chord) * high.mass)) break;
    }
    if (found.mass <= wanted) {
      below = std::max(below, found.penalty);
      if (found.mass >= low.mass) low = std::move(found);
    } else {
      above = std::min(above, found.penalty);
      if (found.mass <= high.mass) high = std::move(found);
    }
  }
  const double share = apart() ? (wanted - low.mass) / (high.mass - low.mass) : 0.0;
  const auto mix = [share](const std::vector<std::int64_t>& from, const std::vector<std::int64_t>& to,
                           std::vector<std::int64_t>& kept) {
    for (std::size_t k = 0; k < kept.size(); ++k)
      kept[k] = from[k] + static_cast<std::int64_t>(std::llround(share * static_cast<double>(to[k] - from[k])));
  };
  mix(low.kept_x, high.kept_x, x.kept);
  mix(low.kept_y, high.kept_y, y.kept);
  return apart() ? chord : low.penalty;
}

// ---------------------------------------------------------------- other orders

namespace {

// Split into infinitesimal atoms, the greedy profile pushes mass from an open atom to the next open one of the other
// measure, through the active atoms between them. The price of the next bit is the sum of what every boundary of the
// block's staircase pays to hand over; it changes where a boundary meets the end of an atom, which a heap per block
// foresees.
template <class Cost>
class Staircase {
 public:
  Staircase(Side& x, Side& y, const Merged& both, const Cost& cost)
      : x_(x), y_(y), both_(both), cost_(cost), count_(static_cast<std::uint32_t>(both.size())) {
    mass_.resize(count_);
    for (std::uint32_t t = 0; t < count_; ++t)
      mass_[t] = both.sign[t] > 0 ? x.mass[both.rank[t]] : y.mass[both.rank[t]];
    rest_ = mass_;
    left_.assign(count_, 0);
    right_.assign(count_, 0);
    stamp_.assign(count_, 0);
    blocks_.resize(count_);
    next_.resize(count_);
    previous_.resize(count_);
    for (std::uint32_t t = 0; t < count_; ++t) {
      next_[t] = t + 1 < count_ ? t + 1 : none;
      previous_[t] = t > 0 ? t - 1 : none;
    }
  }

  double solve(Stop stop) {
    stop_ = stop.level;
    for (std::uint32_t t = 0; t < count_; ++t) propose(t);
    double reached = 0.0;
    std::int64_t wanted = stop.mass;
    while (!heap_.empty() && wanted > 0) {
      const Candidate best = heap_.front();
      std::pop_heap(heap_.begin(), heap_.end());
      heap_.pop_back();
      const std::uint32_t u = best.u;
      if (stamp_[u] != best.stamp) continue;
      const std::uint32_t v = next_[u];
      push(u, v, wanted, reached);
      std::uint32_t from = none;
      if (rest_[v] == 0) from = close(v);
      if (rest_[u] == 0) from = close(u);
      if (from != none) propose(from);
    }
    for (std::uint32_t t = 0; t < count_; ++t)
      (both_.sign[t] > 0 ? x_.kept : y_.kept)[both_.rank[t]] = mass_[t] - rest_[t];
    return 0.5 * reached;
  }

 private:
  struct Candidate {
    double price;
    std::uint32_t u, stamp;
    bool operator<(const Candidate& other) const { return price > other.price; }
  };
  // Where an atom of the moving measure lies across the border of two atoms of the other one.
  struct Boundary {
    std::int64_t until;  // the push after which the next atom takes over
    std::uint32_t mover, holder, following;
    bool operator<(const Boundary& other) const { return until > other.until; }
  };
  struct Block {
    std::vector<Boundary> boundaries;
    std::int64_t pushed = 0;
    double price = 0.0;
    bool ordered = false;
  };

  // Takes an atom without rest out of the list; the open atom before it, whose block has grown.
  std::uint32_t close(std::uint32_t t) {
    const std::uint32_t before = previous_[t], after = next_[t];
    ++stamp_[t];
    blocks_[t] = Block();
    if (before != none) next_[before] = after, ++stamp_[before];
    if (after != none) previous_[after] = before;
    return before;
  }

  void offer(std::uint32_t u) {
    if (blocks_[u].price >= stop_) return;
    heap_.push_back({blocks_[u].price, u, stamp_[u]});
    std::push_heap(heap_.begin(), heap_.end());
  }

  void propose(std::uint32_t u) {
    ++stamp_[u];
    const std::uint32_t v = next_[u];
    if (v == none || both_.sign[u] == both_.sign[v]) return;
    measure(u, v);
    offer(u);
  }

  // The price of pushing mass through the block from u to v. The measure of u enters at the left and is pushed to the
  // right: at every boundary of the other measure a bit of it changes hands.
  void measure(std::uint32_t u, std::uint32_t v) {
    Block& block = blocks_[u];
    block.boundaries.clear();
    block.pushed = 0;
    block.ordered = false;
    const std::int8_t moving = both_.sign[u];
    std::uint32_t mover = u, holder = advance(u, v, static_cast<std::int8_t>(-moving));
    std::int64_t mover_begin = 0, mover_end = right_[u], boundary = share(holder, v);
    double price = cost_(both_.position[u] - both_.position[holder]);
    while (holder != v) {
      while (mover_end < boundary) {
        mover = advance(mover, v, moving);
        mover_begin = mover_end;
        mover_end += mass_[mover];
      }
      const std::uint32_t following = advance(holder, v, static_cast<std::int8_t>(-moving));
      price += handing_over(mover, holder, following);
      if (mover != u) block.boundaries.push_back({boundary - mover_begin, mover, holder, following});
      holder = following;
      boundary += share(holder, v);
    }
    block.price = std::max(price, 0.0);
  }

  // Pushes while this block is the cheapest, until one of its ends is exhausted or enough has moved.
  void push(std::uint32_t u, std::uint32_t v, std::int64_t& wanted, double& reached) {
    Block& block = blocks_[u];
    auto& boundaries = block.boundaries;
    if (!block.ordered) std::make_heap(boundaries.begin(), boundaries.end());
    block.ordered = true;
    while (true) {
      std::int64_t amount = std::min({rest_[u], rest_[v], wanted});
      if (!boundaries.empty()) amount = std::min(amount, boundaries.front().until - block.pushed);
      reached = block.price;
      wanted -= amount;
      right_[u] += amount, rest_[u] -= amount;
      left_[v] += amount, rest_[v] -= amount;
      block.pushed += amount;
      if (rest_[u] == 0 || rest_[v] == 0 || wanted == 0) return;
      double price = block.price;
      while (!boundaries.empty() && boundaries.front().until == block.pushed) {
        std::pop_heap(boundaries.begin(), boundaries.end());
        Boundary& crossed = boundaries.back();
        price -= handing_over(crossed.mover, crossed.holder, crossed.following);
        do --crossed.mover;
        while (both_.sign[crossed.mover] != both_.sign[u]);
        price += handing_over(crossed.mover, crossed.holder, crossed.following);
        if (crossed.mover == u) {
          boundaries.pop_back();
        } else {
          crossed.until += mass_[crossed.mover];
          std::push_heap(boundaries.begin(), boundaries.end());
        }
      }
      block.price = std::max(price, block.price);
      if (block.price >= stop_) return;
      if (!heap_.empty() && block.price > heap_.front().price) {
        offer(u);
        return;
      }
    }
  }

  double handing_over(std::uint32_t mover, std::uint32_t holder, std::uint32_t following) const {
    const double place = both_.position[mover];
    return cost_(place - both_.position[following]) - cost_(place - both_.position[holder]);
  }
  std::uint32_t advance(std::uint32_t t, std::uint32_t last, std::int8_t sign) const {
    do ++t;
    while (t < last && both_.sign[t] != sign);
    return t;
  }
  // What an atom holds within the block that ends at v.
  std::int64_t share(std::uint32_t t, std::uint32_t v) const { return t == v ? left_[v] : mass_[t]; }

  Side &x_, &y_;
  const Merged& both_;
  const Cost& cost_;
  std::uint32_t count_;
  double stop_ = infinity;
  std::vector<std::int64_t> mass_, rest_, left_, right_;
  std::vector<std::uint32_t> stamp_, next_, previous_;
  std::vector<Block> blocks_;
  std::vector<Candidate> heap_;
};

}  // namespace

double staircase(Side& x, Side& y, const Merged& both, double p, Stop stop) {
  double level = 0.0;
  with_power(p, [&](const auto& cost) {
    level = Staircase<std::decay_t<decltype(cost)>>(x, y, both, cost).solve(stop);
  });
  return level;
}

}  // namespace monge::partial1d
