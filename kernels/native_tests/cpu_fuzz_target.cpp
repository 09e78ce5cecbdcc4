// The native kernel's entry points on whatever bytes come, in buffers of exactly the sizes that experts.h asks for.
// Built with libFuzzer and sanitizers; where there is no libFuzzer, with a main that draws the bytes.
#include <cstdlib>
#include <string>
#include <vector>

#include "experts.h"
#include "fuzz_input.h"
#include "layout.h"

namespace {

struct Matrix {
    Matrix(Input& input, int64_t experts, int64_t out, int64_t in, int64_t bits)
        : bits(bits),
          words(jangtq::words_of(in, bits)),
          codes(static_cast<size_t>(experts * jangtq::padded_out(out) * words)),
          norms(input.values<uint16_t>(experts * out)),
          codebook(input.values<float>(int64_t{1} << bits)),
          signs(static_cast<size_t>(in), 1.0f),
          view{codes.data(), norms.data(), codebook.data(), signs.data(), out, in, bits} {
        for (int64_t expert = 0; expert < experts; ++expert) {
            const std::vector<uint32_t> bundle = input.values<uint32_t>(out * words);
            jangtq_lay_out(bundle.data(), codes.data() + expert * jangtq::padded_out(out) * words, out, words);
        }
    }
    int64_t bits, words;
    std::vector<uint32_t> codes;
    std::vector<uint16_t> norms;
    std::vector<float> codebook, signs;
    JangtqMatrix view;
};

// Now and then, and by one member, makes a layer that must be refused before anything of it is read.
bool spoil(Input& input, JangtqLayer& layer) {
    int64_t* const numbers[] = {&layer.gate.bits, &layer.gate.in, &layer.gate.out, &layer.up.bits, &layer.up.in,
                                &layer.up.out,    &layer.down.in, &layer.down.out};
    switch (input.number(0, 15)) {
        case 0: layer.up.codebook = layer.down.codebook; return true;
        case 1: layer.up.signs = layer.down.signs; return true;
        case 2: layer.down.bits = input.number(0, 1) ? input.number(5, 70) : 1 - input.number(0, 70); return true;
        case 3: *numbers[input.number(0, 7)] += input.number(1, 60'000); return true;
        default: return false;
    }
}

// Of two threads each, so that rows and experts are shared out.
std::vector<JangtqPool*> open_pools() {
    std::vector<JangtqPool*> pools;
    const std::string names = std::string(jangtq_isas()) + ",";
    for (size_t start = 0, end; (end = names.find(',', start)) != std::string::npos; start = end + 1)
        for (const int32_t int8 : {0, 1})
            for (const char* vendor : {"GenuineIntel", "AuthenticAMD"})
                pools.push_back(jangtq_open_pool(2, names.substr(start, end - start).c_str(), int8, vendor));
    return pools;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const std::vector<JangtqPool*> pools = open_pools();
    Input input(data, size);
    JangtqPool* pool = pools[input.number(0, static_cast<int64_t>(pools.size()) - 1)];
    const int64_t hidden = input.number(1, 40), intermediate = input.number(1, 40), experts = input.number(1, 3);
    const int64_t rows = input.number(0, 9), slots = input.number(0, 5);
    std::vector<int32_t> positions(static_cast<size_t>(input.number(0, 6)));
    for (auto& position : positions) position = static_cast<int32_t>(input.number(-1, experts - 1));
    auto ids = input.values<int8_t>(rows * slots);
    std::vector<int32_t> expert_ids(ids.begin(), ids.end());
    if (!expert_ids.empty() && input.number(0, 3) == 0) expert_ids.back() = input.take<int32_t>();
    const auto weights = input.values<float>(rows * slots);
    const auto exponents = input.values<int8_t>(rows);
    const auto x = input.values<float>(rows * hidden);
    const int64_t bits = input.number(2, 4);
    Matrix gate(input, experts, intermediate, hidden, bits), up(input, experts, intermediate, hidden, bits);
    Matrix down(input, experts, hidden, intermediate, input.number(2, 4));
    JangtqLayer layer{gate.view,        up.view, down.view, experts, positions.data(),
                      static_cast<int64_t>(positions.size())};
    layer.up.codebook = layer.gate.codebook;
    layer.up.signs = layer.gate.signs;
    const bool unfit = spoil(input, layer);
    std::vector<int32_t> sums(x.size());
    std::vector<int8_t> finest(exponents.size());
    const JangtqCall call{x.data(), expert_ids.data(), weights.data(), exponents.data(),
                          rows,     slots,             sums.data(),    finest.data()};
    int64_t offender = 0;
    const int32_t status = jangtq_forward(pool, &layer, &call, &offender);
    if (status < JANGTQ_OK || status > JANGTQ_MATRICES_UNFIT) std::abort();
    if (unfit != (status == JANGTQ_MATRICES_UNFIT)) std::abort();
    return 0;
}
