// Partial transport in one dimension: what the solvers of one pair of measures share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace monge::partial1d {

constexpr double infinity = std::numeric_limits<double>::infinity();

// The atoms of positive mass of one measure, in order. Masses are integers, so that flows add up exactly.
struct Side {
  std::vector<double> position;
  std::vector<std::uint32_t> index;  // in the measure as given
  std::vector<double> weight;
  std::vector<std::int64_t> mass, kept;

  std::size_t size() const { return position.size(); }
};

// Both measures in one order.
struct Merged {
  std::vector<double> position;
  std::vector<std::int8_t> sign;  // +1 source, -1 target
  std::vector<std::uint32_t> rank;

  Merged() = default;
  Merged(const Side& x, const Side& y);
  std::size_t size() const { return position.size(); }
};

struct Step {  // one more unit: by what the cost grows, and the two atoms that join
  double marginal;
  std::uint32_t source, target;
};

// Unit atoms: the whole profile, each step the cheapest pair of neighbouring inactive atoms. Stops before the first
// marginal that is not below `stop`, or after `most` steps.
std::vector<Step> greedy(const Side& x, const Side& y, const Merged& both, double p, double stop, std::size_t most);

// The same on a circle, p = 1. `cut` becomes the place in `both` where the unrolled order may begin.
std::vector<Step> circular_greedy(const Merged& both, double period, double stop, std::size_t most, std::size_t& cut);

// Any masses. Fills `kept` of both sides with the optimal plan's marginals and returns the level: the penalty at which
// that plan is optimal. `sliver` becomes the largest flow that is nothing but rounding.
struct Stop {
  double level;        // twice the penalty; infinite to move as much as there is
  std::int64_t mass;   // the most to move
};
double staircase(Side& x, Side& y, const Merged& both, double p, Stop stop);
double slopes_for_penalty(Side& x, Side& y, const Merged& both, double penalty);
double slopes_for_mass(Side& x, Side& y, const Merged& both, std::int64_t mass, std::int64_t& sliver);

struct Piece {
  std::uint32_t source, target;  // ranks
  std::int64_t mass;
};

// Optimal potentials at `level`: f_i + g_j <= cost with equality on the pieces, f and g <= level with equality at atoms
// that keep mass back.
void potentials(const Side& x, const Side& y, const std::vector<Piece>& pieces, double p, double period, double level,
                std::vector<double>& f, std::vector<double>& g);

}  // namespace monge::partial1d
