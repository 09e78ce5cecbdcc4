// What this processor can do, as the flags that each instruction set's code is compiled with demand, and likes.
#pragma once

#include <cstring>
#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "prefetch.h"

namespace jangtq {

#if defined(__x86_64__)
inline bool has_avx2() {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

inline bool has_avx512() {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
#endif

// As CPUID names it; empty where there is no CPUID.
inline std::string processor_vendor() {
    char name[13] = {};
#if defined(__x86_64__)
    unsigned int highest, words[3];
    if (__get_cpuid(0, &highest, &words[0], &words[2], &words[1])) std::memcpy(name, words, sizeof words);
#endif
    return name;
}

// Past Intel's caches, as measured, codes take twice as long to come from memory, and more than three times as
// long from the last cache.
inline Prefetch prefetch_of_single_rows(const std::string& vendor) {
    return vendor == "GenuineIntel" ? Prefetch::kIntoCaches : Prefetch::kPastCaches;
}

}  // namespace jangtq
