#include "given.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <utility>

#include "reduced.hpp"

namespace monge {
namespace {

// The atoms of one side that are present, and where each atom stands among them; -1: nowhere.
struct Present {
  std::vector<int> atoms, place;

  Present(const double* weights, int count) : place(count, -1) {
    for (int k = 0; k < count; ++k)
      if (weights[k] > 0) {
        place[k] = static_cast<int>(atoms.size());
        atoms.push_back(k);
      }
  }
  int size() const { return static_cast<int>(atoms.size()); }
  bool whole() const { return atoms.size() == place.size(); }

  template <class T>
  std::vector<T> of(const T* values) const {
    std::vector<T> kept;
    kept.reserve(atoms.size());
    for (const int k : atoms) kept.push_back(values[k]);
    return kept;
  }
};

// The present part of a problem, in which the shorter side is that of the rows: the loop looks for better entries a row
// at a time, which is dear for many short rows.
class Kept {
 public:
  Kept(const GivenProblem& problem, const Present& rows, const Present& columns)
      : turned(rows.size() > columns.size()),
        rows(turned ? columns : rows),
        columns(turned ? rows : columns),
        a(this->rows.of(turned ? problem.b : problem.a)),
        b(this->columns.of(turned ? problem.a : problem.b)) {
    problem.cost.rule   ? select_points(problem.cost)
    : problem.cost.arcs ? select_arcs(problem.cost)
                        : select_matrix(problem.cost);
  }

  const bool turned;
  const Present &rows, &columns;
  const std::vector<double> a, b;

  SimplexOptions options(const GivenProblem& problem, std::int64_t max_pivots, double rounding) const {
    SimplexOptions options;
    options.max_pivots = max_pivots;
    options.rounding = rounding;
    options.turned = turned;
    for (std::size_t k = 0; k < problem.arcs; ++k) {
      const std::int64_t i = (turned ? problem.j : problem.i)[k], j = (turned ? problem.i : problem.j)[k];
      if (problem.w[k] == 0 || rows.place[i] < 0 || columns.place[j] < 0) continue;
      options.i.push_back(rows.place[i]);
      options.j.push_back(columns.place[j]);
    }
    if (problem.f != nullptr) options.g = columns.of(turned ? problem.f : problem.g);
    for (int j = 0; j < static_cast<int>(options.g.size()); ++j) {
      double& guess = options.g[j];
      guess = !std::isfinite(guess) ? 0 : reduced_ ? reduced_->reduced_g(j, guess) : guess;
    }
    return options;
  }

  const PairCost& cost() const { return *cost_; }
  double f(int i, double found) const { return reduced_ ? reduced_->f(i, found) : found; }
  double g(int j, double found) const { return reduced_ ? reduced_->g(j, found) : found; }

 private:
  void select_matrix(const GivenCost& given) {
    const double* matrix = given.first;
    if (turned || !rows.whole() || !columns.whole()) {
      room_.reserve(a.size() * b.size());
      for (const int i : rows.atoms)
        for (const int j : columns.atoms)
          room_.push_back(matrix[static_cast<std::size_t>(turned ? j : i) * given.m + (turned ? i : j)]);
      matrix = room_.data();
    }
    reduced_.emplace(matrix, rows.size(), columns.size(), room_);
    cost_ = std::make_unique<MatrixCost>(reduced_->cost(), rows.size(), columns.size());
  }

  // Rows are read in order, so that the columns of a row stay in order when sides are exchanged.
  void select_arcs(const GivenCost& given) {
    ArcList arcs = *given.arcs;
    const double* cost = given.first;
    if (turned || !rows.whole() || !columns.whole()) {
      const auto for_each = [&](const auto& visit) {
        for (int i = 0; i < given.n; ++i)
          for (std::int64_t k = given.arcs->first[i]; k < given.arcs->first[i + 1]; ++k) {
            const int j = given.arcs->column[k];
            const int row = rows.place[turned ? j : i], column = columns.place[turned ? i : j];
            if (row >= 0 && column >= 0) visit(row, column, given.first[k]);
          }
      };
      first_.assign(a.size() + 1, 0);
      for_each([&](int row, int, double) { ++first_[row + 1]; });
      std::partial_sum(first_.begin(), first_.end(), first_.begin());
      column_.resize(first_.back());
      room_.resize(first_.back());
      std::vector<std::int64_t> next(first_);
      for_each([&](int row, int column, double value) {
        column_[next[row]] = column;
        room_[next[row]++] = value;
      });
      arcs = {first_.data(), column_.data()};
      cost = room_.data();
    }
    reduced_.emplace(cost, rows.size(), columns.size(), room_, &arcs);
    cost_ = std::make_unique<ArcCost>(arcs, reduced_->cost(), rows.size(), columns.size());
  }

