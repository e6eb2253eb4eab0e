/* backends/cpu/attention_cache.h: keys and values as they lie in the cache: a tile of them, loads as float32, and
 * asking for those that are needed soon; included by attention_kernel.c alone. */

/* Rows of a cache operand in one tile. */
typedef struct cache_tile {
    const char *base;       /* element 0 of the tile's first key; int8 for q8_0 */
    const uint16_t *halves; /* q8_0: f16 scales of the first key; else NULL */
    const float *scales;    /* the same as float32: see scale_tile() */
    uint64_t step;          /* bytes between keys */
    uint32_t scale_step;    /* scales between keys */
    uint32_t dtype;
} cache_tile;

/* False where the table has no page: such positions weigh nothing. */
static bool open_tile(const cpu_call *call, uint32_t operand, const item *it, uint32_t position,
                      cache_tile *out) {
    const hy_tensor *t = &call->op.operand[operand];
    const uint32_t length = t->dim[2], columns = t->dim[3], index = position % length;
    const int32_t *table =
        (const int32_t *)cpu_row(call, HY_ATTENTION_table, (uint32_t)it->sequence);
    const int32_t number = table[position / length];
    if (number < 0 || (uint32_t)number >= t->dim[0]) return false;
    const char *page = cpu_at(call, operand, (uint32_t)number, it->kv_head);
    cache_tile tile = {.dtype = t->dtype};
    if (t->dtype == HY_DTYPE_Q8_0) {
        tile.step = columns;
        tile.scale_step = columns / 32;
        tile.halves = (const uint16_t *)(page + (uint64_t)length * columns) +
                      (uint64_t)index * tile.scale_step;
    } else {
        tile.step = cpu_bytes(t->dtype, t->stride[2]);
    }
    tile.base = page + index * tile.step;
    *out = tile;
    return true;
}

/* Scales of keys [r.begin, r.end) as float32, once for all their loads. to: [ATT_TILE * scale_step + 15]. */
static void scale_tile(cache_tile *t, range r, float *to) {
    const uint32_t end = r.end * t->scale_step;
    if (!t->halves) return;
    for (uint32_t i = r.begin * t->scale_step; i < end; i += 16)
        v16_store(to + i, cpu_get(HY_DTYPE_F16, t->halves, i, end));
    t->scales = to;
}

/* Calls `what` with the dtype as a constant. */
#define EACH_CACHE(dtype, what, ...)                                                               \
    switch (dtype) {                                                                               \
    case HY_DTYPE_F32:                                                                             \
        what(HY_DTYPE_F32, __VA_ARGS__);                                                           \
        break;                                                                                     \
    case HY_DTYPE_F16:                                                                             \
        what(HY_DTYPE_F16, __VA_ARGS__);                                                           \
        break;                                                                                     \
    case HY_DTYPE_BF16:                                                                            \
        what(HY_DTYPE_BF16, __VA_ARGS__);                                                          \
        break;                                                                                     \
    default:                                                                                       \
        what(HY_DTYPE_Q8_0, __VA_ARGS__);                                                          \
        break;                                                                                     \
    }

/* ---- loads --------------------------------------------------------------------------------------- */

/* Columns [i, i + 16) of a key or value; those at and past `count` are 0. */
CPU_INLINE v16 load_kv(uint32_t dtype, const char *row, const float *scales, uint32_t i,
                       uint32_t count) {
    if (dtype == HY_DTYPE_Q8_0)
        return v16_mul(v16_load_i8((const int8_t *)row + i), v16_set(scales[i / 32]));
    return cpu_get(dtype, row, i, count);
}

/* Keys [r.begin, r.end) of a tile as float32 [key, width]. */
static cache_tile expand(const cache_tile *from, range r, uint32_t columns, uint32_t width,
                         float *to) {
    for (uint32_t j = r.begin; j < r.end; j++) {
        const char *row = from->base + j * from->step;
        const float *scales = from->scales ? from->scales + j * from->scale_step : NULL;
        for (uint32_t i = 0; i < columns; i += 16)
            v16_store(to + (size_t)j * width + i, load_kv(from->dtype, row, scales, i, columns));
    }
    return (cache_tile){
        .base = (const char *)to, .step = width * sizeof *to, .dtype = HY_DTYPE_F32};
}

/* Keys or values that are needed soon. They are asked for a little at a time, while others are at work: pages
 * lie anywhere, hardware prefetchers stop at the end of each, and a burst would hold up the work. */
typedef struct wish {
    const char *base; /* NULL: none */
    uint64_t step;    /* bytes between keys */
} wish;

/* Scales are asked for here already: they are few. */
static wish wish_for(const cache_tile *t) {
    for (uint32_t i = 0; t->halves && i < ATT_TILE * t->scale_step; i += 32)
        __builtin_prefetch(t->halves + i, 0, 2);
    return (wish){t->base, t->step};
}

/* Bytes [begin, end) from key j on. */
CPU_INLINE void ask(const wish *w, uint32_t j, uint64_t begin, uint64_t end) {
    const char *from = w->base + j * w->step;
    for (uint64_t b = begin & ~63ull; b < end; b += 64)
        __builtin_prefetch(from + b, 0, 2);
}
