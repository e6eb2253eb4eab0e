/* backends/cpu/pack.c: the file's blocks <-> panel blocks (backends/cpu/panel.h). */
#include <string.h>

#include "backends/cpu/panel.h"
#include "backends/cpu/transpose.h"
#include "base/num.h"

enum {
    MAX_BLOCK_BYTES = 210,
    LINE = 64,
    TILE_BYTES = 64 /* of each row of plain types at a time: a cache line */
};

typedef const uint8_t *const row_ptr; /* one of 16 rows, at the present block */

static uint32_t load32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static void store32(uint8_t *p, uint32_t v) {
    memcpy(p, &v, sizeof v);
}

/* ---- fields that keep their bytes: [field][16 rows] ---- */

/* Word vectors of rows r .. r + 3 -> words of field i .. i + 3 of these rows. */
static void store_words(cpu_words4 v[4], uint32_t i, uint32_t r, uint8_t *dst) {
    cpu_transpose_words(v);
    for (uint32_t j = 0; j < 4; j++)
        cpu_store_words(dst + ((i + j) * CPU_PANEL + r) * 4, v[j]);
}

static void put_words(row_ptr *rows, uint32_t at, uint32_t count, uint8_t *dst) {
    const uint32_t whole = count & ~3u;
    for (uint32_t r = 0; r < CPU_PANEL; r += 4) {
        for (uint32_t i = 0; i < whole; i += 4) {
            cpu_words4 v[4];
            for (uint32_t j = 0; j < 4; j++)
                v[j] = cpu_load_words(rows[r + j] + at + 4 * i);
            store_words(v, i, r, dst);
        }
    }
    for (uint32_t r = 0; r < CPU_PANEL; r++)
        for (uint32_t i = whole; i < count; i++)
            memcpy(dst + (i * CPU_PANEL + r) * 4, rows[r] + at + 4 * i, 4);
}

static void get_words(const uint8_t *src, uint32_t lane, uint32_t count, uint8_t *dst) {
    for (uint32_t i = 0; i < count; i++)
        memcpy(dst + 4 * i, src + (i * CPU_PANEL + lane) * 4, 4);
}

static void put_halves(row_ptr *rows, uint32_t at, uint32_t count, uint8_t *dst) {
    for (uint32_t r = 0; r < CPU_PANEL; r++)
        for (uint32_t i = 0; i < count; i++)
            memcpy(dst + (i * CPU_PANEL + r) * 2, rows[r] + at + 2 * i, 2);
}

static void get_halves(const uint8_t *src, uint32_t lane, uint32_t count, uint8_t *dst) {
    for (uint32_t i = 0; i < count; i++)
        memcpy(dst + 2 * i, src + (i * CPU_PANEL + lane) * 2, 2);
}

static void put_bytes(row_ptr *rows, uint32_t at, uint32_t count, uint8_t *dst) {
    if (count == 16) {
        cpu_bytes16 v[16];
        for (uint32_t r = 0; r < CPU_PANEL; r++)
            memcpy(&v[r], rows[r] + at, sizeof v[r]);
        cpu_transpose_bytes(v);
        memcpy(dst, v, sizeof v);
        return;
    }
    for (uint32_t r = 0; r < CPU_PANEL; r++)
        for (uint32_t i = 0; i < count; i++)
            dst[i * CPU_PANEL + r] = rows[r][at + i];
}

static void get_bytes(const uint8_t *src, uint32_t lane, uint32_t count, uint8_t *dst) {
    for (uint32_t i = 0; i < count; i++)
        dst[i] = src[i * CPU_PANEL + lane];
}

/* ---- planes of 4, 2 and 1 bits; a word holds four elements k..k+3, one a byte ---- */

/* 32 bytes of each of 16 rows -> nibbles of two sub-blocks: their low halves to `low`, the high ones to
 * `high`. */
static void put_nibbles(row_ptr *rows, uint32_t at, uint8_t *low, uint8_t *high) {
    for (uint32_t r = 0; r < CPU_PANEL; r += 4) {
        cpu_words4 l[4], h[4];
        for (uint32_t j = 0; j < 4; j++) {
            const cpu_words4 a = cpu_load_words(rows[r + j] + at);
            const cpu_words4 b = cpu_load_words(rows[r + j] + at + 16);
            l[j] = (a & 0x0f0f0f0fu) | (b & 0x0f0f0f0fu) << 4;
            h[j] = (a >> 4 & 0x0f0f0f0fu) | (b & 0xf0f0f0f0u);
        }
        store_words(l, 0, r, low);
        store_words(h, 0, r, high);
    }
}