  void select_points(const GivenCost& given) {
    const auto chosen = [&](const double* points, const Present& side, std::vector<double>& room) {
      if (side.whole()) return points;
      for (const int k : side.atoms) {
        const double* point = points + static_cast<std::size_t>(k) * given.d;
        room.insert(room.end(), point, point + given.d);
      }
      return static_cast<const double*>(room.data());
    };
    std::vector<double> copied;
    const double* x = chosen(turned ? given.second : given.first, rows, room_);
    const double* y = chosen(turned ? given.first : given.second, columns, copied);
    cost_ = std::make_unique<PointCost>(x, y, rows.size(), columns.size(), given.d, *given.rule);
  }

  std::vector<double> room_;
  std::vector<std::int64_t> first_;
  std::vector<std::int32_t> column_;
  std::optional<Reduced> reduced_;
  std::unique_ptr<PairCost> cost_;
};

double pairing(const double* weights, const double* values, int count) {
  long double sum = 0;
  for (int k = 0; k < count; ++k) sum += static_cast<long double>(weights[k]) * values[k];
  return static_cast<double>(sum);
}

// Potentials are defined up to a shift: that at which both sides have the same share of the value.
void centre(const GivenProblem& problem, const Answer& answer) {
  const int n = problem.cost.n, m = problem.cost.m;
  double mass = 0;
  for (int i = 0; i < n; ++i) mass += problem.a[i];
  for (int j = 0; j < m; ++j) mass += problem.b[j];
  const double half = (pairing(problem.a, answer.f, n) - pairing(problem.b, answer.g, m)) / mass;
  for (int i = 0; i < n; ++i) answer.f[i] -= half;
  for (int j = 0; j < m; ++j) answer.g[j] += half;
}

// The largest feasible potentials of absent atoms; zero, as good as any, where nothing bounds them.
void complete(const GivenCost& given, const Present& rows, const Present& columns, const Answer& answer) {
  if (rows.whole() && columns.whole()) return;
  const auto cost = given.pairs();
  std::vector<double> scratch(padded(given.m)), least(given.m, infinity);
  for (int i = 0; i < given.n; ++i) {
    if (rows.place[i] >= 0 && columns.whole()) continue;
    const CostRow row = cost->row(i, scratch.data());
    if (rows.place[i] < 0) {
      double lowest = infinity;
      row.for_each([&](int k, int j) {
        if (columns.place[j] >= 0) lowest = std::min(lowest, row.costs[k] - answer.g[j]);
      });
      answer.f[i] = std::isfinite(lowest) ? lowest : 0;
    }
    row.for_each([&](int k, int j) { least[j] = std::min(least[j], row.costs[k] - answer.f[i]); });
  }
  for (int j = 0; j < given.m; ++j)
    if (columns.place[j] < 0) answer.g[j] = std::isfinite(least[j]) ? least[j] : 0;
}

}  // namespace

std::unique_ptr<PairCost> GivenCost::pairs() const {
  if (rule) return std::make_unique<PointCost>(first, second, n, m, d, *rule);
  if (arcs) return std::make_unique<ArcCost>(*arcs, first, n, m);
  return std::make_unique<MatrixCost>(first, n, m);
}

Status solve_given(const GivenProblem& problem, std::int64_t max_pivots, double rounding, const Answer& answer) {
  const Present rows(problem.a, problem.cost.n), columns(problem.b, problem.cost.m);
  std::fill_n(answer.f, problem.cost.n, 0.0);
  std::fill_n(answer.g, problem.cost.m, 0.0);
  Status status = Status::optimal;
  if (rows.size() > 0 && columns.size() > 0) {
    const Kept kept(problem, rows, columns);
    const Transport plan =
        network_simplex(kept.cost(), kept.a.data(), kept.b.data(), kept.options(problem, max_pivots, rounding));
    status = plan.status;
    double *f = answer.f, *g = answer.g;
    std::int64_t *i = answer.i, *j = answer.j;
    if (kept.turned) {
      std::swap(f, g);
      std::swap(i, j);
    }
    for (std::size_t k = 0; k < plan.w.size(); ++k) {
      i[k] = kept.rows.atoms[plan.i[k]];
      j[k] = kept.columns.atoms[plan.j[k]];
      answer.w[k] = plan.w[k];
    }
    for (int k = 0; k < kept.rows.size(); ++k) f[kept.rows.atoms[k]] = kept.f(k, plan.f[k]);
    for (int k = 0; k < kept.columns.size(); ++k) g[kept.columns.atoms[k]] = kept.g(k, plan.g[k]);
    centre(problem, answer);
  }
  complete(problem.cost, rows, columns, answer);
  return status;
}

}  // namespace monge
