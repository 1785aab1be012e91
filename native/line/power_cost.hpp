// The cost |gap|^p and its derivative, with the common powers free of calls to pow.
#pragma once

#include <cmath>

namespace monge {

struct AbsoluteCost {
  template <class Real>
  Real operator()(Real gap) const {
    return std::abs(gap);
  }
  template <class Real>
  Real slope(Real gap) const {
    return static_cast<Real>((gap > 0) - (gap < 0));
  }
};

struct SquareCost {
  template <class Real>
  Real operator()(Real gap) const {
    return gap * gap;
  }
  template <class Real>
  Real slope(Real gap) const {
    return 2 * gap;
  }
};

struct PowerCost {
  double p;
  template <class Real>
  Real operator()(Real gap) const {
    return static_cast<Real>(std::pow(std::abs(static_cast<double>(gap)), p));
  }
  template <class Real>
  Real slope(Real gap) const {
    if (gap == 0) return 0;
    const double size = p * std::pow(std::abs(static_cast<double>(gap)), p - 1);
    return static_cast<Real>(gap > 0 ? size : -size);
  }
};

template <class Body>
void with_power(double p, const Body& body) {
  if (p == 1.0)
    body(AbsoluteCost{});
  else if (p == 2.0)
    body(SquareCost{});
  else
    body(PowerCost{p});
}

}  // namespace monge
