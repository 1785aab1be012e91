#define MONGE_ISA baseline
#define MONGE_VECTOR_BYTES 16
#include "tiles_kernels.hpp"
