// The basis of a transport problem: a spanning tree over sources, targets and one artificial root.
//
// Masses are integers, so flows never drift and a tie is a tie: with the rule for the leaving arc in `pivot` the tree
// stays strongly feasible (an arc without flow points to the root), and no sequence of pivots can cycle.
// Potentials: h = f on a source and h = -g on a target, so the reduced cost of (i, j) is C_ij - h_i + h_j, and a whole
// subtree moves by one number.
#pragma once

#include <cstdint>
#include <vector>

#include "pair_cost.hpp"

namespace monge {

struct Arc {
  int i, j;  // source, target
  double cost;
};

class Tree {
 public:
  // `a` and `b` are positive and sum to the same number.
  Tree(std::vector<std::int64_t> a, std::vector<std::int64_t> b);

  const int n, m;

  // Ships mass along the arcs in their order, as much as fits; then lets other arcs of the list join what is still
  // apart, and hangs the rest from the root by artificial arcs: of the given cost if mass is left over, else at the
  // given level (n + m guesses of h).
  void start(const std::vector<Arc>& arcs, const double* level, double artificial_cost);

  // Brings (i, j) into the basis; its reduced cost must be negative. False if nothing leaves (an unbounded problem).
  bool pivot(int i, int j, double cost);

  // Recomputes every potential from the tree, which sheds the rounding of many pivots.
  void refresh();

  double reduced_cost(int i, int j, double cost) const { return cost - h_[i] + h_[n + j]; }
  const double* source_potentials() const { return h_.data(); }
  const double* target_potentials() const { return h_.data() + n; }  // -g; infinite up to padded(m)
  std::int64_t artificial_flow() const;
  // Whether one artificial arc is all that is left of them.
  bool connected() const { return next_[child_[root_]] < 0; }
  // Artificial arcs have done their work when the flow they hold is rounding: it is forgotten, and their cost falls to
  // zero, so that it does not blur the potentials. True if that changed any; they may then be improvable again.
  bool settle();

  template <class Visit>
  void each_arc(const Visit& visit) const {  // visit(i, j, cost, flow)
    for (int v = 0; v < root_; ++v) {
      if (parent_[v] < 0 || parent_[v] == root_) continue;
      const int i = v < n ? v : parent_[v], j = (v < n ? parent_[v] : v) - n;
      visit(i, j, cost_[v], flow_[v]);
    }
  }

 private:
  void hang(const std::vector<std::vector<int>>& touching, const std::vector<Arc>& arcs,
            const std::vector<std::int64_t>& shipped, int top);
  void attach(int v, int parent);
  void detach(int v);
  void shift_subtree(int top, double amount);

  const int root_, nodes_;
  std::vector<std::int64_t> a_, b_;
  // The tree: parent, first child, siblings, number of nodes below and including.
  std::vector<int> parent_, child_, next_, previous_, size_;
  // The arc to the parent: its cost, its flow, and whether it points there.
  std::vector<double> cost_;
  std::vector<std::int64_t> flow_;
  std::vector<std::uint8_t> up_;
  std::vector<double> h_;
};

}  // namespace monge
