// How frames of the express lane begin, as in jangtq_proto.wire.frames.
#pragma once

#include <cstdint>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "frames are copied as they lie in memory");

namespace jangtq {

// Of the length with which a frame begins; it counts the bytes after it.
constexpr uint32_t kLengthBytes = 4;

#pragma pack(push, 1)
struct CallHead {
    uint32_t length, layer;
    uint64_t call_id;
    uint32_t row_count, slot_count, row_type, prefill, weights_bytes, ids_bytes, rows_bytes, exponents_bytes;
};
struct AnswerHead {
    uint32_t length, status;
    uint64_t call_id, queue_ns, compute_ns;
    uint32_t checksum;
};
#pragma pack(pop)
static_assert(sizeof(CallHead) == 48 && sizeof(AnswerHead) == 36, "as struct.Struct packs them");

}  // namespace jangtq
