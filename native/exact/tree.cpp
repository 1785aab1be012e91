#include "tree.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

namespace monge {
namespace {

class Groups {  // disjoint sets
 public:
  explicit Groups(int count) : leader_(count) { std::iota(leader_.begin(), leader_.end(), 0); }
  int find(int v) {
    while (leader_[v] != v) v = leader_[v] = leader_[leader_[v]];
    return v;
  }
  bool join(int u, int v) {
    u = find(u);
    v = find(v);
    leader_[u] = v;
    return u != v;
  }

 private:
  std::vector<int> leader_;
};

}  // namespace

Tree::Tree(std::vector<std::int64_t> a, std::vector<std::int64_t> b)
    : n(static_cast<int>(a.size())), m(static_cast<int>(b.size())), root_(n + padded(m)), nodes_(root_ + 1),
      a_(std::move(a)), b_(std::move(b)), parent_(nodes_, -1), child_(nodes_, -1), next_(nodes_, -1),
      previous_(nodes_, -1), size_(nodes_, 1), cost_(nodes_, 0), flow_(nodes_, 0), up_(nodes_, 0),
      h_(nodes_, infinity) {}

void Tree::start(const std::vector<Arc>& arcs, const double* level, double artificial_cost) {
  std::vector<std::int64_t> rest(a_);
  rest.insert(rest.end(), b_.begin(), b_.end());
  std::vector<std::int64_t> shipped(arcs.size(), 0);
  std::vector<std::uint8_t> used(arcs.size(), 0);
  Groups own(n + m);
  // Each shipment empties a node, so the arcs used form a forest, with at most one node left over in each tree.
  for (std::size_t k = 0; k < arcs.size(); ++k) {
    const int i = arcs[k].i, j = n + arcs[k].j;
    const std::int64_t mass = std::min(rest[i], rest[j]);
    if (mass == 0) continue;
    rest[i] -= mass;
    rest[j] -= mass;
    shipped[k] = mass;
    used[k] = 1;
    own.join(i, j);
  }
  std::vector<int> top(n + m, -1);  // of each tree: the node by which it hangs
  for (int v = 0; v < n + m; ++v)
    if (rest[v] > 0) top[own.find(v)] = v;
  // A tree with nothing left over may hang from another one by an arc without flow, which must point there.
  std::vector<std::uint8_t> hooked(n + m, 0);
  Groups groups = own;
  for (std::size_t k = 0; k < arcs.size(); ++k) {
    const int tree = own.find(arcs[k].i);
    if (top[tree] >= 0 || !groups.join(arcs[k].i, n + arcs[k].j)) continue;
    top[tree] = arcs[k].i;
    hooked[tree] = 1;
    used[k] = 1;
  }

  std::fill(parent_.begin(), parent_.end(), -1);
  std::fill(child_.begin(), child_.end(), -1);
  std::vector<std::vector<int>> touching(n + m);
  for (std::size_t k = 0; k < arcs.size(); ++k)
    if (used[k]) {
      touching[arcs[k].i].push_back(static_cast<int>(k));
      touching[n + arcs[k].j].push_back(static_cast<int>(k));
    }
  for (int tree = 0; tree < n + m; ++tree) {
    if (own.find(tree) != tree || hooked[tree]) continue;
    const int v = top[tree] >= 0 ? top[tree] : tree;
    attach(v, root_);
    flow_[v] = rest[v];
    up_[v] = v < n || rest[v] == 0;
    // Nothing can pass through an arc without flow unless others bring it here: its cost only sets the level.
    cost_[v] = rest[v] > 0 ? artificial_cost : level[v];
    hang(touching, arcs, shipped, v);
  }
  size_[root_] = n + m + 1;
  refresh();
}

// Hangs everything that `top` reaches through the arcs below it.
void Tree::hang(const std::vector<std::vector<int>>& touching, const std::vector<Arc>& arcs,
                const std::vector<std::int64_t>& shipped, int top) {
  std::vector<int> order{top};
  for (std::size_t k = 0; k < order.size(); ++k) {
    const int v = order[k];
    for (const int arc : touching[v]) {
      const int other = v < n ? n + arcs[arc].j : arcs[arc].i;
      if (other == parent_[v] || parent_[other] >= 0) continue;
      attach(other, v);
      cost_[other] = arcs[arc].cost;
      flow_[other] = shipped[arc];
      up_[other] = other < n;
      order.push_back(other);
    }
  }
  for (const int v : order) size_[v] = 1;
  for (std::size_t k = order.size(); --k > 0;) size_[parent_[order[k]]] += size_[order[k]];
}

void Tree::attach(int v, int parent) {
  parent_[v] = parent;
  previous_[v] = -1;
  next_[v] = child_[parent];
  if (child_[parent] >= 0) previous_[child_[parent]] = v;
  child_[parent] = v;
}

void Tree::detach(int v) {
  if (previous_[v] >= 0)
    next_[previous_[v]] = next_[v];
  else
    child_[parent_[v]] = next_[v];
  if (next_[v] >= 0) previous_[next_[v]] = previous_[v];
}

void Tree::shift_subtree(int top, double amount) {
  int v = top;
  for (;;) {
    h_[v] += amount;
    if (child_[v] >= 0) {
      v = child_[v];
      continue;
    }
    while (v != top && next_[v] < 0) v = parent_[v];
    if (v == top) return;
    v = next_[v];
  }
}

bool Tree::pivot(int i, int j, double cost) {
  const double change = reduced_cost(i, j, cost);
  const int source = i, target = n + j;
  int join = source;
  for (int other = target; join != other;) {
    if (size_[join] < size_[other])
      join = parent_[join];
    else
      other = parent_[other];
  }
  // Mass goes round: join -> source -> target -> join. Of the arcs that empty first, the last one on the way leaves.
  constexpr std::int64_t unlimited = std::numeric_limits<std::int64_t>::max();
  std::int64_t mass = unlimited;
  int leaving = -1;
  bool on_source_side = true;
  for (int v = source; v != join; v = parent_[v])
    if (up_[v] && flow_[v] < mass) {
      mass = flow_[v];
      leaving = v;
    }
  for (int v = target; v != join; v = parent_[v])
    if (!up_[v] && flow_[v] <= mass) {
      mass = flow_[v];
      leaving = v;
      on_source_side = false;
    }
  if (leaving < 0) return false;
  if (mass > 0) {
    for (int v = source; v != join; v = parent_[v]) flow_[v] += up_[v] ? -mass : mass;
    for (int v = target; v != join; v = parent_[v]) flow_[v] += up_[v] ? mass : -mass;
  }

  // The part below the leaving arc hangs from the entering one from now on: turn the path between them round.
  const int moved = size_[leaving];
  for (int v = parent_[leaving]; v != join; v = parent_[v]) size_[v] -= moved;
  detach(leaving);
  const bool small = 2 * moved <= n + m;
  // Only differences of potentials matter: move the smaller part.
  const double shift = on_source_side ? change : -change;
  if (small)
    shift_subtree(leaving, shift);
  else
    shift_subtree(root_, -shift);

  int v = on_source_side ? source : target, below = on_source_side ? target : source;
  const int hung_from = below;
  double arc_cost = cost;
  std::int64_t arc_flow = mass;
  std::uint8_t arc_up = on_source_side;
  int above = parent_[v], grown = 0;
  for (;;) {
    const double old_cost = cost_[v];
    const std::int64_t old_flow = flow_[v];
    const std::uint8_t old_up = up_[v];
    const int old_parent = above, old_size = size_[v];
    if (v != leaving) {
      above = parent_[old_parent];
      detach(v);
    }
    attach(v, below);
    cost_[v] = arc_cost;
    flow_[v] = arc_flow;
    up_[v] = arc_up;
    size_[v] = moved - grown;
    if (v == leaving) break;
    grown = old_size;
    arc_cost = old_cost;
    arc_flow = old_flow;
    arc_up = !old_up;
    below = v;
    v = old_parent;
  }
  for (int u = hung_from; u != join; u = parent_[u]) size_[u] += moved;
  return true;
}

void Tree::refresh() {
  // A single artificial arc carries nothing, whatever its cost: at zero it keeps the potentials small.
  if (connected()) cost_[child_[root_]] = 0;
  h_[root_] = 0;
  int v = root_;
  for (;;) {
    if (v != root_) {
      // h rises by the cost along an arc: source above target by C, and the root at zero.
      h_[v] = up_[v] ? h_[parent_[v]] + cost_[v] : h_[parent_[v]] - cost_[v];
    }
    if (child_[v] >= 0) {
      v = child_[v];
      continue;
    }
    while (v != root_ && next_[v] < 0) v = parent_[v];
    if (v == root_) return;
    v = next_[v];
  }
}

bool Tree::settle() {
  if (connected()) return false;
  bool changed = false;
  for (int v = child_[root_]; v >= 0; v = next_[v]) {
    changed |= cost_[v] != 0 || flow_[v] != 0;
    cost_[v] = 0;
    flow_[v] = 0;
    up_[v] = 1;  // without flow it must point to the root
  }
  refresh();
  return changed;
}

std::int64_t Tree::artificial_flow() const {
  std::int64_t total = 0;
  for (int v = child_[root_]; v >= 0; v = next_[v]) total += flow_[v];
  return total;
}

}  // namespace monge
