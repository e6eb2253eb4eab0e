/* shaders/simt/topk.cu: argmax and topk. One workgroup a row.
 *
 * argmax: the column of the largest element, ties to the lowest, NaN passed over; 0 for a row of NaN alone.
 *
 * topk: the k largest, largest first, ties to the lower column, NaN last, any k up to the row's length. In rounds of
 * `want` places, at most WANT, below those already found: a `floor` with at least want and at most ROOM places at or
 * above it; those into a list; sort; the first `want` are the answer. The floor is the want-th largest of the threads'
 * own largest places: as columns go around the threads by fours, about as many as are wanted are above it, whatever the
 * distribution. Only where few threads hold most of the large elements may they exceed ROOM; then bits are added to the
 * floor from the top, by counting, as long as want places remain above it and until they fit. A usual round reads the
 * row twice. */
#include "shaders/simt/keys.h"

#define WANT 128u
#define ROOM 1024u

struct row_in {
    const u8 *x;
    u32 dtype, columns;
    u64 ceiling; /* places from here on are done */
};

struct found {
    u64 list[ROOM];
    u32 held; /* what the list would hold if there were room */
};

/* The largest place that this thread sees below the ceiling; 0: none. */
HY_DEVICE u64 own_best(const row_in &r) {
    u64 best = 0;
    HY_NO_UNROLL for (u32 i = 4u * hy_thread(); i < r.columns; i += 4u * hy_threads()) {
        const f32x4 v = hy_load4(r.dtype, r.x, i, r.columns);
        HY_UNROLL for (u32 j = 0; j < 4u; j++) {
            const u64 place = hy_place(v.v[j], i + j);
            if (i + j < r.columns && place > best && place < r.ceiling) best = place;
        }
    }
    return best;
}

/* Adds the places in [floor, ceiling) to `held` and, where `keep`, the first ROOM of them to the list. */
HY_DEVICE void collect(const row_in &r, found &f, u64 floor, bool keep) {
    hy_sync();
    if (hy_thread() == 0u) f.held = 0;
    hy_sync();
    u32 own = 0;
    HY_NO_UNROLL for (u32 i = 4u * hy_thread(); i < r.columns; i += 4u * hy_threads()) {
        const f32x4 v = hy_load4(r.dtype, r.x, i, r.columns);
        HY_UNROLL for (u32 j = 0; j < 4u; j++) {
            const u64 place = hy_place(v.v[j], i + j);
            if (i + j >= r.columns || place < floor || place >= r.ceiling) continue;
            own++;
            if (!keep) continue;
            const u32 at = hy_atomic_add(&f.held, 1u);
            if (at < ROOM) f.list[at] = place;
        }
    }
    if (!keep) hy_atomic_add(&f.held, own);
    hy_sync();
}

/* Sorts the list's first n, a power of two, largest first: Batcher's bitonic network. */
HY_DEVICE void sort(u64 *list, u32 n) {
    HY_NO_UNROLL for (u32 size = 2; size <= n; size *= 2u)
        HY_NO_UNROLL for (u32 gap = size / 2u; gap > 0u; gap /= 2u) {
        hy_sync();
        HY_NO_UNROLL for (u32 p = hy_thread(); p < n / 2u; p += hy_threads()) {
            const u32 low = 2u * p - (p & (gap - 1u)), high = low + gap;
            const u64 a = list[low], b = list[high];
            if ((b > a) == ((low & size) == 0u)) {
                list[low] = b;
                list[high] = a;
            }
        }
    }
    hy_sync();
}

/* Fills list[count .. n) with what sorts last; n the power of two that is returned. */
HY_DEVICE u32 pad(u64 *list, u32 count) {
    u32 n = 2;
    while (n < count)
        n *= 2u;
    for (u32 p = count + hy_thread(); p < n; p += hy_threads())
        list[p] = 0;
    return n;
}

/* The want-th largest of the threads' largest; 0 where that is not known to be low enough. */
HY_DEVICE u64 guess_floor(const row_in &r, found &f, u32 want) {
    if (r.columns <= ROOM || want > hy_threads()) return 0;
    f.list[hy_thread()] = own_best(r);
    sort(f.list, hy_threads());
    return f.list[want - 1u];
}

/* Raises the floor until no more than ROOM places are above it, and at least `want`. */
HY_DEVICE u64 raise_floor(const row_in &r, found &f, u32 want) {
    u64 floor = 0;
    HY_NO_UNROLL for (u32 bit = 0; bit < 64u; bit++) {
        const u64 next = floor | (u64)1 << (63u - bit);
        collect(r, f, next, false);
        const u32 held = f.held;
        if (held < want) continue;
        floor = next;
        if (held <= ROOM) break;
    }
    return floor;
}

HY_ENTRY(topk, HY_ROW_THREADS) {
    HY_SHARED found f;
    const u32 row = hy_group(), k = args.word[HY_TOPK_ATTR_k];
    if (row >= hy_count(args, HY_TOPK_x)) return;
    row_in r = {hy_row(args, HY_TOPK_x, row), hy_dtype(args, HY_TOPK_x),
                hy_columns(args, HY_TOPK_x), ~(u64)0};
    float *values = (float *)hy_row(args, HY_TOPK_values, row);
    u32 *ids = (u32 *)hy_row(args, HY_TOPK_ids, row);
    HY_NO_UNROLL for (u32 done = 0; done < k; done += WANT) {
        const u32 want = hy_min(WANT, k - done);
        collect(r, f, guess_floor(r, f, want), true);
        if (f.held > ROOM) collect(r, f, raise_floor(r, f, want), true);
        sort(f.list, pad(f.list, f.held));
        for (u32 p = hy_thread(); p < want; p += hy_threads()) {
            const u32 column = hy_place_column(f.list[p]);
            ids[done + p] = column;
            values[done + p] = hy_load(r.dtype, r.x, column);
        }
        r.ceiling = f.list[want - 1u];
        hy_sync(); /* before the list is filled anew */
    }
}

HY_ENTRY(argmax, HY_ROW_THREADS) {
    HY_SHARED u64 best[HY_ROW_THREADS];
    const u32 row = hy_group(), t = hy_thread();
    if (row >= hy_count(args, HY_ARGMAX_x)) return;
    const row_in r = {hy_row(args, HY_ARGMAX_x, row), hy_dtype(args, HY_ARGMAX_x),
                      hy_columns(args, HY_ARGMAX_x), ~(u64)0};
    best[t] = own_best(r);
    HY_NO_UNROLL for (u32 step = hy_threads() / 2u; step > 0u; step /= 2u) {
        hy_sync();
        if (t < step && best[t + step] > best[t]) best[t] = best[t + step];
    }
    if (t == 0u) ((u32 *)hy_address(args, HY_ARGMAX_out))[row] = hy_place_column(best[0]);
}
