/* Facts about GGUF's numbers. */
#include "base/num.h"
#include "src/format/gguf_inner.h"

typedef struct tensor_type {
    uint32_t number;
    const char *name;
    uint32_t block, bytes; /* elements and bytes per block */
} tensor_type;

/* Every type that GGUF files carry, also those without a hy_dtype. Source: gguf-py's constants,
 * 2026; Q2_0 from ../shared/data/golden. */
// clang-format off
static const tensor_type tensor_types[] = {
    {0, "F32", 1, 4},         {1, "F16", 1, 2},         {2, "Q4_0", 32, 18},
    {3, "Q4_1", 32, 20},      {6, "Q5_0", 32, 22},      {7, "Q5_1", 32, 24},
    {8, "Q8_0", 32, 34},      {10, "Q2_K", 256, 84},    {11, "Q3_K", 256, 110},
    {12, "Q4_K", 256, 144},   {13, "Q5_K", 256, 176},   {14, "Q6_K", 256, 210},
    {15, "Q8_K", 256, 292},   {16, "IQ2_XXS", 256, 66}, {17, "IQ2_XS", 256, 74},
    {18, "IQ3_XXS", 256, 98}, {19, "IQ1_S", 256, 50},   {20, "IQ4_NL", 32, 18},
    {21, "IQ3_S", 256, 110},  {22, "IQ2_S", 256, 82},   {23, "IQ4_XS", 256, 136},
    {24, "I8", 1, 1},         {25, "I16", 1, 2},        {26, "I32", 1, 4},
    {27, "I64", 1, 8},        {28, "F64", 1, 8},        {29, "IQ1_M", 256, 56},
    {30, "BF16", 1, 2},       {34, "TQ1_0", 256, 54},   {35, "TQ2_0", 256, 66},
    {39, "MXFP4", 32, 17},    {40, "NVFP4", 64, 36},    {41, "Q1_0", 128, 18},
    {42, "Q2_0", 64, 18},
};
// clang-format on

static const tensor_type *find_type(uint32_t number) {
    for (size_t i = 0; i < HY_COUNT_OF(tensor_types); i++) {
        if (tensor_types[i].number == number) return &tensor_types[i];
    }
    return NULL;
}

const char *hy_gguf_tensor_type_name(uint32_t gguf_type) {
    const tensor_type *type = find_type(gguf_type);
    return type ? type->name : "unknown";
}

bool hy_gguf_type_blocks(uint32_t gguf_type, uint32_t *block, uint32_t *bytes) {
    const tensor_type *type = find_type(gguf_type);
    if (!type) return false;
    *block = type->block;
    *bytes = type->bytes;
    return true;
}

static const struct {
    const char *name;
    uint32_t bytes; /* 0: of its own length */
} value_types[] = {
    {"u8", 1},   {"i8", 1},     {"u16", 2},   {"i16", 2}, {"u32", 4}, {"i32", 4}, {"f32", 4},
    {"bool", 1}, {"string", 0}, {"array", 0}, {"u64", 8}, {"i64", 8}, {"f64", 8},
};

const char *hy_gguf_value_type_name(hy_gguf_type type) {
    return (unsigned)type < HY_COUNT_OF(value_types) ? value_types[type].name : "unknown";
}

uint32_t hy_gguf_element_bytes(uint32_t type) {
    return type < HY_COUNT_OF(value_types) ? value_types[type].bytes : 0;
}

bool hy_gguf_alignment_is_valid(uint64_t alignment) {
    return alignment >= HY_GGUF_MIN_ALIGNMENT && alignment <= HY_GGUF_MAX_ALIGNMENT &&
           (alignment & (alignment - 1)) == 0;
}

/* Bytes of the UTF-8 sequence that starts with `lead`, 0 for none; `low` .. `high` is the range of
 * its second byte, which rules out overlong forms, surrogates and values past U+10FFFF (Unicode,
 * table 3-7). */
static size_t sequence_length(unsigned char lead, unsigned char *low, unsigned char *high) {
    *low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    *high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (lead >= 0xc2 && lead <= 0xdf) return 2;
    if (lead >= 0xe0 && lead <= 0xef) return 3;
    if (lead >= 0xf0 && lead <= 0xf4) return 4;
    return lead >= 0x20 && lead < 0x7f; /* control characters would spoil a message's one line */
}

bool hy_gguf_name_is_clean(const char *text, size_t length) {
    for (size_t at = 0; at < length;) {
        unsigned char low, high;
        const size_t n = sequence_length((unsigned char)text[at], &low, &high);
        if (n == 0 || n > length - at) return false;
        for (size_t i = 1; i < n; i++) {
            const unsigned char c = (unsigned char)text[at + i];
            if (c < (i == 1 ? low : 0x80) || c > (i == 1 ? high : 0xbf)) return false;
        }
        at += n;
    }
    return true;
}
