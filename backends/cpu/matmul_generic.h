/* backends/cpu/matmul_generic.h: panels times tiles in plain C; included by matmul_kernel.c alone.
 * Loops run over the 16 rows, so that compilers vectorize what the machine allows; fmaf keeps the bits. */

/* Signed byte weights stay as they are. */
enum { MM_BYTE_OFFSET = 0, MM_Q3_OFFSET = 0 };
#define MM_WIDTH_LIST 1, 4
#define MM_EACH_WIDTH(F, ...) F(__VA_ARGS__, 1) F(__VA_ARGS__, 4)

/* The codebooks of hal/dtype.c; mxfp4's 12 higher, like other formats' offsets. */
static const int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                      1,    13,   25,  38,  53,  69,  89,  113};
static const int8_t mxfp4_values[16] = {12, 13, 14, 15, 16, 18, 20, 24,
                                        12, 11, 10, 9,  8,  6,  4,  0}; /* + 12 */

/* Bit of row r, element k of 32 in a bits plane. */
CPU_INLINE int bit_at(const uint8_t *bits, int r, int k) {
    return bits[k / 4 * 8 + r / 2] >> (r % 2 * 4 + k % 4) & 1;
}

/* Weight of row r, element k of 32. */
CPU_INLINE int weight(mm_format f, const uint8_t *sub, int r, int k) {
    const int byte = r * 4 + k % 4;
    const int pair_byte = k / 16 * 64 + byte, pair_shift = k % 16 / 4 * 2;
    if (f.dtype == HY_DTYPE_Q8_0) return (int8_t)sub[k / 4 * 64 + byte];
    if (f.dtype == HY_DTYPE_Q2_K) return sub[pair_byte] >> pair_shift & 3;
    if (f.dtype == HY_DTYPE_Q3_K)
        return ((sub[pair_byte] >> pair_shift & 3) | bit_at(sub + 128, r, k) << 2) - 4;
    const int nibble = sub[k % 16 / 4 * 64 + byte] >> k / 16 * 4 & 15;
    switch (f.dtype) {
    case HY_DTYPE_Q5_0:
    case HY_DTYPE_Q5_1:
    case HY_DTYPE_Q5_K:
        return nibble | bit_at(sub + 256, r, k) << 4;
    case HY_DTYPE_Q6_K:
        return nibble | (sub[256 + pair_byte] >> pair_shift & 3) << 4;
    case HY_DTYPE_IQ4_NL:
    case HY_DTYPE_IQ4_XS:
        return iq4_values[nibble];
    case HY_DTYPE_MXFP4:
        return mxfp4_values[nibble];
    default:
        return nibble;
    }
}

/* acc += b term */
CPU_INLINE void add_minima(const float *b, const uint8_t *aux, float *acc) {
    const float term = hy_f32_from_bits(load_u32(aux));
    for (int r = 0; r < CPU_PANEL; r++)
        acc[r] = fmaf(b[r], term, acc[r]);
}

/* dot += sum of w q for elements [first, last) */
CPU_INLINE void dots(int16_t (*w)[CPU_PANEL], const int8_t *q, int first, int last, int32_t *dot) {
    for (int i = first; i < last; i++)
        for (int r = 0; r < CPU_PANEL; r++)
            dot[r] += (int32_t)w[i][r] * q[i];
}

/* One column's 32 k of a format with scales of 16 k: t. aux: of that column. */
CPU_INLINE void split_dot(mm_format f, const int n, int16_t (*w)[CPU_PANEL], const int8_t *q,
                          const uint8_t *aux, const mm_scales *scales, int s, float *out) {
    int32_t dot[2][CPU_PANEL];
    for (int h = 0; h < 2; h++) {
        const int32_t begin =
            f.dtype == HY_DTYPE_Q6_K ? (int32_t)load_u32(aux + 4 * n * h) : 0; /* AUX_HALVES */
        for (int r = 0; r < CPU_PANEL; r++)
            dot[h][r] = begin;
        dots(w, q, 16 * h, 16 * h + 16, dot[h]);
    }
    for (int r = 0; r < CPU_PANEL; r++) {
        if (f.dtype == HY_DTYPE_Q6_K)
            out[r] = fmaf((float)dot[1][r], scales->a[2 * s + 1][r],
                          (float)dot[0][r] * scales->a[2 * s][r]);
        else
            out[r] =
                (float)(scales->sc[2 * s][r] * dot[0][r] + scales->sc[2 * s + 1][r] * dot[1][r]) *
                scales->a[s][r];
    }
}

/* The same of the others. */
CPU_INLINE void whole_dot(mm_format f, int16_t (*w)[CPU_PANEL], const int8_t *q, const uint8_t *aux,
                          const float *a, float *out) {
    int32_t dot[CPU_PANEL];
    for (int r = 0; r < CPU_PANEL; r++)
        dot[r] = f.minima ? 0 : (int32_t)load_u32(aux);
    dots(w, q, 0, 32, dot);
    for (int r = 0; r < CPU_PANEL; r++)
        out[r] = (float)dot[r] * a[r];
}

