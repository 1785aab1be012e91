// Partial transport on the line and the circle, row by row: sort, solve by the cheapest exact method for the weights at
// hand, read the plan off.
#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "common/bindings.hpp"
#include "common/parallel.hpp"
#include "common/unlocked.hpp"
#include "partial1d.hpp"
#include "power_cost.hpp"
#include "radix.hpp"
#include "rows.hpp"

namespace nb = nanobind;

namespace monge {
namespace {

using namespace partial1d;

enum Rule { penalty_rule = 0, mass_rule = 1, knee_rule = 2 };

// Sorts by the leading 32 bits, which takes three passes over eight bytes an atom, then settles what they left open.
template <class Real>
void sort_atoms(const Real* x, const double* weights, std::size_t n, double period, Side& side) {
  std::vector<double> places(n);
  std::vector<Indexed<float>> items, spare;
  items.reserve(n);
  for (std::size_t i = 0; i < n; ++i) {
    if (weights && !(weights[i] > 0)) continue;
    double place = static_cast<double>(x[i]);
    if (period > 0) {
      place -= period * std::floor(place / period);
      if (place >= period) place = 0.0;
    }
    places[i] = place;
    items.push_back({static_cast<std::uint32_t>(to_key(place) >> 32), static_cast<std::uint32_t>(i)});
  }
  spare.resize(items.size());
  Indexed<float>* sorted = items.empty() ? items.data() : radix_sort(items.data(), spare.data(), items.size());
  const std::size_t count = items.size();
  const auto before = [&](const Indexed<float>& p, const Indexed<float>& q) { return places[p.index] < places[q.index]; };
  for (std::size_t k = 0; k + 1 < count;) {
    std::size_t end = k + 1;
    while (end < count && sorted[end].key == sorted[k].key) ++end;
    if (end > k + 1) std::stable_sort(sorted + k, sorted + end, before);
    k = end;
  }
  side.position.resize(count);
  side.index.resize(count);
  side.weight.resize(count);
  side.mass.assign(count, 1);
  side.kept.assign(count, 0);
  for (std::size_t k = 0; k < count; ++k) {
    side.index[k] = sorted[k].index;
    side.position[k] = places[side.index[k]];
    side.weight[k] = weights ? weights[side.index[k]] : 1.0;
  }
}

// The order of a circle begins after the cut; what lay before it follows one turn later.
void unroll(Side& side, std::size_t first, double period) {
  const auto turn = [first](auto& values) { std::rotate(values.begin(), values.begin() + first, values.end()); };
  for (std::size_t k = 0; k < first; ++k) side.position[k] += period;
  turn(side.position), turn(side.index), turn(side.weight), turn(side.mass), turn(side.kept);
}

std::size_t sources_before(const Merged& both, std::size_t place) {
  return static_cast<std::size_t>(std::count(both.sign.begin(), both.sign.begin() + place, 1));
}

struct Question {
  double p, period;  // period zero: the line
  Rule rule;
  double level;      // penalty or mass
};

struct Solved {
  double level = 0.0, unit = 1.0;
  std::int64_t sliver = 0;
};

// All weights are equal.
Solved solve_units(Side& x, Side& y, const Question& question) {
  Solved solved;
  const double weight = x.size() ? x.weight[0] : 1.0;
  const std::size_t most = std::min(x.size(), y.size());
  const Merged both(x, y);
  double stop = infinity, wanted = static_cast<double>(most);
  if (question.rule == penalty_rule) stop = 2 * question.level;
  if (question.rule == mass_rule) {
    wanted = std::min(question.level / weight, wanted);
    if (std::abs(wanted - std::round(wanted)) < 1e-9 * std::max(1.0, wanted)) wanted = std::round(wanted);
  }
  const std::size_t steps_wanted = std::min(most, static_cast<std::size_t>(wanted) + 1);
  std::size_t cut = 0;
  const std::vector<Step> steps = question.period > 0 ? circular_greedy(both, question.period, stop, steps_wanted, cut)
                                                      : greedy(x, y, both, question.p, stop, steps_wanted);
  std::size_t count = steps.size();
  double part = 0.0;
  if (question.rule == penalty_rule) {
    solved.level = question.level;
  } else {
    if (question.rule == mass_rule) {
      count = static_cast<std::size_t>(wanted);
      part = wanted - static_cast<double>(count);
    } else if (count > 0) {  // where the profile is farthest below its chord
      double sum = 0.0;
      for (const Step& step : steps) sum += step.marginal;
      const double mean = sum / static_cast<double>(count) * (1 + 1e-12);
      while (count > 0 && steps[count - 1].marginal > mean) --count;
    }
    const double before = count > 0 ? steps[count - 1].marginal : 0.0;
    const double after = count < steps.size() ? steps[count].marginal : before;
    solved.level = part > 0 ? 0.5 * after : 0.25 * ((count > 0 ? before : after) + after);
  }
  std::int64_t whole = 1;  // an atom in integers: fine enough for a part of one, all of them still fit
  if (part > 0) {
    const std::int64_t room = (std::int64_t{1} << 61) / static_cast<std::int64_t>(both.size() + 1);
    while (whole < room && whole < std::int64_t{1} << 52) whole *= 2;
  }
  for (Side* side : {&x, &y}) std::fill(side->mass.begin(), side->mass.end(), whole);
  for (std::size_t k = 0; k < count; ++k) x.kept[steps[k].source] = y.kept[steps[k].target] = whole;
  if (part > 0) {
    const auto fraction = static_cast<std::int64_t>(std::llround(part * static_cast<double>(whole)));
    x.kept[steps[count].source] = y.kept[steps[count].target] = fraction;
  }
  solved.unit = weight / static_cast<double>(whole);
  if (question.period > 0) {
    const std::size_t first = sources_before(both, cut);
    unroll(x, first, question.period);
    unroll(y, cut - first, question.period);
  }
  return solved;
}

std::vector<Piece> read_plan(const Side& x, const Side& y, std::int64_t sliver) {
  std::vector<Piece> pieces;
  pieces.reserve(std::min(x.size(), y.size()));
  std::size_t i = 0, j = 0;
  std::int64_t left_x = x.size() ? x.kept[0] : 0, left_y = y.size() ? y.kept[0] : 0;
  while (true) {
    while (left_x == 0 && i < x.size())
      if (++i < x.size()) left_x = x.kept[i];
    while (left_y == 0 && j < y.size())
      if (++j < y.size()) left_y = y.kept[j];
    if (i >= x.size() || j >= y.size()) return pieces;
    const std::int64_t piece = std::min(left_x, left_y);
    if (piece > sliver) pieces.push_back({static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(j), piece});
    left_x -= piece;
    left_y -= piece;
  }
}

// Any weights, on the line.
Solved solve_masses(Side& x, Side& y, const Question& question) {
  Solved solved;
  double mass_x = 0.0, mass_y = 0.0;
  for (const double weight : x.weight) mass_x += weight;
  for (const double weight : y.weight) mass_y += weight;
  int exponent = 0;
  std::frexp(std::max(mass_x, mass_y), &exponent);
  solved.unit = std::ldexp(1.0, exponent - 59);  // a power of two: whole numbers stay exact
  std::int64_t total_x = 0, total_y = 0;
  for (std::size_t k = 0; k < x.size(); ++k)
    total_x += x.mass[k] = std::max<std::int64_t>(1, std::llround(x.weight[k] / solved.unit));
  for (std::size_t k = 0; k < y.size(); ++k)
    total_y += y.mass[k] = std::max<std::int64_t>(1, std::llround(y.weight[k] / solved.unit));
  const Merged both(x, y);
  const std::int64_t most = std::min(total_x, total_y);
  Stop stop{infinity, most};
  if (question.rule == penalty_rule) stop.level = 2 * question.level;
  if (question.rule == mass_rule)
    stop.mass = std::min(most, static_cast<std::int64_t>(std::llround(question.level / solved.unit)));
  const auto solve = [&](Stop until) {
    if (question.p != 1.0) return staircase(x, y, both, question.p, until);
    return until.level < infinity ? slopes_for_penalty(x, y, both, 0.5 * until.level)
                                  : slopes_for_mass(x, y, both, until.mass, solved.sliver);
  };
  solved.level = solve(stop);
  if (question.rule == penalty_rule) solved.level = question.level;
  if (question.rule == knee_rule && most > 0) {
    // The mean price of all that can be moved is the slope of the chord.
    double cost = 0.0;
    with_power(question.p, [&](const auto& power) {
      for (const Piece& piece : read_plan(x, y, 0))
        cost += static_cast<double>(piece.mass) * power(x.position[piece.source] - y.position[piece.target]);
    });
    const double mean = cost / static_cast<double>(most) * (1 + 1e-12);
    solved.sliver = 0;
    solved.level = 0.5 * mean;
    solve({std::nextafter(mean, infinity), most});
  }
  return solved;
}

template <class Real>
struct Batch {
  const Real *x, *y;
  const double *a, *b;
  bool one_a, one_b, one_level;
  std::size_t rows, n, m;
  double p, period;
  Rule rule;
  const double* level;
  std::size_t width;
  std::int64_t *i, *j;
  double *w, *reached;
  double *f, *g;
};

// A point without mass has the greatest potential that the others allow.
template <class Real>
void absent_potentials(const Batch<Real>& batch, const Real* points, const double* weights, std::size_t n,
                       const Side& others, const std::vector<double>& potential, double level, double* out) {
  if (!weights) return;
  with_power(batch.p, [&](const auto& cost) {
    for (std::size_t i = 0; i < n; ++i) {
      if (weights[i] > 0) continue;
      double best = level;
      for (std::size_t k = 0; k < others.size(); ++k) {
        double gap = static_cast<double>(points[i]) - others.position[k];
        if (batch.period > 0) gap -= batch.period * std::nearbyint(gap / batch.period);
        best = std::min(best, cost(gap) - potential[k]);
      }
      out[i] = best;
    }
  });
}

template <class Real>
void solve_row(const Batch<Real>& batch, std::size_t row) {
  const std::size_t n = batch.n, m = batch.m;
  const Real *points_x = batch.x + row * n, *points_y = batch.y + row * m;
  const double* a = batch.a ? batch.a + (batch.one_a ? 0 : row * n) : nullptr;
  const double* b = batch.b ? batch.b + (batch.one_b ? 0 : row * m) : nullptr;
  const Question question{batch.p, batch.period, batch.rule, batch.level[batch.one_level ? 0 : row]};
  Side x, y;
  sort_atoms(points_x, a, n, batch.period, x);
  sort_atoms(points_y, b, m, batch.period, y);
  bool equal = true;
  const double weight = x.size() ? x.weight[0] : (y.size() ? y.weight[0] : 1.0);
  for (const Side* side : {&x, &y})
    for (const double w : side->weight) equal = equal && w == weight;
  const Solved solved = equal ? solve_units(x, y, question) : solve_masses(x, y, question);
  const std::vector<Piece> pieces = read_plan(x, y, solved.sliver);
  const std::size_t width = batch.width;
  std::int64_t *i = batch.i + row * width, *j = batch.j + row * width;
  double* w = batch.w + row * width;
  for (std::size_t k = 0; k < pieces.size(); ++k) {
    i[k] = x.index[pieces[k].source];
    j[k] = y.index[pieces[k].target];
    w[k] = static_cast<double>(pieces[k].mass) * solved.unit;
  }
  std::fill(i + pieces.size(), i + width, 0);
  std::fill(j + pieces.size(), j + width, 0);
  std::fill(w + pieces.size(), w + width, 0.0);
  batch.reached[row] = solved.level;
  if (!batch.f) return;
  std::vector<double> f, g;
  potentials(x, y, pieces, batch.p, batch.period, solved.level, f, g);
  double *out_f = batch.f + row * n, *out_g = batch.g + row * m;
  for (std::size_t k = 0; k < x.size(); ++k) out_f[x.index[k]] = f[k];
  for (std::size_t k = 0; k < y.size(); ++k) out_g[y.index[k]] = g[k];
  absent_potentials(batch, points_x, a, n, y, g, solved.level, out_f);
  absent_potentials(batch, points_y, b, m, x, f, solved.level, out_g);
}

template <class Real>
void partial_plan(Rows<const Real> x, Rows<const Real> y, std::optional<Rows<const double>> a,
                  std::optional<Rows<const double>> b, double p, double period, int rule, Rows<const double> level,
                  Rows<std::int64_t> i, Rows<std::int64_t> j, Rows<double> w, Rows<double> reached,
                  std::optional<Rows<double>> f, std::optional<Rows<double>> g, int threads) {
  check_sides(x, y, a, b);
  if (rule < penalty_rule || rule > knee_rule)
    refuse("rule must be 0 for a penalty, 1 for a mass or 2 for the knee, but is " + std::to_string(rule) + ".");
  check_shape("level", level, {{x.shape(0), true}, {1}});
  // Equal masses are matched one to one, but for a last pair that moves a part of them.
  const std::size_t n = x.shape(1), m = y.shape(1), width = w.shape(1);
  const std::size_t most = a || b ? n + m : std::min(n, m) * (rule == mass_rule ? 2 : 1);
  if (width < most)
    refuse("width must be at least " + std::to_string(most) +
           ", the entries that a plan between these points may have, but is " + std::to_string(width) + ".");
  check_shape("i", i, {{x.shape(0)}, {width}});
  check_shape("j", j, {{x.shape(0)}, {width}});
  check_shape("w", w, {{x.shape(0)}, {width}});
  check_shape("reached", reached, {{x.shape(0)}, {1}});
  check_found(x, y, f, g);
  const Batch<Real> batch{x.data(),
                          y.data(),
                          pointer(a),
                          pointer(b),
                          a && a->shape(0) == 1,
                          b && b->shape(0) == 1,
                          level.shape(0) == 1,
                          x.shape(0),
                          x.shape(1),
                          y.shape(1),
                          p,
                          period,
                          static_cast<Rule>(rule),
                          level.data(),
                          w.shape(1),
                          i.data(),
                          j.data(),
                          w.data(),
                          reached.data(),
                          pointer(f),
                          pointer(g)};
  const Unlocked unlocked;
  parallel_for(batch.rows, 1, 200.0 * (batch.n + batch.m), threads, [&](std::size_t begin, std::size_t end) {
    for (std::size_t row = begin; row < end; ++row) solve_row(batch, row);
  });
}

// Unit atoms: the activated pairs in order, and positions on the line into which a circle opens for all of them.
template <class Real>
void partial_profile(Rows<const Real> x, Rows<const Real> y, double p, double period, double stop,
                     Rows<double> marginal, Rows<std::int64_t> source, Rows<std::int64_t> target, Rows<double> u,
                     Rows<double> v, int threads) {
  const std::size_t n = x.shape(1), m = y.shape(1), width = marginal.shape(1);
  const Length rows{x.shape(0)};
  check_sides<Real>(x, y, {}, {});
  check_shape("marginal", marginal, {rows, {width}});
  check_shape("source", source, {rows, {width}});
  check_shape("target", target, {rows, {width}});
  check_shape("u", u, {rows, {n}});
  check_shape("v", v, {rows, {m}});
  const Unlocked unlocked;
  parallel_for(x.shape(0), 1, 200.0 * (n + m), threads, [&](std::size_t begin, std::size_t end) {
    for (std::size_t row = begin; row < end; ++row) {
      Side from, to;
      sort_atoms(x.data() + row * n, nullptr, n, period, from);
      sort_atoms(y.data() + row * m, nullptr, m, period, to);
      const Merged both(from, to);
      std::size_t place = 0;
      const std::vector<Step> steps =
          period > 0 ? circular_greedy(both, period, stop, width, place) : greedy(from, to, both, p, stop, width);
      double* out = marginal.data() + row * width;
      std::int64_t *i = source.data() + row * width, *j = target.data() + row * width;
      for (std::size_t k = 0; k < width; ++k) {
        const bool there = k < steps.size();
        out[k] = there ? steps[k].marginal : infinity;
        i[k] = there ? from.index[steps[k].source] : -1;
        j[k] = there ? to.index[steps[k].target] : -1;
      }
      if (period > 0) {
        const std::size_t first = sources_before(both, place);
        unroll(from, first, period);
        unroll(to, place - first, period);
      }
      for (std::size_t k = 0; k < n; ++k) u.data()[row * n + from.index[k]] = from.position[k];
      for (std::size_t k = 0; k < m; ++k) v.data()[row * m + to.index[k]] = to.position[k];
    }
  });
}

template <class Real>
void bind(nb::module_& m) {
  m.def("partial_plan", &partial_plan<Real>, array("x"), array("y"), array("a").none(), array("b").none(),
        nb::arg("p"), nb::arg("period"), nb::arg("rule"), array("level"), array("i"), array("j"), array("w"),
        array("reached"), array("f").none(), array("g").none(), nb::arg("threads"));
  m.def("partial_profile", &partial_profile<Real>, array("x"), array("y"), nb::arg("p"), nb::arg("period"),
        nb::arg("stop"), array("marginal"), array("source"), array("target"), array("u"),
        array("v"), nb::arg("threads"));
}

}  // namespace

void bind_partial1d(nb::module_& m) {
  bind<float>(m);
  bind<double>(m);
}

}  // namespace monge
