// Ways to have codes come from memory before they are asked for.
#pragma once

namespace jangtq {

// Into the caches, or past them as non-temporal data, which leaves there what programs will want after a call.
enum class Prefetch { kIntoCaches, kPastCaches };

}  // namespace jangtq
