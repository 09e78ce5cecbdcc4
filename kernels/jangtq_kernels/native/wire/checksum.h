// The checksum of an answer, as `answer_checksum` of codec.py.
#pragma once

#include <cstddef>
#include <cstdint>

#define XXH_INLINE_ALL
#include "third_party/xxhash.h"

namespace jangtq {

// The low half of XXH3 of the sums and the finest exponents, seeded by the call's id.
inline uint32_t answer_checksum(uint64_t call_id, const void* sums, size_t sums_bytes, const void* finest,
                                size_t finest_bytes) {
    const XXH64_hash_t of_sums = XXH3_64bits_withSeed(sums, sums_bytes, call_id);
    return static_cast<uint32_t>(XXH3_64bits_withSeed(finest, finest_bytes, of_sums));
}

}  // namespace jangtq
