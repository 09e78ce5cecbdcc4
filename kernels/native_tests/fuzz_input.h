// What a fuzz target makes of bytes. Where there is no libFuzzer, JANGTQ_OWN_MAIN brings a main that draws them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

// Hands out the input piece by piece, then zeros.
class Input {
   public:
    Input(const uint8_t* data, size_t size) : data_(data), left_(size) {}

    int64_t number(int64_t least, int64_t most) {
        return least + take<uint16_t>() % (most - least + 1);
    }

    template <typename T>
    T take() {
        T value{};
        const size_t size = std::min(left_, sizeof value);
        if (size > 0) std::memcpy(&value, data_, size);
        data_ += size;
        left_ -= size;
        return value;
    }

    template <typename T>
    std::vector<T> values(int64_t count) {
        std::vector<T> result(static_cast<size_t>(count));
        for (auto& value : result) value = take<T>();
        return result;
    }

   private:
    const uint8_t* data_;
    size_t left_;
};

#ifdef JANGTQ_OWN_MAIN
int main(int count, char** arguments) {
    std::mt19937 draw(7);
    for (int runs = count > 1 ? std::atoi(arguments[1]) : 1000; runs > 0; --runs) {
        std::vector<uint8_t> bytes(draw() % 4096);
        for (auto& byte : bytes) byte = static_cast<uint8_t>(draw());
        LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
    }
}
#endif