static void get_nibbles(const uint8_t *src, uint32_t lane, uint32_t word[8]) {
    for (uint32_t u = 0; u < 4; u++) {
        const uint32_t both = load32(src + (u * CPU_PANEL + lane) * 4);
        word[u] = both & 0x0f0f0f0fu;
        word[u + 4] = both >> 4 & 0x0f0f0f0fu;
    }
}

/* 32 bytes of each of 16 rows, four pairs a byte -> pairs of the four sub-blocks at dst, dst + step, ... */
static void put_pairs(row_ptr *rows, uint32_t at, uint32_t step, uint8_t *dst) {
    for (uint32_t r = 0; r < CPU_PANEL; r += 4) {
        for (uint32_t h = 0; h < 2; h++) {
            cpu_words4 v[4];
            for (uint32_t j = 0; j < 4; j++)
                v[j] = cpu_load_words(rows[r + j] + at + 16 * h);
            cpu_transpose_words(v);
            cpu_transpose_pairs(v);
            for (uint32_t s = 0; s < 4; s++)
                cpu_store_words(dst + s * step + (h * CPU_PANEL + r) * 4, v[s]);
        }
    }
}

static void get_pairs(const uint8_t *src, uint32_t lane, uint32_t word[8]) {
    for (uint32_t g = 0; g < 8; g++)
        word[g] = load32(src + (g / 4 * CPU_PANEL + lane) * 4) >> g % 4 * 2 & 0x03030303u;
}

/* In both halves of the words: nibble g of word r <-> nibble r of word g, by exchanging halves, then
 * bytes, then nibbles. */
static void transpose_nibbles(uint64_t word[8]) {
    static const uint64_t mask[] = {0x0f0f0f0f0f0f0f0fu, 0x00ff00ff00ff00ffu, 0x0000ffff0000ffffu};
    for (uint32_t stage = 3; stage-- > 0;) {
        const uint32_t step = 1u << stage, shift = 4 * step;
        for (uint32_t i = 0; i < 8; i++) {
            if (i & step) continue;
            const uint64_t swap = (word[i] >> shift ^ word[i + step]) & mask[stage];
            word[i + step] ^= swap;
            word[i] ^= swap << shift;
        }
    }
}

/* 32 bits of each row -> eight 64-bit words of 4 bits a row. */
static void put_bits(const uint32_t bits[CPU_PANEL], uint8_t *dst) {
    uint64_t word[8];
    for (uint32_t r = 0; r < 8; r++)
        word[r] = bits[r] | (uint64_t)bits[8 + r] << 32;
    transpose_nibbles(word);
    for (uint32_t g = 0; g < 8; g++) {
        store32(dst + 8 * g, (uint32_t)word[g]);
        store32(dst + 8 * g + 4, (uint32_t)(word[g] >> 32));
    }
}

static uint32_t get_bits(const uint8_t *src, uint32_t lane) {
    uint32_t bits = 0;
    for (uint32_t g = 0; g < 8; g++)
        bits |= (src[g * 8 + lane / 2] >> (lane & 1) * 4 & 15u) << 4 * g;
    return bits;
}

/* 32 bytes of each of 16 rows, one bit of each of eight sub-blocks a byte -> bits of those at dst,
 * dst + step, ... */
static void put_bit_planes(row_ptr *rows, uint32_t at, uint32_t step, uint8_t *dst) {
    for (uint32_t half = 0; half < 2; half++) {
        cpu_words4 low[8], high[8]; /* rows 0-7, 8-15 */
        for (uint32_t r = 0; r < 8; r++) {
            low[r] = cpu_load_words(rows[r] + at + 16 * half);
            high[r] = cpu_load_words(rows[8 + r] + at + 16 * half);
        }
        cpu_transpose_bits(low);
        cpu_transpose_bits(high);
        for (uint32_t s = 0; s < 8; s++) {
            const cpu_words4 l = low[cpu_bits_place(s)], h = high[cpu_bits_place(s)];
            uint8_t *out = dst + s * step + 32 * half;
            cpu_store_words(out, __builtin_shufflevector(l, h, 0, 4, 1, 5));
            cpu_store_words(out + 16, __builtin_shufflevector(l, h, 2, 6, 3, 7));
        }
    }
}

