#include "searches.hpp"

#include "stream/tiles.hpp"

namespace monge {
namespace stream {

#define MONGE_DECLARE(isa)                \
  namespace isa {                         \
  extern const Searches column_searches;  \
  }
MONGE_DECLARE(baseline)
#ifdef MONGE_X86
MONGE_DECLARE(avx2)
MONGE_DECLARE(avx512)
#endif

}  // namespace stream

const Searches& searches() {
#ifdef MONGE_X86
  const int level = stream::instructions();
  return level == 2   ? stream::avx512::column_searches
         : level == 1 ? stream::avx2::column_searches
                      : stream::baseline::column_searches;
#else
  return stream::baseline::column_searches;
#endif
}

}  // namespace monge
