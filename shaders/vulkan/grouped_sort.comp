/* shaders/vulkan/grouped_sort.comp: grouped_matmul of many tokens, before the products: puts pairs (token, slot)
 * in order by expert and lists the tiles. One workgroup for each expert and one for the pairs without; each
 * counts all pairs, so that none waits for another.
 *
 * An expert's pairs follow in order of their numbers: a stable counting sort. args.extra as in
 * grouped_work.glsl. Specialization constant 1: experts + 1, or more. */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "grouped_work.glsl"

layout(constant_id = 1) const uint EXPERTS = 64;

shared uint counts[EXPERTS];
shared uint slices[gl_WorkGroupSize.x];
shared uint begin, first_tile; /* of this expert */

uint tiles_of(uint pairs) {
    return (pairs + GROUPED_COLUMNS - 1u) / GROUPED_COLUMNS;
}

void count_pairs(uint pairs, uint experts) {
    const uint t = gl_LocalInvocationIndex, threads = gl_WorkGroupSize.x;
    [[dont_unroll]] for (uint e = t; e <= experts; e += threads)
        counts[e] = 0u;
    if (t == 0u) begin = first_tile = 0u;
    barrier();
    [[dont_unroll]] for (uint i = t; i < pairs; i += threads)
        atomicAdd(counts[grouped_expert(i)], 1u);
    barrier();
}

void add_those_before(uint expert) {
    uint pairs = 0u, tiles = 0u;
    [[dont_unroll]] for (uint e = gl_LocalInvocationIndex; e < expert; e += gl_WorkGroupSize.x) {
        pairs += counts[e];
        tiles += tiles_of(counts[e]);
    }
    atomicAdd(begin, pairs);
    atomicAdd(first_tile, tiles);
    barrier();
}

/* Each thread has a slice of consecutive pairs. */
void write_order(uint expert, uint pairs) {
    const uint t = gl_LocalInvocationIndex, threads = gl_WorkGroupSize.x;
    const uint slice = (pairs + threads - 1u) / threads;
    const uint from = min(t * slice, pairs), to = min(from + slice, pairs);
    uint mine = 0u;
    [[dont_unroll]] for (uint i = from; i < to; i++)
        mine += uint(grouped_expert(i) == expert);
    slices[t] = mine;
    barrier();
    if (mine == 0u) return;
    uint at = begin;
    [[dont_unroll]] for (uint j = 0u; j < t; j++)
        at += slices[j];
    [[dont_unroll]] for (uint i = from; i < to; i++) {
        if (grouped_expert(i) == expert) Words(grouped_order()).v[at++] = i;
    }
}

void write_tiles(uint expert) {
    const uint count = counts[expert], tiles = tiles_of(count);
    [[dont_unroll]] for (uint i = gl_LocalInvocationIndex; i < tiles; i += gl_WorkGroupSize.x) {
        const uint done = i * GROUPED_COLUMNS;
        Quads(grouped_tiles()).v[first_tile + i] =
            uvec4(expert, begin + done, min(count - done, GROUPED_COLUMNS), 0u);
    }
}

void main() {
    const uint expert = hy_group(), experts = grouped_experts();
    if (expert > experts) return;
    const uint pairs = grouped_pairs();
    count_pairs(pairs, experts);
    add_those_before(expert);
    if (expert == experts && gl_LocalInvocationIndex == 0u)
        Words(grouped_work()).v[0] = first_tile + tiles_of(counts[expert]);
    if (counts[expert] == 0u) return;
    write_tiles(expert);
    write_order(expert, pairs);
}
