// How codes lie in memory: blocks of output rows, in a block word by word, a word of all its rows side by side.
#pragma once

#include <cstdint>

namespace jangtq {

constexpr int64_t kLanes = 16;       // every block has a multiple of this many rows
constexpr int64_t kLargestBlock = 128;

inline int64_t padded_out(int64_t out) { return (out + kLanes - 1) / kLanes * kLanes; }

inline int64_t codes_per_word(int64_t bits) { return 32 / bits; }

inline int64_t words_of(int64_t in, int64_t bits) {
    return (in + codes_per_word(bits) - 1) / codes_per_word(bits);
}

// Rows of the block that starts at `first`: 128 while there are as many, then 64, 32, 16.
inline int64_t block_rows(int64_t first, int64_t padded) {
    int64_t rows = kLargestBlock;
    while (rows > padded - first) rows /= 2;
    return rows;
}

}  // namespace jangtq
