/* shaders/vulkan/kv_write.comp: HY_OP_KV_WRITE: keys and values of new tokens into cache pages, and queries: normed
 * and rotated where asked. ROPE_LANES threads for each (token, head), heads in the order keys, values, queries.
 * args.extra: none. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "rope.glsl"

/* Eight neighbouring threads have one block of 32 of a planar row: int8 at `numbers`, scale at `scale_at`. All
 * threads of the workgroup call it together; `live` false: no block here. */
void store_block(bool live, uvec2 numbers, uvec2 scale_at, vec4 v) {
    const uint t = gl_LocalInvocationID.x, first = t & ~7u;
    a8_most[t] = max(max(hy_a8_magnitude(v.x), hy_a8_magnitude(v.y)),
                     max(hy_a8_magnitude(v.z), hy_a8_magnitude(v.w)));
    barrier();
    uint most = a8_most[first];
    [[dont_unroll]] for (uint j = 1u; j < 8u; j++)
        most = max(most, a8_most[first + j]);
    barrier();
    if (!live) return;
    const float scale = hy_a8_scale(uintBitsToFloat(most));
    uint word = 0u;
    [[dont_unroll]] for (uint j = 0u; j < 4u; j++)
        word |= (uint(hy_a8_quantize(v[j], scale)) & 0xffu) << 8u * j;
    if ((numbers.x & 3u) == 0u) {
        Words(numbers).v[0] = word;
    } else { /* pages of an odd number of halves */
        hy_store_half(numbers, word & 0xffffu);
        hy_store_half(hy_add(numbers, 2u), word >> 16);
    }
    if (t == first) hy_store_half(scale_at, hy_to_f16(scale));
}

void store_planar(bool live, uint cache, uint slot, uint head, rope_plan p, uint most_columns) {
    const uint length = OPERAND(cache).dim[2], columns = hy_columns(cache), numbers = length * columns;
    const uint page = slot / length * OPERAND(cache).dim[1] + head, index = slot % length;
    const uvec2 at = hy_advance(OPERAND(cache).address, page, numbers + numbers / 16u);
    const uvec2 row = hy_add(at, index * columns);
    const uvec2 scales = hy_add(at, numbers + index * (columns / 32u) * 2u);
    [[dont_unroll]] for (uint first = 0u; first < most_columns; first += 4u * ROPE_LANES) {
        const uint i = first + 4u * rope_lane();
        const bool inside = live && i < columns;
        vec4 v = vec4(0.0);
        if (inside) v = rope_four(p, i, columns);
        store_block(inside, hy_add(row, i), hy_add(scales, i / 32u * 2u), v);
    }
}

void store_floats(uint dtype, uvec2 row, uint columns, rope_plan p) {
    [[dont_unroll]] for (uint i = 4u * rope_lane(); i < columns; i += 4u * ROPE_LANES)
        hy_store4(dtype, row, i, columns, rope_four(p, i, columns));
}

uvec2 cache_row(uint cache, uint slot, uint head) {
    const uint length = OPERAND(cache).dim[2], size = hy_size(hy_dtype(cache));
    const uvec2 page =
        hy_advance(OPERAND(cache).address, slot / length, OPERAND(cache).stride[0] * size);
    return hy_advance(hy_advance(page, head, OPERAND(cache).stride[1] * size), slot % length,
                      OPERAND(cache).stride[2] * size);
}

void main() {
    const uint kv_heads = OPERAND(HY_KV_WRITE_k).dim[1];
    const uint heads =
        2u * kv_heads + (hy_present(HY_KV_WRITE_q) ? OPERAND(HY_KV_WRITE_q).dim[1] : 0u);
    const uint items = hy_count(HY_KV_WRITE_k) * heads, first = hy_group() * HEADS;
    const uint item = first + rope_place(), t = item / heads, head = item % heads;
    if (first >= items) return;
    const bool is_q = head >= 2u * kv_heads, is_v = !is_q && head >= kv_heads;
    const uint from = is_q ? HY_KV_WRITE_q : is_v ? HY_KV_WRITE_v : HY_KV_WRITE_k;
    const uint to = is_q ? HY_KV_WRITE_q_out : is_v ? HY_KV_WRITE_v_cache : HY_KV_WRITE_k_cache;
    const uint norm = is_q ? HY_KV_WRITE_q_norm : HY_KV_WRITE_k_norm;
    const uint index = is_q ? head - 2u * kv_heads : is_v ? head - kv_heads : head;
    const uint columns = hy_columns(from);
    const uint slots = OPERAND(HY_KV_WRITE_k_cache).dim[0] * OPERAND(HY_KV_WRITE_k_cache).dim[2];
    uint slot = 0u;
    bool live = item < items;
    if (live && !is_q) {
        slot = Words(OPERAND(HY_KV_WRITE_slot).address).v[t];
        live = slot < slots; /* not -1 */
    }
    if (live) rope_load(hy_dtype(from), hy_row(from, t * OPERAND(from).dim[1] + index), columns);
    barrier();
    rope_plan p;
    p.normed = !is_v && hy_present(norm);
    p.weight = OPERAND(norm).address;
    p.scale = 1.0;
    if (p.normed && live) p.scale = rope_norm(columns, uintBitsToFloat(ARGS.word[HY_KV_WRITE_ATTR_eps]));
    p.turned = !is_v && hy_present(HY_KV_WRITE_table) ? hy_columns(HY_KV_WRITE_table) : 0u;
    p.pairs = ARGS.word[HY_KV_WRITE_ATTR_style] == HY_ROPE_PAIRS;
    p.table = p.turned != 0u ? hy_row(HY_KV_WRITE_table, t) : uvec2(0u);
    const uint dtype = hy_dtype(to);
    if (live && dtype != HY_DTYPE_Q8_0) {
        const uvec2 row = is_q ? hy_row(to, t * OPERAND(to).dim[1] + index) : cache_row(to, slot, index);
        store_floats(dtype, row, columns, p);
    }
    const bool planar = hy_dtype(HY_KV_WRITE_k_cache) == HY_DTYPE_Q8_0 ||
                        hy_dtype(HY_KV_WRITE_v_cache) == HY_DTYPE_Q8_0;
    if (planar) /* the same for all threads, as the blocks are made together */
        store_planar(live && dtype == HY_DTYPE_Q8_0, is_v ? HY_KV_WRITE_v_cache : HY_KV_WRITE_k_cache, slot,
                     index, p, max(hy_columns(HY_KV_WRITE_k), hy_columns(HY_KV_WRITE_v)));
}