/* The 32 k of one sub-block for all columns; w: its weights. */
CPU_INLINE void columns(mm_format f, const int n, int16_t (*w)[CPU_PANEL], const uint8_t *tile,
                        const mm_scales *scales, int s, float (*acc)[CPU_PANEL]) {
    for (int c = 0; c < n; c++) {
        const int8_t *q = (const int8_t *)tile + 32 * c;
        const float scale = hy_f32_from_bits(load_u32(tile + 32 * n + 4 * c));
        const uint8_t *aux = tile + 36 * n + 4 * c;
        float t[CPU_PANEL];
        if (f.split)
            split_dot(f, n, w, q, aux, scales, s, t);
        else
            whole_dot(f, w, q, aux, scales->a[s], t);
        for (int r = 0; r < CPU_PANEL; r++)
            acc[c][r] = fmaf(t[r], scale, acc[c][r]);
        for (int h = 0; f.minima && h <= f.split; h++)
            add_minima(scales->b[f.split ? 2 * s + h : s], aux + 4 * n * h, acc[c]);
    }
}

/* Unpacked for all widths by one function of each format: small code matters more here than speed. */
#define MM_UNPACK(DTYPE, name, header, sub, subs, split, minima)                                   \
    static __attribute__((noinline)) void unpack_##name(const uint8_t *from,                       \
                                                        int16_t(*w)[CPU_PANEL]) {                  \
        for (int i = 0; i < 32; i++)                                                               \
            for (int r = 0; r < CPU_PANEL; r++)                                                    \
                w[i][r] = (int16_t)weight(                                                         \
                    (mm_format){DTYPE, header, sub, subs, split, minima, 0, 0}, from, r, i);       \
    }
MM_BLOCK_FORMATS(MM_UNPACK)

CPU_INLINE void unpack(hy_dtype dtype, const uint8_t *sub, int16_t (*w)[CPU_PANEL]) {
    switch (dtype) {
#define MM_UNPACK_CASE(DTYPE, name, header, size, subs, split, minima)                             \
    case DTYPE:                                                                                    \
        unpack_##name(sub, w);                                                                     \
        break;
        MM_BLOCK_FORMATS(MM_UNPACK_CASE)
    default:
        break;
    }
}

/* Block formats: an mm_micro once f and n are constants. */
CPU_INLINE void mm_blocks(mm_format f, const int n, const uint8_t *panel, const uint8_t *tile,
                          uint32_t k, const mm_ahead *ahead, float *z) {
    (void)ahead;
    int16_t w[32][CPU_PANEL];
    float acc[4][CPU_PANEL];
    mm_scales scales;
    memset(z, 0, sizeof(float) * CPU_PANEL * (size_t)n);
    for (uint32_t at = 0; at < k;) {
        if (at % MM_BLOCK_CHUNK == 0) memset(acc, 0, sizeof acc);
        block_scales(f, panel, true, &scales);
        panel += f.header;
        for (int s = 0; s < f.subs; s++) {
            unpack(f.dtype, panel, w);
            columns(f, n, w, tile, &scales, s, acc);
            tile += (uint64_t)n * mm_column_bytes(f.dtype, 32);
            panel += f.sub;
        }
        at += 32u * (uint32_t)f.subs;
        if (at % MM_BLOCK_CHUNK && at < k) continue;
        for (int c = 0; c < n; c++)
            for (int r = 0; r < CPU_PANEL; r++)
                z[CPU_PANEL * c + r] += acc[c][r];
    }
}

/* Float weights: an mm_micro once dtype and n are constants. */
CPU_INLINE void mm_plain(hy_dtype dtype, const int n, const uint8_t *panel, const uint8_t *tile,
                         uint32_t k, float *z) {
    const float *x = (const float *)(const void *)tile;
    float part[4][CPU_PANEL], w[CPU_PANEL];
    for (uint32_t at = 0; at < k; at += MM_CHUNK) {
        memset(part, 0, sizeof part);
        for (uint64_t i = at; i < HY_MIN(k, (uint64_t)at + MM_CHUNK); i++) {
            const int odd = (int)(i & 1);
            v16_store(w, odd ? plain_16(dtype, panel, i, 1) : plain_16(dtype, panel, i, 0));
            for (int c = 0; c < n; c++)
                for (int r = 0; r < CPU_PANEL; r++)
                    part[c][r] = fmaf(w[r], x[i * (uint64_t)n + (uint64_t)c], part[c][r]);
        }
        for (int c = 0; c < n; c++)
            for (int r = 0; r < CPU_PANEL; r++)
                z[CPU_PANEL * c + r] += part[c][r];
    }
}
