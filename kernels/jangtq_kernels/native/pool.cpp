// See experts.h: the instruction sets of this machine, and pools.
#include "pool.h"

#include <cstring>
#include <exception>
#include <string>

#include "processor.h"

namespace {

using jangtq::Isa;

std::vector<Isa> available_isas() {
    std::vector<Isa> isas;
#if defined(__x86_64__)
    if (jangtq::has_avx512()) {
        const bool has_bytes = __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni");
        isas.push_back({"avx512", jangtq::avx512::forward,
                        has_bytes ? jangtq::avx512_int8::forward : jangtq::avx2_int8::forward,
                        has_bytes ? &jangtq::avx512::dense : &jangtq::avx2::dense});
    }
    if (jangtq::has_avx2())
        isas.push_back({"avx2", jangtq::avx2::forward, jangtq::avx2_int8::forward, &jangtq::avx2::dense});
#elif defined(__aarch64__)
    isas.push_back({"neon", jangtq::neon::forward, jangtq::neon_int8::forward, &jangtq::neon::dense});
#endif
    isas.push_back(
        {"portable", jangtq::portable::forward, jangtq::portable_int8::forward, &jangtq::portable::dense});
    return isas;
}

}  // namespace

extern "C" {

JangtqPool* jangtq_open_pool(int64_t threads, const char* isa, int32_t int8, const char* vendor) {
    if (threads < 1) return nullptr;
    try {
        const std::string made_by = vendor == nullptr ? jangtq::processor_vendor() : vendor;
        for (const Isa& each : available_isas())
            if (isa == nullptr || std::strcmp(isa, each.name) == 0)
                return new JangtqPool(threads, each, int8 != 0, jangtq::prefetch_of_single_rows(made_by));
    } catch (const std::exception&) {
    }
    return nullptr;
}

void jangtq_close_pool(JangtqPool* pool) { delete pool; }

const char* jangtq_isas() {
    static const std::string names = [] {
        std::string joined;
        for (const Isa& isa : available_isas()) joined += (joined.empty() ? "" : ",") + std::string(isa.name);
        return joined;
    }();
    return names.c_str();
}

}
