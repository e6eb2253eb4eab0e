/* backends/cpu/matmul_float.h: panels of float weights times tiles, sixteen rows at a time; included by
 * matmul_kernel.c, behind matmul_avx2.h or matmul_avx512.h, and by matmul_dot.c, whose elements are pairs of bf16.
 * They define MM_UNROLL, PLAIN_K (k of an element), plain_16, plain_madd and ask_ahead. */

/* In elements; PLAIN_FEW: columns for which memory is the limit. */
enum {
    PLAIN_CHUNK = MM_CHUNK / PLAIN_K,
    PLAIN_AHEAD = 4 * PLAIN_CHUNK, /* to the second-level cache */
    PLAIN_NEAR = PLAIN_CHUNK,      /* to the first */
    PLAIN_FEW = 8
};

/* Element i of one or two panels, `step` bytes apart: one load of the tile for two products; part: [panel][column]. For
 * few columns bytes are asked for ahead. One chunk after the other, though each is a chain of fma: cores look ahead
 * into the next, and memory prefers one stream to several side by side. */
CPU_INLINE void plain_step(hy_dtype dtype, const int n, const int panels, const uint8_t *panel,
                           uint64_t step, const float *x, uint64_t i, const int odd, v16 *part) {
    v16 w[2];
    if (n <= PLAIN_FEW) {
        ask_ahead(dtype, panel, i + PLAIN_AHEAD, odd, 2);
        ask_ahead(dtype, panel, i + PLAIN_NEAR, odd, 1);
    }
    MM_UNROLL for (int q = 0; q < panels; q++) w[q] =
        plain_16(dtype, panel + (uint64_t)q * step, i, odd);
    MM_UNROLL for (int c = 0; c < n; c++) {
        const v16 one = v16_set(x[i * (uint64_t)n + (uint64_t)c]);
        MM_UNROLL for (int q = 0; q < panels; q++) part[q * n + c] =
            plain_madd(w[q], one, part[q * n + c]);
    }
}

/* Float weights: what follows, once dtype, n and panels are constants. k: elements. */
CPU_INLINE void plain_panels(hy_dtype dtype, const int n, const int panels, const uint8_t *panel,
                             uint64_t step, const uint8_t *tile, uint32_t k, float *z,
                             uint64_t z_step) {
    const float *x = (const float *)(const void *)tile;
    for (uint64_t at = 0, end; at < k; at = end) {
        v16 part[MM_MAX_WIDTH];
        end = HY_MIN(at + PLAIN_CHUNK, (uint64_t)k);
        MM_UNROLL for (int i = 0; i < panels * n; i++) part[i] = v16_zero();
        for (uint64_t i = at; i + 1 < end; i += 2) {
            plain_step(dtype, n, panels, panel, step, x, i, 0, part);
            plain_step(dtype, n, panels, panel, step, x, i + 1, 1, part);
        }
        if ((end - at) % 2) plain_step(dtype, n, panels, panel, step, x, end - 1, 0, part);
        MM_UNROLL for (int i = 0; i < panels * n; i++) {
            float *to = z + (uint64_t)(i / n) * z_step + 16 * (i % n);
            v16_store(to, v16_add(v16_load(to), part[i]));
        }
    }
}

/* An mm_micro. */
CPU_INLINE void mm_plain(hy_dtype dtype, const int n, const uint8_t *panel, const uint8_t *tile,
                         uint32_t k, float *z) {
    plain_panels(dtype, n, 1, panel, 0, tile, k, z, 0);
}

#ifdef MM_PAIR
/* An mm_pair. */
CPU_INLINE void mm_plain_pair(hy_dtype dtype, const int n, const uint8_t *panels, uint64_t step,
                              const uint8_t *tile, uint32_t k, float *z, uint64_t z_step) {
    plain_panels(dtype, n, 2, panels, step, tile, k, z, z_step);
}
#endif