/* Sets bit b of each of 32 bytes. */
static void scatter_bit(uint32_t bits, uint32_t b, uint8_t *bytes) {
    for (uint32_t g = 0; g < 8; g++) {
        const uint32_t spread = (bits >> 4 * g & 15u) * 0x00204081u & 0x01010101u;
        store32(bytes + 4 * g, load32(bytes + 4 * g) | spread << b);
    }
}

/* Where sub-block s of q4_k and q5_k keeps its nibbles: 32 bytes, shifted right by `shift`. */
static void nibbles_k_back(const uint32_t word[8], uint32_t s, uint8_t *q) {
    for (uint32_t g = 0; g < 8; g++) {
        uint8_t *p = q + s / 2 * 32 + 4 * g;
        store32(p, load32(p) | word[g] << (s & 1) * 4);
    }
}

/* q6_k: halves of 128 elements, 64 bytes each; quarters 0, 1 are low nibbles, 2, 3 the high ones. */
static void nibbles_q6_back(const uint32_t word[8], uint32_t s, uint8_t *q) {
    for (uint32_t g = 0; g < 8; g++) {
        uint8_t *p = q + s / 4 * 64 + (s & 1) * 32 + 4 * g;
        store32(p, load32(p) | word[g] << (s >> 1 & 1) * 4);
    }
}

/* Pairs of q2_k, q3_k and q6_k: halves of 128 elements in 32 bytes, quarter i in bits 2 i. */
static void pairs_k_back(const uint32_t word[8], uint32_t s, uint8_t *q) {
    for (uint32_t g = 0; g < 8; g++) {
        uint8_t *p = q + s / 4 * 32 + 4 * g;
        store32(p, load32(p) | word[g] << s % 4 * 2);
    }
}

/* ---- one panel block: 16 file blocks -> dst, and one of them back ---- */

static void put_q8_0(row_ptr *rows, uint8_t *dst) {
    put_halves(rows, 0, 1, dst);
    put_words(rows, 2, 8, dst + 32);
}
static void get_q8_0(const uint8_t *src, uint32_t lane, uint8_t *dst) {
    get_halves(src, lane, 1, dst);
    get_words(src + 32, lane, 8, dst + 2);
}

static void put_q4_0(row_ptr *rows, uint8_t *dst) { /* iq4_nl too */
    put_halves(rows, 0, 1, dst);
    put_words(rows, 2, 4, dst + 32);
}
static void get_q4_0(const uint8_t *src, uint32_t lane, uint8_t *dst) {
    get_halves(src, lane, 1, dst);
    get_words(src + 32, lane, 4, dst + 2);
}

static void put_q4_1(row_ptr *rows, uint8_t *dst) {
    put_halves(rows, 0, 2, dst);
    put_words(rows, 4, 4, dst + 64);
}
static void get_q4_1(const uint8_t *src, uint32_t lane, uint8_t *dst) {
    get_halves(src, lane, 2, dst);
    get_words(src + 64, lane, 4, dst + 4);
}

/* halves: 1 for q5_0 (d), 2 for q5_1 (d, m). */
static void put_q5(row_ptr *rows, uint32_t halves, uint8_t *dst) {
    put_halves(rows, 0, halves, dst);
    put_words(rows, 2 * halves + 4, 4, dst + 32 * halves);
    uint32_t bits[CPU_PANEL];
    for (uint32_t r = 0; r < CPU_PANEL; r++)
        bits[r] = load32(rows[r] + 2 * halves);
    put_bits(bits, dst + 32 * halves + 256);
}
static void get_q5(const uint8_t *src, uint32_t lane, uint32_t halves, uint8_t *dst) {
    get_halves(src, lane, halves, dst);
    store32(dst + 2 * halves, get_bits(src + 32 * halves + 256, lane));
    get_words(src + 32 * halves, lane, 4, dst + 2 * halves + 4);
}
static void put_q5_0(row_ptr *rows, uint8_t *dst) {
    put_q5(rows, 1, dst);
}
static void get_q5_0(const uint8_t *src, uint32_t lane, uint8_t *dst) {
    get_q5(src, lane, 1, dst);
}
static void put_q5_1(row_ptr *rows, uint8_t *dst) {
    put_q5(rows, 2, dst);
}
static void get_q5_1(const uint8_t *src, uint32_t lane, uint8_t *dst) {
    get_q5(src, lane, 2, dst);
}

