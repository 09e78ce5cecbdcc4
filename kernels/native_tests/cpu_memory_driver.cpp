// Runs the native kernel on buffers of exactly the sizes that experts.h asks for, to be compiled with sanitizers.
// Prints the number of forwards; a sanitizer, a wrong status or a bit in which instruction sets or ways to prefetch
// differ end it with an error.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "experts.h"
#include "layout.h"

namespace {

struct Sums {
    std::vector<int32_t> values;
    std::vector<int8_t> finest;
    bool operator==(const Sums& other) const { return values == other.values && finest == other.finest; }
};

std::mt19937 random_bits;

float random_float() { return static_cast<float>(random_bits() % 2001) / 1000.0f - 1.0f; }

struct Matrix {
    Matrix(int64_t experts, int64_t out, int64_t in, int64_t bits)
        : words(jangtq::words_of(in, bits)),
          codes(static_cast<size_t>(experts * jangtq::padded_out(out) * words)),
          norms(static_cast<size_t>(experts * out), 0x3c00),
          codebook(size_t{1} << bits),
          signs(static_cast<size_t>(in), -1.0f),
          view{codes.data(), norms.data(), codebook.data(), signs.data(), out, in, bits} {
        std::vector<uint32_t> bundle(static_cast<size_t>(out * words));
        for (auto& word : bundle) word = random_bits();
        for (auto& value : codebook) value = random_float();
        for (int64_t expert = 0; expert < experts; ++expert)
            jangtq_lay_out(bundle.data(), codes.data() + expert * jangtq::padded_out(out) * words, out, words);
    }
    int64_t words;
    std::vector<uint32_t> codes;
    std::vector<uint16_t> norms;
    std::vector<float> codebook, signs;
    JangtqMatrix view;
};

void expect(int32_t status, int32_t expected) {
    if (status == expected) return;
    std::fprintf(stderr, "status %d, expected %d\n", status, expected);
    std::exit(1);
}

// The same for every pool, so that instruction sets can be compared.
Sums run_forwards(JangtqPool* pool, int64_t hidden, int64_t intermediate, int64_t bits, int64_t rows) {
    random_bits.seed(7);
    constexpr int64_t kExperts = 3, kSlots = 2;
    Matrix gate(kExperts, intermediate, hidden, bits), up(kExperts, intermediate, hidden, bits);
    Matrix down(kExperts, hidden, intermediate, 6 - bits);
    const std::vector<int32_t> positions{-1, 2, 0, -1, 1};
    up.view.codebook = gate.view.codebook;
    up.view.signs = gate.view.signs;
    const JangtqLayer layer{gate.view, up.view, down.view, kExperts, positions.data(), 5};
    std::vector<float> x(static_cast<size_t>(rows * hidden));
    const std::vector<int8_t> exponents(static_cast<size_t>(rows), -18);
    Sums sums{std::vector<int32_t>(x.size()), exponents}, refused = sums;
    for (auto& value : x) value = random_float();
    std::vector<float> weights(static_cast<size_t>(rows * kSlots), 0.5f);
    std::vector<int32_t> ids(weights.size());
    const int32_t choices[] = {1, 2, 4, -1};
    for (auto& id : ids) id = choices[random_bits() % 4];
    JangtqCall call{x.data(), ids.data(), weights.data(), exponents.data(), rows, kSlots, sums.values.data(),
                    sums.finest.data()};
    int64_t offender = 0;
    expect(jangtq_forward(pool, &layer, &call, &offender), JANGTQ_OK);
    call.sums = refused.values.data();
    call.finest = refused.finest.data();
    for (const int32_t foreign : {0, 3, 5, -2, 2147483647, -2147483647}) {
        if (rows == 0) break;
        const int32_t kept = ids.back();
        ids.back() = foreign;
        expect(jangtq_forward(pool, &layer, &call, &offender), JANGTQ_FOREIGN_EXPERT);
        ids.back() = kept;
    }
    return sums;
}

void compare(const Sums& sums, const Sums& first) {
    if (sums == first) return;
    std::fprintf(stderr, "instruction sets or ways to prefetch differ\n");
    std::exit(1);
}

struct Shape {
    int64_t hidden, intermediate;
};

// Every width of codes and batch.
std::vector<Sums> run_all(JangtqPool* pool, const std::vector<Shape>& shapes) {
    std::vector<Sums> sums;
    for (const Shape& shape : shapes)
        for (const int64_t bits : {2, 3, 4})
            for (const int64_t rows : {0, 1, 3, 40})
                sums.push_back(run_forwards(pool, shape.hidden, shape.intermediate, bits, rows));
    return sums;
}

}  // namespace

// arguments: the shapes to try, as hidden and intermediate size, such as 330x33.
int main(int count, char** arguments) {
    std::vector<Shape> shapes;
    for (int index = 1; index < count; ++index) {
        const std::string given = arguments[index];
        shapes.push_back({std::stoll(given), std::stoll(given.substr(given.find('x') + 1))});
    }
    const std::string names = jangtq_isas();
    size_t forwards = 0;
    std::vector<Sums> of_first[2];
    for (size_t start = 0; start < names.size();) {
        const size_t end = std::min(names.find(',', start), names.size());
        for (const int32_t int8 : {0, 1})
            for (const char* vendor : {"GenuineIntel", "AuthenticAMD"}) {
                JangtqPool* pool = jangtq_open_pool(3, names.substr(start, end - start).c_str(), int8, vendor);
                if (pool == nullptr) return 1;
                const std::vector<Sums> sums = run_all(pool, shapes);
                if (of_first[int8].empty()) of_first[int8] = sums;
                for (size_t request = 0; request < sums.size(); ++request)
                    compare(sums[request], of_first[int8][request]);
                forwards += sums.size();
                jangtq_close_pool(pool);
            }
        start = end + 1;
    }
    if (jangtq_open_pool(2, "unknown", 0, nullptr) != nullptr) return 1;
    if (jangtq_open_pool(0, nullptr, 0, nullptr) != nullptr) return 1;
    std::printf("%zu\n", forwards);
    return 0;
}
