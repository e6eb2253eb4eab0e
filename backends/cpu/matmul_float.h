/* backends/cpu/matmul_float.h: panels of float weights times tiles, sixteen rows at a time; included by
 * matmul_kernel.c, behind matmul_avx2.h or matmul_avx512.h, and by matmul_dot.c, whose elements are pairs of bf16.
 * They define MM_UNROLL, PLAIN_K (k of an element), plain_16, plain_madd and ask_ahead. */

/* In elements; PLAIN_FEW: columns for which memory is the limit. */
enum { PLAIN_CHUNK = MM_CHUNK / PLAIN_K, PLAIN_AHEAD = 4 * PLAIN_CHUNK, PLAIN_FEW = 8 };

/* Element i; for few columns bytes are asked for ahead. One chunk after the other, though each is a chain of fma: cores look
 * ahead into the next, and memory prefers one stream to several side by side. */
CPU_INLINE void plain_step(hy_dtype dtype, const int n, const uint8_t *panel, const float *x,
                           uint64_t i, const int odd, v16 *part) {
    if (n <= PLAIN_FEW) ask_ahead(dtype, panel, i + PLAIN_AHEAD, odd);
    const v16 w = plain_16(dtype, panel, i, odd);
    MM_UNROLL for (int c = 0; c < n; c++) part[c] =
        plain_madd(w, v16_set(x[i * (uint64_t)n + (uint64_t)c]), part[c]);
}

/* Float weights: an mm_micro once dtype and n are constants. k: elements. */
CPU_INLINE void mm_plain(hy_dtype dtype, const int n, const uint8_t *panel, const uint8_t *tile,
                         uint32_t k, float *z) {
    const float *x = (const float *)(const void *)tile;
    v16 acc[MM_MAX_WIDTH];
    MM_UNROLL for (int c = 0; c < n; c++) acc[c] = v16_load(z + 16 * c);
    for (uint64_t at = 0, end; at < k; at = end) {
        v16 part[MM_MAX_WIDTH];
        end = HY_MIN(at + PLAIN_CHUNK, (uint64_t)k);
        MM_UNROLL for (int c = 0; c < n; c++) part[c] = v16_zero();
        for (uint64_t i = at; i + 1 < end; i += 2) {
            plain_step(dtype, n, panel, x, i, 0, part);
            plain_step(dtype, n, panel, x, i + 1, 1, part);
        }
        if ((end - at) % 2) plain_step(dtype, n, panel, x, end - 1, 0, part);
        MM_UNROLL for (int c = 0; c < n; c++) acc[c] = v16_add(acc[c], part[c]);
    }
    MM_UNROLL for (int c = 0; c < n; c++) v16_store(z + 16 * c, acc[c]);
}

#ifdef MM_PAIR
/* Element i of two panels. */
CPU_INLINE void pair_step(hy_dtype dtype, const int n, const uint8_t *const panel[2],
                          const float *x, uint64_t i, const int odd, v16 *part) {
    const v16 first = plain_16(dtype, panel[0], i, odd), second = plain_16(dtype, panel[1], i, odd);
    MM_UNROLL for (int c = 0; c < n; c++) {
        const v16 one = v16_set(x[i * (uint64_t)n + (uint64_t)c]);
        part[c] = plain_madd(first, one, part[c]);
        part[n + c] = plain_madd(second, one, part[n + c]);
    }
}

/* An mm_pair, the same way: one load of the tile for two products, and no register for z. */
CPU_INLINE void mm_plain_pair(hy_dtype dtype, const int n, const uint8_t *panels, uint64_t step,
                              const uint8_t *tile, uint32_t k, float *z, uint64_t z_step) {
    const float *x = (const float *)(const void *)tile;
    const uint8_t *const panel[2] = {panels, panels + step};
    for (uint64_t at = 0, end; at < k; at = end) {
        v16 part[2 * MM_PAIR];
        end = HY_MIN(at + PLAIN_CHUNK, (uint64_t)k);
        MM_UNROLL for (int i = 0; i < 2 * n; i++) part[i] = v16_zero();
        for (uint64_t i = at; i + 1 < end; i += 2) {
            pair_step(dtype, n, panel, x, i, 0, part);
            pair_step(dtype, n, panel, x, i + 1, 1, part);
        }
        if ((end - at) % 2) pair_step(dtype, n, panel, x, end - 1, 0, part);
        MM_UNROLL for (int i = 0; i < 2 * n; i++) {
            float *to = z + (uint64_t)(i / n) * z_step + 16 * (i % n);
            v16_store(to, v16_add(v16_load(to), part[i]));
        }
    }
}
#endif
