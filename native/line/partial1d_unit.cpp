// Unit atoms: the greedy profile. Optimal supports are nested, each step joins one source and one target that are
// neighbours among the inactive atoms, and everything between them is active and matched in order.
#include <algorithm>
#include <cmath>
#include <optional>

#include "common/multiversion.hpp"
#include "heap.hpp"
#include "partial1d.hpp"
#include "power_cost.hpp"

namespace monge::partial1d {

Merged::Merged(const Side& x, const Side& y) {
  const std::size_t n = x.size(), m = y.size();
  position.resize(n + m);
  sign.resize(n + m);
  rank.resize(n + m);
  std::size_t i = 0, j = 0;
  for (std::size_t t = 0; t < n + m; ++t) {
    const bool source = j == m || (i < n && x.position[i] <= y.position[j]);
    position[t] = source ? x.position[i] : y.position[j];
    sign[t] = source ? 1 : -1;
    rank[t] = static_cast<std::uint32_t>(source ? i++ : j++);
  }
}

namespace {

constexpr std::uint32_t none = ~std::uint32_t{0};

// p = 1: the cost of any balanced block is a difference of two prefixes. Between neighbouring places of equal running
// label sum all sources lie on one side of their targets, so that the cost is the size of a signed sum of positions.
class PrefixBlocks {
 public:
  PrefixBlocks(const Merged& both, double period) : count_(static_cast<std::uint32_t>(both.size())) {
    const std::size_t length = period > 0 ? 2 * both.size() : both.size();
    const double middle = both.size() ? 0.5 * (both.position.front() + both.position.back()) : 0.0;
    prefix_.assign(length + 1, 0.0);
    // Label sums of a doubled unbalanced sequence reach twice as far as those of one turn.
    std::vector<std::uint32_t> last(2 * length + 1, none);
    std::vector<double> sum(length + 1, 0.0);
    std::ptrdiff_t label = static_cast<std::ptrdiff_t>(length);
    last[label] = 0;
    for (std::size_t t = 0; t < length; ++t) {
      const std::size_t k = t < both.size() ? t : t - both.size();
      const double place = both.position[k] - middle + (t < both.size() ? 0.0 : period);
      label += both.sign[k];
      sum[t + 1] = sum[t] + both.sign[k] * place;
      const std::uint32_t before = last[label];
      prefix_[t + 1] = before == none ? 0.0 : prefix_[before] + std::abs(sum[t + 1] - sum[before]);
      last[label] = static_cast<std::uint32_t>(t + 1);
    }
  }

  double marginal(std::uint32_t u, std::uint32_t v) const {
    const std::uint32_t end = v > u ? v : v + count_;
    return std::max(0.0, (prefix_[end + 1] - prefix_[u]) - (prefix_[end] - prefix_[u + 1]));
  }
  void join(std::uint32_t, std::uint32_t, std::uint32_t, double) {}

 private:
  std::uint32_t count_;
  std::vector<double> prefix_;
};

MONGE_MULTIVERSION double sum_of_squares(const double* x, const double* y, std::size_t count) {
  Lanes total{};
  std::size_t k = 0;
  for (; k + lane_count <= count; k += lane_count) {
    const Lanes gap = *reinterpret_cast<const Lanes*>(x + k) - *reinterpret_cast<const Lanes*>(y + k);
    total += gap * gap;
  }
  double sum = 0.0;
  for (int lane = 0; lane < lane_count; ++lane) sum += total[lane];
  for (; k < count; ++k) sum += (x[k] - y[k]) * (x[k] - y[k]);
  return sum;
}

inline double matched_cost(const SquareCost&, const double* x, const double* y, std::size_t count) {
  if (count >= lane_count) return sum_of_squares(x, y, count);
  double sum = 0.0;
  for (std::size_t k = 0; k < count; ++k) sum += (x[k] - y[k]) * (x[k] - y[k]);
  return sum;
}

template <class Cost>
double matched_cost(const Cost& cost, const double* x, const double* y, std::size_t count) {
  double sum = 0.0;
  for (std::size_t k = 0; k < count; ++k) sum += cost(x[k] - y[k]);
  return sum;
}

// Other orders: the block is matched afresh. Its atoms are contiguous in each sorted measure, so that this is one
// straight loop over two arrays; the cost of the active atoms after every inactive one is kept.
template <class Cost>
class MatchedBlocks {
 public:
  MatchedBlocks(const Side& x, const Side& y, const Merged& both, const Cost& cost)
      : x_(x), y_(y), cost_(cost), sources_before_(both.size() + 1, 0), inner_(both.size(), 0.0) {
    for (std::size_t t = 0; t < both.size(); ++t) sources_before_[t + 1] = sources_before_[t] + (both.sign[t] > 0);
  }

