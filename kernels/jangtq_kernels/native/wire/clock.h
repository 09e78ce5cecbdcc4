// Nanoseconds of the clock that Python calls time.perf_counter_ns and time.monotonic_ns.
#pragma once

#include <cstdint>
#include <time.h>

namespace jangtq {

inline int64_t now_ns() {
#ifdef __APPLE__
    return static_cast<int64_t>(clock_gettime_nsec_np(CLOCK_UPTIME_RAW));
#else
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * int64_t{1'000'000'000} + now.tv_nsec;
#endif
}

}  // namespace jangtq