static void put_mxfp4(row_ptr *rows, uint8_t *dst) {
    put_bytes(rows, 0, 1, dst);
    put_words(rows, 1, 4, dst + 16);
}
static void get_mxfp4(const uint8_t *src, uint32_t lane, uint8_t *dst) {
    get_bytes(src, lane, 1, dst);
    get_words(src + 16, lane, 4, dst + 1);
}

static void put_iq4_xs(row_ptr *rows, uint8_t *dst) {
    put_halves(rows, 0, 2, dst);
    put_words(rows, 4, 1, dst + 64);
    for (uint32_t s = 0; s < 8; s++)
        put_words(rows, 8 + 16 * s, 4, dst + 128 + 256 * s);
}
static void get_iq4_xs(const uint8_t *src, uint32_t lane, uint8_t *dst) {
    get_halves(src, lane, 2, dst);
    get_words(src + 64, lane, 1, dst + 4);
    for (uint32_t s = 0; s < 8; s++)
        get_words(src + 128 + 256 * s, lane, 4, dst + 8 + 16 * s);
}

static void put_q2_k(row_ptr *rows, uint8_t *dst) {
    put_halves(rows, 80, 2, dst);
    put_bytes(rows, 0, 16, dst + 64);
    for (uint32_t half = 0; half < 2; half++)
        put_pairs(rows, 16 + 32 * half, 128, dst + 320 + 512 * half);
}
static void get_q2_k(const uint8_t *src, uint32_t lane, uint8_t *dst) {
    get_halves(src, lane, 2, dst + 80);
    get_bytes(src + 64, lane, 16, dst);
    uint32_t word[8];
    memset(dst + 16, 0, 64);
    for (uint32_t s = 0; s < 8; s++) {
        get_pairs(src + 320 + 128 * s, lane, word);
        pairs_k_back(word, s, dst + 16);
    }
}

static void put_q3_k(row_ptr *rows, uint8_t *dst) {
    put_halves(rows, 108, 1, dst);
    put_words(rows, 96, 3, dst + 32);
    for (uint32_t half = 0; half < 2; half++)
        put_pairs(rows, 32 + 32 * half, 192, dst + 224 + 768 * half);
    put_bit_planes(rows, 0, 192, dst + 224 + 128);
}
static void get_q3_k(const uint8_t *src, uint32_t lane, uint8_t *dst) {
    get_halves(src, lane, 1, dst + 108);
    get_words(src + 32, lane, 3, dst + 96);
    uint32_t word[8];
    memset(dst, 0, 96);
    for (uint32_t s = 0; s < 8; s++) {
        const uint8_t *sub = src + 224 + 192 * s;
        get_pairs(sub, lane, word);
        pairs_k_back(word, s, dst + 32);
        scatter_bit(get_bits(sub + 128, lane), s, dst);
    }
}

static void put_q4_k(row_ptr *rows, uint8_t *dst) {
    put_halves(rows, 0, 2, dst);
    put_words(rows, 4, 3, dst + 64);
    for (uint32_t s = 0; s < 8; s += 2)
        put_nibbles(rows, 16 + 16 * s, dst + 256 + 256 * s, dst + 512 + 256 * s);
}
static void get_q4_k(const uint8_t *src, uint32_t lane, uint8_t *dst) {
    get_halves(src, lane, 2, dst);
    get_words(src + 64, lane, 3, dst + 4);
    uint32_t word[8];
    memset(dst + 16, 0, 128);
    for (uint32_t s = 0; s < 8; s++) {
        get_nibbles(src + 256 + 256 * s, lane, word);
        nibbles_k_back(word, s, dst + 16);
    }
}

static void put_q5_k(row_ptr *rows, uint8_t *dst) {
    put_halves(rows, 0, 2, dst);
    put_words(rows, 4, 3, dst + 64);
    for (uint32_t s = 0; s < 8; s += 2)
        put_nibbles(rows, 48 + 16 * s, dst + 256 + 320 * s, dst + 576 + 320 * s);
    put_bit_planes(rows, 16, 320, dst + 256 + 256);
}
static void get_q5_k(const uint8_t *src, uint32_t lane, uint8_t *dst) {
    get_halves(src, lane, 2, dst);
    get_words(src + 64, lane, 3, dst + 4);
    uint32_t word[8];
    memset(dst + 16, 0, 160);
    for (uint32_t s = 0; s < 8; s++) {
        const uint8_t *sub = src + 256 + 320 * s;
        get_nibbles(sub, lane, word);
        nibbles_k_back(word, s, dst + 48);
        scatter_bit(get_bits(sub + 256, lane), s, dst + 16);
    }
}

