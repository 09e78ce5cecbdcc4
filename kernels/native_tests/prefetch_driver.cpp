// Prints this processor's vendor in a line, then for every vendor given how codes of single rows are prefetched.
#include <cstdio>

#include "processor.h"

int main(int count, char** vendors) {
    std::printf("%s\n", jangtq::processor_vendor().c_str());
    for (int index = 1; index < count; ++index) {
        const bool past = jangtq::prefetch_of_single_rows(vendors[index]) == jangtq::Prefetch::kPastCaches;
        std::printf("%s\n", past ? "past caches" : "into caches");
    }
    return 0;
}
