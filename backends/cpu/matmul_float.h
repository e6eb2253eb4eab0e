/* backends/cpu/matmul_float.h: panels of float weights times tiles, sixteen rows at a time; included by
 * matmul_kernel.c alone, behind matmul_avx2.h or matmul_avx512.h, whose MM_UNROLL it uses. */

/* Element i of `lanes` chunks that lie side by side. */
CPU_INLINE void plain_step(hy_dtype dtype, const int n, const int lanes, const uint8_t *panel,
                           const float *x, uint64_t i, const int odd, v16 *part) {
    MM_UNROLL for (int l = 0; l < lanes; l++) {
        const uint64_t at = i + (uint64_t)l * MM_CHUNK;
        if (lanes > 1) ask_ahead(dtype, panel, at + MM_AHEAD, odd);
        const v16 w = plain_16(dtype, panel, at, odd);
        MM_UNROLL for (int c = 0; c < n; c++) part[l * n + c] =
            v16_fma(w, v16_set(x[at * (uint64_t)n + (uint64_t)c]), part[l * n + c]);
    }
}

/* Chunks of `length` k, `lanes` of them side by side, from k on. */
CPU_INLINE void plain_chunks(hy_dtype dtype, const int n, const int lanes, const uint8_t *panel,
                             const float *x, uint64_t k, uint32_t length, v16 *acc) {
    v16 part[MM_MAX_WIDTH];
    MM_UNROLL for (int i = 0; i < n * lanes; i++) part[i] = v16_zero();
    const uint64_t end = k + length;
    for (uint64_t i = k; i + 1 < end; i += 2) {
        plain_step(dtype, n, lanes, panel, x, i, 0, part);
        plain_step(dtype, n, lanes, panel, x, i + 1, 1, part);
    }
    if (length % 2) plain_step(dtype, n, lanes, panel, x, end - 1, 0, part);
    MM_UNROLL for (int i = 0; i < n * lanes; i++) acc[i % n] = v16_add(acc[i % n], part[i]);
}

/* Float weights: an mm_micro once dtype and n are constants. */
CPU_INLINE void mm_plain(hy_dtype dtype, const int n, const uint8_t *panel, const uint8_t *tile,
                         uint32_t k, float *z) {
    const float *x = (const float *)(const void *)tile;
    const int lanes = n <= 4 ? 4 / n : 1; /* hides the latency of fma when there are few columns */
    v16 acc[MM_MAX_WIDTH];
    MM_UNROLL for (int c = 0; c < n; c++) acc[c] = v16_load(z + 16 * c);
    uint32_t at = 0;
    for (; lanes > 1 && k - at >= (uint32_t)lanes * MM_CHUNK; at += (uint32_t)lanes * MM_CHUNK)
        plain_chunks(dtype, n, lanes, panel, x, at, MM_CHUNK, acc);
    for (; at < k; at += MM_CHUNK)
        plain_chunks(dtype, n, 1, panel, x, at, HY_MIN(k - at, MM_CHUNK), acc);
    MM_UNROLL for (int c = 0; c < n; c++) v16_store(z + 16 * c, acc[c]);
}