static void put_q6_k(row_ptr *rows, uint8_t *dst) {
    put_halves(rows, 208, 1, dst);
    put_bytes(rows, 192, 16, dst + 32);
    for (uint32_t half = 0; half < 2; half++) {
        uint8_t *sub = dst + 288 + 4 * 384 * half;
        put_nibbles(rows, 64 * half, sub, sub + 2 * 384);
        put_nibbles(rows, 64 * half + 32, sub + 384, sub + 3 * 384);
        put_pairs(rows, 128 + 32 * half, 384, sub + 256);
    }
}
static void get_q6_k(const uint8_t *src, uint32_t lane, uint8_t *dst) {
    get_halves(src, lane, 1, dst + 208);
    get_bytes(src + 32, lane, 16, dst + 192);
    uint32_t word[8];
    memset(dst, 0, 192);
    for (uint32_t s = 0; s < 8; s++) {
        const uint8_t *sub = src + 288 + 384 * s;
        get_nibbles(sub, lane, word);
        nibbles_q6_back(word, s, dst);
        get_pairs(sub + 256, lane, word);
        pairs_k_back(word, s, dst + 128);
    }
}

static void put_plain4(row_ptr *rows, uint8_t *dst) {
    put_words(rows, 0, 1, dst);
}
static void get_plain4(const uint8_t *src, uint32_t lane, uint8_t *dst) {
    get_words(src, lane, 1, dst);
}
static void put_plain2(row_ptr *rows, uint8_t *dst) {
    put_halves(rows, 0, 1, dst);
}
static void get_plain2(const uint8_t *src, uint32_t lane, uint8_t *dst) {
    get_halves(src, lane, 1, dst);
}

/* bf16: two k of a row side by side. An odd k leaves a zero behind the last. */
static void pack_pairs(const uint8_t *rows, uint64_t stride, uint64_t count, uint32_t k,
                       uint8_t *panel) {
    for (uint64_t i = 0; i < k; i += 2) {
        for (uint32_t r = 0; r < CPU_PANEL; r++, panel += 4) {
            uint8_t pair[4] = {0};
            if (r < count) memcpy(pair, rows + r * stride + 2 * i, i + 1 < k ? 4 : 2);
            memcpy(panel, pair, sizeof pair);
        }
    }
}
static void get_pair_halves(const uint8_t *panel, uint32_t lane, uint64_t k, uint64_t count,
                            uint8_t *dst) {
    for (uint64_t i = k; i < k + count; i++, dst += 2)
        memcpy(dst, panel + (i / 2 * CPU_PANEL + lane) * 4 + i % 2 * 2, 2);
}

typedef struct panel_format {
    void (*put)(row_ptr *rows, uint8_t *dst);
    void (*get)(const uint8_t *src, uint32_t lane, uint8_t *dst);
    uint32_t header, sub; /* bytes */
} panel_format;

// clang-format off
static const panel_format formats[HY_DTYPE_COUNT] = { /* bf16: pack_pairs */
    [HY_DTYPE_F32]    = {put_plain4, get_plain4, 0, 0},
    [HY_DTYPE_F16]    = {put_plain2, get_plain2, 0, 0},
    [HY_DTYPE_Q8_0]   = {put_q8_0,   get_q8_0,   32, 512},
    [HY_DTYPE_Q4_0]   = {put_q4_0,   get_q4_0,   32, 256},
    [HY_DTYPE_Q4_1]   = {put_q4_1,   get_q4_1,   64, 256},
    [HY_DTYPE_Q5_0]   = {put_q5_0,   get_q5_0,   32, 320},
    [HY_DTYPE_Q5_1]   = {put_q5_1,   get_q5_1,   64, 320},
    [HY_DTYPE_Q2_K]   = {put_q2_k,   get_q2_k,   320, 128},
    [HY_DTYPE_Q3_K]   = {put_q3_k,   get_q3_k,   224, 192},
    [HY_DTYPE_Q4_K]   = {put_q4_k,   get_q4_k,   256, 256},
    [HY_DTYPE_Q5_K]   = {put_q5_k,   get_q5_k,   256, 320},
    [HY_DTYPE_Q6_K]   = {put_q6_k,   get_q6_k,   288, 384},
    [HY_DTYPE_IQ4_NL] = {put_q4_0,   get_q4_0,   32, 256},
    [HY_DTYPE_IQ4_XS] = {put_iq4_xs, get_iq4_xs, 128, 256},
    [HY_DTYPE_MXFP4]  = {put_mxfp4,  get_mxfp4,  16, 256},
};
// clang-format on

