// The extension module: every native kernel registers itself here, and nowhere else.
#include "bindings.hpp"

NB_MODULE(_native, m) {
  m.doc() = "Native kernels of Monge.";
}
