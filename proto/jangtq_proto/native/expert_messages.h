// Expert calls and answers as protobuf writes them. Read is only what is written so, each field at most once and in
// order: whatever else protobuf would understand is left to it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace jangtq {

// Numbers of enums are int32.
constexpr uint32_t kMostEnum = INT32_MAX;

struct Bytes {
    const uint8_t* start = nullptr;
    size_t size = 0;
};

// The fields of an ExpertCall, as they are there; nothing is checked but that the numbers fit.
struct CallMessage {
    uint64_t call_id = 0;
    uint32_t layer = 0, row_count = 0, slot_count = 0, row_type = 0, prefill = 0;
    Bytes rows, expert_ids, router_weights, exponents;
};

// Reads one field after the other; a field that is not there leaves its value alone.
class MessageReader {
   public:
    explicit MessageReader(Bytes message) : at_(message.start), left_(message.size) {}

    // False for a number that the type of the value does not hold, or is above the most that is allowed.
    template <typename Number>
    bool read_number(uint8_t tag, Number& value, Number most = static_cast<Number>(-1)) {
        uint64_t read = 0;
        if (!is_next(tag)) return true;
        if (!read_varint(read) || read > most) return false;
        value = static_cast<Number>(read);
        return true;
    }

    bool read_bytes(uint8_t tag, Bytes& value) {
        uint64_t size = 0;
        if (!is_next(tag)) return true;
        if (!read_varint(size) || size > left_) return false;
        value = {at_, static_cast<size_t>(size)};
        skip(value.size);
        return true;
    }

    bool read_fixed(uint8_t tag, uint32_t& value) {
        if (!is_next(tag)) return true;
        if (left_ < sizeof value) return false;
        value = 0;
        for (int shift = 0; shift < 32; shift += 8, skip(1)) value |= uint32_t{*at_} << shift;
        return true;
    }

    bool is_at_end() const { return left_ == 0; }

   private:
    bool is_next(uint8_t tag) {
        if (left_ == 0 || *at_ != tag) return false;
        skip(1);
        return true;
    }

    bool read_varint(uint64_t& value) {
        value = 0;
        for (unsigned shift = 0; shift < 64 && left_ > 0; shift += 7) {
            const uint64_t septet = *at_ & 0x7F;
            const bool more = *at_ & 0x80;
            skip(1);
            if (shift == 63 && septet > 1) return false;
            value |= septet << shift;
            if (!more) return true;
        }
        return false;
    }

    void skip(size_t count) {
        at_ += count;
        left_ -= count;
    }

    const uint8_t* at_;
    size_t left_;
};

inline bool read_call(Bytes message, CallMessage& call) {
    MessageReader reader(message);
    return reader.read_number(0x08, call.call_id) && reader.read_number(0x10, call.layer) &&
           reader.read_number(0x18, call.row_count) && reader.read_number(0x20, call.slot_count) &&
           reader.read_number(0x28, call.row_type, kMostEnum) && reader.read_bytes(0x32, call.rows) &&
           reader.read_bytes(0x3A, call.expert_ids) && reader.read_bytes(0x42, call.router_weights) &&
           reader.read_bytes(0x4A, call.exponents) && reader.read_number(0x50, call.prefill, 1u) &&
           reader.is_at_end();
}

// The fields of an ExpertReply with partial sums.
struct ReplyMessage {
    uint64_t call_id = 0, queue_ns = 0, compute_ns = 0;
    Bytes partial_sums, finest;
    uint32_t checksum = 0;
};

inline bool read_reply(Bytes message, ReplyMessage& reply) {
    MessageReader reader(message);
    return reader.read_number(0x08, reply.call_id) && reader.read_bytes(0x12, reply.partial_sums) &&
           reader.read_number(0x20, reply.queue_ns) && reader.read_number(0x28, reply.compute_ns) &&
           reader.read_bytes(0x32, reply.finest) && reader.read_fixed(0x3D, reply.checksum) && reader.is_at_end();
}

class MessageWriter {
   public:
    explicit MessageWriter(uint8_t* start) : start_(start), at_(start) {}

    void write_number(uint8_t tag, uint64_t value) {
        if (value == 0) return;
        *at_++ = tag;
        write_varint(value);
    }

    void write_bytes(uint8_t tag, Bytes value) {
        begin_bytes(tag, value.size);
        append(value);
    }

    // So many bytes follow, by one or more appends.
    void begin_bytes(uint8_t tag, size_t size) {
        *at_++ = tag;
        write_varint(size);
    }

    void append(Bytes piece) {
        if (piece.size != 0) std::memcpy(at_, piece.start, piece.size);
        at_ += piece.size;
    }

    void write_fixed(uint8_t tag, uint32_t value) {
        if (value == 0) return;
        *at_++ = tag;
        for (int shift = 0; shift < 32; shift += 8) *at_++ = static_cast<uint8_t>(value >> shift);
    }

    size_t size() const { return static_cast<size_t>(at_ - start_); }

   private:
    void write_varint(uint64_t value) {
        for (; value > 0x7F; value >>= 7) *at_++ = static_cast<uint8_t>(value | 0x80);
        *at_++ = static_cast<uint8_t>(value);
    }

    uint8_t* start_;
    uint8_t* at_;
};

// Bytes of the longest call of so many rows and slots: ten tags and nine varints are around its arrays.
constexpr size_t most_call_bytes(int64_t rows, int64_t slots, int64_t hidden_size) {
    return static_cast<size_t>(rows * (hidden_size * 4 + slots * 8 + 1)) + 10 + 9 * 10 + 1;
}

// Bytes of the longest reply to so many rows: six tags, five varints and the checksum are around its arrays.
constexpr size_t most_reply_bytes(int64_t rows, int64_t hidden_size) {
    return static_cast<size_t>(rows * (hidden_size * 4 + 1)) + 6 + 5 * 10 + 4;
}

// Returns how many bytes it wrote.
inline size_t write_reply(const ReplyMessage& reply, uint8_t* into) {
    MessageWriter writer(into);
    writer.write_number(0x08, reply.call_id);
    writer.write_bytes(0x12, reply.partial_sums);
    writer.write_number(0x20, reply.queue_ns);
    writer.write_number(0x28, reply.compute_ns);
    if (reply.finest.size != 0) writer.write_bytes(0x32, reply.finest);
    writer.write_fixed(0x3D, reply.checksum);
    return writer.size();
}

}  // namespace jangtq