void cpu_panel_block(hy_dtype dtype, uint32_t *header, uint32_t *sub) {
    *header = formats[dtype].header;
    *sub = formats[dtype].sub;
}

void cpu_panel_lane(hy_dtype dtype, const uint8_t *panel, uint32_t lane, uint32_t block,
                    uint32_t count, uint8_t *dst) {
    const uint64_t bytes = hy_dtype_get(dtype)->bytes;
    if (dtype == HY_DTYPE_BF16) {
        get_pair_halves(panel, lane, block, count, dst);
        return;
    }
    for (uint64_t b = 0; b < count; b++)
        formats[dtype].get(panel + (block + b) * bytes * CPU_PANEL, lane, dst + b * bytes);
}

/* ---- whole operands ---- */

uint32_t cpu_weight_operand(const hy_op *op) {
    return op->kind == HY_OP_EMBED    ? (uint32_t)HY_EMBED_table
           : op->kind == HY_OP_MATMUL ? (uint32_t)HY_MATMUL_w
                                      : (uint32_t)HY_GROUPED_MATMUL_w;
}

cpu_panels cpu_panels_of(const hy_op *op) {
    const hy_tensor *w = &op->operand[cpu_weight_operand(op)];
    const bool grouped = op->kind == HY_OP_GROUPED_MATMUL;
    const bool glu = grouped ? op->grouped_matmul.glu : op->kind == HY_OP_MATMUL && op->matmul.glu;
    cpu_panels p = {.dtype = (hy_dtype)w->dtype, .units = glu ? 2 : 1, .together = 1};
    if (op->kind == HY_OP_MATMUL && op->operand[HY_MATMUL_out].dtype == HY_DTYPE_A8) p.together = 2;
    p.experts = grouped ? w->dim[0] : 1;
    p.n = w->dim[grouped ? 1 : 0];
    p.k = w->dim[grouped ? 2 : 1];
    p.m = p.n / p.units;
    p.groups = (p.m + CPU_PANEL - 1) / CPU_PANEL;
    const uint32_t k = p.dtype == HY_DTYPE_BF16 ? p.k + p.k % 2 : p.k; /* whole pairs */
    p.bytes = hy_dtype_row_bytes(hy_dtype_get(p.dtype), k) * CPU_PANEL;
    return p;
}

void cpu_panel_constants(const hy_op *op, hy_constant_layout *constant) {
    const uint32_t operand = cpu_weight_operand(op);
    if (!op->operand[operand].constant) return;
    const cpu_panels p = cpu_panels_of(op);
    const bool split = p.experts > 1 || p.units > 1; /* panels that end inside of the operand */
    constant[operand].layout =
        16 * (uint32_t)p.dtype + (p.units > 1 ? CPU_LAYOUT_PANEL_GLU : CPU_LAYOUT_PANEL);
    constant[operand].rows = split && p.m % CPU_PANEL ? p.n : CPU_PANEL;
    constant[operand].bytes = hy_align_up(cpu_group_offset(&p, p.experts, 0), 64);
}

/* Place of a row of the flattened operand. */
static uint64_t locate(const cpu_panels *p, uint64_t row, uint32_t *lane, uint64_t *left) {
    const uint32_t expert = (uint32_t)(row / p->n), i = (uint32_t)(row % p->n);
    const uint32_t unit = i >= p->m, j = i - unit * p->m;
    *lane = j % CPU_PANEL;
    *left = HY_MIN(CPU_PANEL - *lane, p->m - j);
    return cpu_group_offset(p, expert, j / CPU_PANEL) + unit * p->bytes;
}

/* f16: 32 elements of each row, half the rows at a time: rows are often powers of two apart, so that the
 * first-level cache has room for the lines of few of them. */
