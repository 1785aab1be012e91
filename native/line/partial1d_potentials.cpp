// Potentials of a partial plan. Along the pieces of a monotone plan the row potentials s_k obey s_k + g_k = c_k. As the
// cost is a Monge one, only neighbours and the nearest atoms that keep mass back constrain each other: differences of
// neighbours lie in intervals, values in boxes. Sweeps from both ends give the greatest and the least solution, and
// their mean is a solution too.
#include <algorithm>

#include "partial1d.hpp"
#include "power_cost.hpp"

namespace monge::partial1d {
namespace {

template <class Cost>
class Chain {
 public:
  Chain(const Side& x, const Side& y, const std::vector<Piece>& pieces, double period, double level, const Cost& cost)
      : x_(x), y_(y), pieces_(pieces), period_(period), level_(level), cost_(cost) {}

  void solve(std::vector<double>& f, std::vector<double>& g) {
    f.assign(x_.size(), level_);
    g.assign(y_.size(), level_);
    count_ = static_cast<std::ptrdiff_t>(pieces_.size());
    if (count_ == 0) return;
    low_.resize(count_);
    high_.resize(count_);
    for (std::ptrdiff_t k = 0; k < count_; ++k) {
      const Piece& piece = pieces_[k];
      const double here = cost_(source(k) - target(k));
      low_[k] = x_.kept[piece.source] < x_.mass[piece.source] ? level_ : here - level_;
      high_[k] = y_.kept[piece.target] < y_.mass[piece.target] ? here - level_ : level_;
    }
    unmatched_sources();
    unmatched_targets();
    const int rounds = period_ > 0 ? 2 : 1;
    const std::ptrdiff_t links = period_ > 0 ? count_ : count_ - 1;
    for (int round = 0; round < rounds; ++round) {
      for (std::ptrdiff_t k = 0; k < links; ++k) {
        const std::ptrdiff_t after = (k + 1) % count_;
        high_[after] = std::min(high_[after], high_[k] + most(k));
        low_[after] = std::max(low_[after], low_[k] + least(k));
      }
    }
    for (int round = 0; round < rounds; ++round) {
      for (std::ptrdiff_t k = links; k-- > 0;) {
        const std::ptrdiff_t after = (k + 1) % count_;
        high_[k] = std::min(high_[k], high_[after] - least(k));
        low_[k] = std::max(low_[k], low_[after] - most(k));
      }
    }
    for (std::ptrdiff_t k = 0; k < count_; ++k) {
      const double s = std::min(level_, 0.5 * (low_[k] + high_[k]));
      f[pieces_[k].source] = s;
      g[pieces_[k].target] = std::min(level_, cost_(source(k) - target(k)) - s);
    }
  }

 private:
  // Places of the pieces; on a circle the chain goes on with the next turn.
  double source(std::ptrdiff_t k) const { return x_.position[pieces_[wrap(k)].source] + turn(k); }
  double target(std::ptrdiff_t k) const { return y_.position[pieces_[wrap(k)].target] + turn(k); }
  std::ptrdiff_t wrap(std::ptrdiff_t k) const { return k < 0 ? k + count_ : (k >= count_ ? k - count_ : k); }
  double turn(std::ptrdiff_t k) const { return k < 0 ? -period_ : (k >= count_ ? period_ : 0.0); }

  double most(std::ptrdiff_t k) const { return cost_(source(k + 1) - target(k)) - cost_(source(k) - target(k)); }
  double least(std::ptrdiff_t k) const {
    return cost_(source(k + 1) - target(k + 1)) - cost_(source(k) - target(k + 1));
  }
  bool exists(std::ptrdiff_t k) const { return period_ > 0 || (k >= 0 && k < count_); }

  void unmatched_sources() {
    std::ptrdiff_t k = 0;
    for (std::uint32_t i = 0; i < x_.size(); ++i) {
      while (k < count_ && pieces_[k].source < i) ++k;
      if (k < count_ && pieces_[k].source == i) continue;
      for (const std::ptrdiff_t near : {k - 1, k}) {
        if (!exists(near)) continue;
        const double place = target(near), bound = cost_(source(near) - place) - cost_(x_.position[i] - place) + level_;
        low_[wrap(near)] = std::max(low_[wrap(near)], bound);
      }
    }
  }
  void unmatched_targets() {
    std::ptrdiff_t k = 0;
    for (std::uint32_t j = 0; j < y_.size(); ++j) {
      while (k < count_ && pieces_[k].target < j) ++k;
      if (k < count_ && pieces_[k].target == j) continue;
      for (const std::ptrdiff_t near : {k - 1, k}) {
        if (!exists(near)) continue;
        high_[wrap(near)] = std::min(high_[wrap(near)], cost_(source(near) - y_.position[j]) - level_);
      }
    }
  }

  const Side &x_, &y_;
  const std::vector<Piece>& pieces_;
  double period_, level_;
  const Cost& cost_;
  std::ptrdiff_t count_ = 0;
  std::vector<double> low_, high_;
};

}  // namespace

void potentials(const Side& x, const Side& y, const std::vector<Piece>& pieces, double p, double period, double level,
                std::vector<double>& f, std::vector<double>& g) {
  with_power(p, [&](const auto& cost) {
    Chain<std::decay_t<decltype(cost)>>(x, y, pieces, period, level, cost).solve(f, g);
  });
}

}  // namespace monge::partial1d
