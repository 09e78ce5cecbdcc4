// Who computes, and which layers there are: what Python and native threads share of a worker.
#pragma once

#include <atomic>
#include <mutex>
#include <vector>

#include "answers.h"

struct JangtqAdmission {
    JangtqAdmission(int64_t layer_count, int64_t hidden_size) : layer_count(layer_count), hidden_size(hidden_size) {}
    const int64_t layer_count;
    const int64_t hidden_size;
    std::mutex device;  // held by whoever computes natively, and while layers are changed
    std::vector<JangtqNativeLayer> layers;
    std::vector<float> rows;              // of a call, where they did not come as the kernel wants them
    std::vector<int32_t> expert_ids;      // the same
    std::vector<float> router_weights;    // the same
    std::atomic<bool> is_open{false};
    std::atomic<int64_t> wanted{0}, in_flight{0}, total{0}, computing{0};
};

namespace jangtq {

// Longer calls compute so long that what the interpreter adds is nothing, and their answers take much memory.
constexpr int64_t kMostRows = 64;

// One call more that is not answered yet; `drain` waits for it.
class InFlight {
   public:
    explicit InFlight(JangtqAdmission& admission) : admission_(admission) { ++admission_.in_flight; }
    ~InFlight() { --admission_.in_flight; }
    InFlight(const InFlight&) = delete;
    InFlight& operator=(const InFlight&) = delete;

   private:
    JangtqAdmission& admission_;
};

// The device for as long as this lives, if it is free and nobody wants it. Counts before it looks, as whoever wants
// the device does, so that one of the two sees the other.
class Turn {
   public:
    explicit Turn(JangtqAdmission& admission) : admission_(admission), device_(admission.device, std::try_to_lock) {
        if (!device_) return;
        ++admission_.computing;
        is_mine_ = admission_.is_open && admission_.wanted == 0;
    }
    ~Turn() {
        if (device_) --admission_.computing;
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

    explicit operator bool() const { return is_mine_; }

   private:
    JangtqAdmission& admission_;
    std::unique_lock<std::mutex> device_;
    bool is_mine_ = false;
};

}  // namespace jangtq