static void put_tile2(row_ptr *rows, uint8_t *dst) {
    for (uint32_t r = 0; r < CPU_PANEL; r += 8) {
        for (uint32_t k = 0; k < 32; k += 8) {
            cpu_halves8 v[8];
            for (uint32_t j = 0; j < 8; j++)
                memcpy(&v[j], rows[r + j] + 2 * k, sizeof v[j]);
            cpu_transpose_halves(v);
            for (uint32_t j = 0; j < 8; j++)
                memcpy(dst + ((k + j) * CPU_PANEL + r) * 2, &v[j], sizeof v[j]);
        }
    }
}

/* f32: 16 elements of each row. */
static void put_tile4(row_ptr *rows, uint8_t *dst) {
    put_words(rows, 0, 16, dst);
}

/* `count` rows, `stride` bytes apart, and zeros for the rest of the 16 -> one panel. */
static void pack_panel(const cpu_panels *p, const uint8_t *rows, uint64_t stride, uint64_t count,
                       uint8_t *panel) {
    static const uint8_t zeros[MAX_BLOCK_BYTES];
    if (p->dtype == HY_DTYPE_BF16) {
        pack_pairs(rows, stride, count, p->k, panel);
        return;
    }
    const uint64_t bytes = hy_dtype_get(p->dtype)->bytes;
    const panel_format *format = &formats[p->dtype];
    const uint8_t *at[CPU_PANEL];
    for (uint32_t r = 0; r < CPU_PANEL; r++)
        at[r] = r < count ? rows + r * stride : zeros;
    /* 16 streams are more than what the hardware follows; the next panel's rows are likely the next bytes */
    const uintptr_t next = (uintptr_t)rows + stride * CPU_PANEL;
    const bool tiles = p->dtype == HY_DTYPE_F16 || p->dtype == HY_DTYPE_F32;
    for (uint64_t done = 0, step; done < p->bytes; done += step * CPU_PANEL) {
        step = tiles && p->bytes - done >= TILE_BYTES * CPU_PANEL ? TILE_BYTES : bytes;
        for (uint64_t ahead = 0; ahead < step * CPU_PANEL; ahead += LINE)
            __builtin_prefetch((const void *)(next + done + ahead), 0, 2);
        if (step == bytes)
            format->put(at, panel + done);
        else
            (bytes == 2 ? put_tile2 : put_tile4)(at, panel + done);
        for (uint32_t r = 0; r < count; r++)
            at[r] += step;
    }
}

void cpu_panel_pack_group(const cpu_panels *p, uint32_t group, const uint8_t *rows, uint64_t stride,
                          uint8_t *dst) {
    const uint32_t first = group * CPU_PANEL, count = HY_MIN(p->m - first, (uint32_t)CPU_PANEL);
    for (uint32_t unit = 0; unit < p->units; unit++)
        pack_panel(p, rows + ((uint64_t)unit * p->m + first) * stride, stride, count,
                   dst + unit * p->bytes);
}

void cpu_panel_pack(const hy_op *op, uint32_t operand, uint64_t row, uint64_t rows, const void *src,
                    void *dst) {
    const cpu_panels p = cpu_panels_of(op);
    const uint64_t row_bytes = hy_dtype_row_bytes(hy_dtype_get(p.dtype), p.k);
    const uint8_t *in = src;
    (void)operand;
    while (rows) {
        uint32_t lane; /* 0: constant.rows sees to it */
        uint64_t left;
        uint8_t *panel = (uint8_t *)dst + locate(&p, row, &lane, &left);
        const uint64_t here = HY_MIN(left, rows);
        pack_panel(&p, in, row_bytes, here, panel);
        in += here * row_bytes;
        row += here;
        rows -= here;
    }
}

void cpu_panel_unpack(const hy_op *op, uint32_t operand, uint64_t row, uint64_t rows,
                      const void *src, void *dst) {
    const cpu_panels p = cpu_panels_of(op);
    const hy_dtype_info *info = hy_dtype_get(p.dtype);
    const uint64_t row_bytes = hy_dtype_row_bytes(info, p.k);
    uint8_t *out = dst;
    (void)operand;
    for (uint64_t i = 0; i < rows; i++) {
        uint32_t lane;
        uint64_t left;
        const uint64_t at = locate(&p, row + i, &lane, &left);
        cpu_panel_lane(p.dtype, (const uint8_t *)src + at, lane, 0, p.k / info->block,
                       out + i * row_bytes);
    }
}
