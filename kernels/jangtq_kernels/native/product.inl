// A matrix product for one instruction set. Included once for each, with JANGTQ_NAMESPACE set.
#include "product_tiles.h"

namespace JANGTQ_NAMESPACE {

void multiply(const Product& p, int64_t first, int64_t last) { multiply_columns(p, first, last); }

}  // namespace JANGTQ_NAMESPACE