  double marginal(std::uint32_t u, std::uint32_t v) const {
    const std::uint32_t first = sources_before_[u];
    const double *x = x_.position.data() + first, *y = y_.position.data() + (u - first);
    const double whole = matched_cost(cost_, x, y, (v - u + 1) / 2);
    return std::max(0.0, whole - inner_[u]);
  }
  void join(std::uint32_t before, std::uint32_t u, std::uint32_t v, double marginal) {
    if (before != none) inner_[before] += marginal + inner_[u] + inner_[v];
  }

 private:
  const Side &x_, &y_;
  const Cost& cost_;
  std::vector<std::uint32_t> sources_before_;
  std::vector<double> inner_;
};

struct Candidate {
  double marginal;
  std::uint32_t u, v;
  bool operator<(const Candidate& other) const { return marginal < other.marginal; }
};

template <class Blocks>
std::vector<Step> run(const Merged& both, bool circular, double stop, std::size_t most, Blocks& blocks,
                      std::size_t* cut) {
  const auto count = static_cast<std::uint32_t>(both.size());
  std::vector<std::uint32_t> next(count), previous(count), gap(cut ? count : 0);
  for (std::uint32_t t = 0; t < count; ++t) {
    next[t] = t + 1 < count ? t + 1 : (circular ? 0 : none);
    previous[t] = t > 0 ? t - 1 : (circular ? count - 1 : none);
    if (cut) gap[t] = t;  // a gap that no step has covered: the one after t
  }
  const auto candidate = [&](std::uint32_t u) -> std::optional<Candidate> {
    const std::uint32_t v = next[u];
    if (v == none || both.sign[u] == both.sign[v]) return std::nullopt;
    const double marginal = blocks.marginal(u, v);
    if (!(marginal < stop)) return std::nullopt;
    return Candidate{marginal, u, v};
  };
  std::vector<Candidate> first;
  for (std::uint32_t t = 0; t < count; ++t) {
    if (const auto found = candidate(t)) first.push_back(*found);
  }
  Heap<Candidate> heap(std::move(first));
  std::vector<Step> steps;
  std::uint32_t open = 0;  // an inactive atom, if there is one
  while (!heap.empty() && steps.size() < most) {
    const auto [marginal, u, v] = heap.top();
    if (next[u] != v) {  // one of the two has become active
      heap.pop();
      continue;
    }
    const std::uint32_t before = previous[u], after = next[v];
    const bool source_first = both.sign[u] > 0;
    steps.push_back({marginal, both.rank[source_first ? u : v], both.rank[source_first ? v : u]});
    blocks.join(before, u, v, marginal);
    next[u] = next[v] = none;
    if (before == v) {  // a circle without another inactive atom: the cell from v back to u holds the cut
      if (cut) *cut = gap[v] + 1;
      return steps;
    }
    if (before != none) next[before] = after, open = before;
    if (after != none) previous[after] = before, open = after;
    const auto wider = before == none ? std::nullopt : candidate(before);
    if (wider) {
      heap.replace(*wider);
    } else {
      heap.pop();
    }
  }
  if (cut) *cut = count ? gap[open] + 1 : 0;
  return steps;
}

}  // namespace

std::vector<Step> greedy(const Side& x, const Side& y, const Merged& both, double p, double stop, std::size_t most) {
  if (p == 1.0) {
    PrefixBlocks blocks(both, 0.0);
    return run(both, false, stop, most, blocks, nullptr);
  }
  std::vector<Step> steps;
  with_power(p, [&](const auto& cost) {
    MatchedBlocks<std::decay_t<decltype(cost)>> blocks(x, y, both, cost);
    steps = run(both, false, stop, most, blocks, nullptr);
  });
  return steps;
}

std::vector<Step> circular_greedy(const Merged& both, double period, double stop, std::size_t most, std::size_t& cut) {
  PrefixBlocks blocks(both, period);
  auto steps = run(both, true, stop, most, blocks, &cut);
  if (cut >= both.size()) cut = 0;
  return steps;
}

}  // namespace monge::partial1d
