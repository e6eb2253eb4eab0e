/* shaders/vulkan/topk.comp: the k largest of each row, largest first, ties to the lower column, NaN last. One
 * workgroup a row, any k up to the row's length.
 *
 * In rounds of `want` places, at most WANT, below those already found: a `floor` with at least want and at most
 * ROOM places at or above it; those into a list; sort; the first `want` are the answer. The floor is the want-th
 * largest of the threads' own largest places: as columns go around the threads by fours, about as many as are
 * wanted are above it, whatever the distribution. Only where few threads hold most of the large elements may
 * they exceed ROOM; then bits are added to the floor from the top, by counting, as long as want places remain
 * above it and until they fit. A usual round reads the row twice. */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "keys.glsl"

#define WANT 128u
#define ROOM 1024u
#define STEP (4u * gl_WorkGroupSize.x)

shared uvec2 list[ROOM];
shared uint held; /* what the list would hold if there were room */

struct row_in {
    uvec2 address;
    uint dtype, columns;
    uvec2 ceiling; /* places from here on are done */
};

uvec2 place_of(float x, uint column) {
    return uvec2(hy_key(x), ~column);
}

/* The largest place that this thread sees below the ceiling; {0, 0}: none. */
uvec2 own_best(row_in r) {
    uvec2 best = uvec2(0u);
    [[dont_unroll]] for (uint i = 4u * gl_LocalInvocationID.x; i < r.columns; i += STEP) {
        const vec4 v = hy_load4(r.dtype, r.address, i, r.columns);
        [[dont_unroll]] for (uint j = 0u; j < min(4u, r.columns - i); j++) {
            const uvec2 place = place_of(v[j], i + j);
            if (hy_above(place, best) && hy_above(r.ceiling, place)) best = place;
        }
    }
    return best;
}

/* Adds the places in [floor_, ceiling) to `held` and, where `keep`, the first ROOM of them to the list. */
void collect(row_in r, uvec2 floor_, bool keep) {
    barrier();
    if (gl_LocalInvocationID.x == 0u) held = 0u;
    barrier();
    uint own = 0u;
    [[dont_unroll]] for (uint i = 4u * gl_LocalInvocationID.x; i < r.columns; i += STEP) {
        const vec4 v = hy_load4(r.dtype, r.address, i, r.columns);
        [[dont_unroll]] for (uint j = 0u; j < min(4u, r.columns - i); j++) {
            const uvec2 place = place_of(v[j], i + j);
            if (hy_above(floor_, place) || !hy_above(r.ceiling, place)) continue;
            if (!keep) {
                own++;
                continue;
            }
            const uint at = atomicAdd(held, 1u);
            if (at < ROOM) list[at] = place;
        }
    }
    if (!keep) atomicAdd(held, own);
    barrier();
}

/* Sorts the list's first n, a power of two, largest first: Batcher's bitonic network. */
void sort(uint n) {
    [[dont_unroll]] for (uint size = 2u; size <= n; size *= 2u) {
        [[dont_unroll]] for (uint gap = size / 2u; gap > 0u; gap /= 2u) {
            barrier();
            uint p = gl_LocalInvocationID.x;
            [[dont_unroll]] for (; p < n / 2u; p += gl_WorkGroupSize.x) {
                const uint low = 2u * p - (p & gap - 1u), high = low + gap;
                const uvec2 a = list[low], b = list[high];
                if (hy_above(b, a) == ((low & size) == 0u)) {
                    list[low] = b;
                    list[high] = a;
                }
            }
        }
    }
    barrier();
}

/* Fills list[count .. n) with what sorts last; n the power of two that is returned. */
uint pad(uint count) {
    const uint n = count < 2u ? 2u : 2u << findMSB(count - 1u);
    for (uint p = count + gl_LocalInvocationID.x; p < n; p += gl_WorkGroupSize.x)
        list[p] = uvec2(0u);
    return n;
}

/* The want-th largest of the threads' largest; {0, 0} where that is not known to be low enough. */
uvec2 guess_floor(row_in r, uint want) {
    if (r.columns <= ROOM || want > gl_WorkGroupSize.x) return uvec2(0u);
    list[gl_LocalInvocationID.x] = own_best(r);
    sort(gl_WorkGroupSize.x);
    return list[want - 1u];
}

/* Raises the floor until no more than ROOM places are above it, and at least `want`. Places end in ~column,
 * of which only the bits that columns have differ. */
uvec2 raise_floor(row_in r, uint want) {
    uvec2 floor_ = uvec2(0u);
    [[dont_unroll]] for (uint bit = 0u; bit < 64u; bit++) {
        uvec2 next = floor_;
        if (bit < 32u)
            next.x |= 0x80000000u >> bit;
        else
            next.y |= 0x80000000u >> bit - 32u;
        collect(r, next, false);
        if (held < want) continue;
        floor_ = next;
        if (held <= ROOM) break;
    }
    return floor_;
}

void main() {
    const uint row = hy_group(), t = gl_LocalInvocationID.x, k = ARGS.word[HY_TOPK_ATTR_k];
    if (row >= hy_count(HY_TOPK_x)) return;
    row_in r = row_in(hy_row(HY_TOPK_x, row), hy_dtype(HY_TOPK_x), hy_columns(HY_TOPK_x),
                      uvec2(0xffffffffu));
    const uvec2 values = hy_row(HY_TOPK_values, row), ids = hy_row(HY_TOPK_ids, row);
    [[dont_unroll]] for (uint done = 0u; done < k; done += WANT) {
        const uint want = min(WANT, k - done);
        collect(r, guess_floor(r, want), true);
        if (held > ROOM) collect(r, raise_floor(r, want), true);
        sort(pad(held));
        [[dont_unroll]] for (uint p = t; p < want; p += gl_WorkGroupSize.x) {
            const uint column = ~list[p].y;
            Words(ids).v[done + p] = column;
            Floats(values).v[done + p] = hy_load(r.dtype, r.address, column);
        }
        r.ceiling = list[want - 1u];
        barrier(); /* before the list is filled anew */
    }
}
