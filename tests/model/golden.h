/* tests/model/golden.h: the golden micro models: cases, runs, comparison. */
#ifndef HY_TEST_GOLDEN_H
#define HY_TEST_GOLDEN_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "halyard/halyard.h"

enum { GOLDEN_PROMPTS = 3, GOLDEN_MAX_TOKENS = 128 };

typedef struct golden_prompt {
    int32_t ids[GOLDEN_MAX_TOKENS];
    uint32_t count;
    uint32_t stored[GOLDEN_MAX_TOKENS]; /* positions whose rows are stored */
    uint32_t stored_count, first_row;
    int32_t greedy[64];
    uint32_t greedy_count;
    double router_gap[GOLDEN_MAX_TOKENS]; /* HUGE_VAL for dense models */
} golden_prompt;

typedef struct golden_case {
    char name[64], arch[32], type[32];
    char path[512];
    uint32_t vocab;
    double peer_nmse; /* llama.cpp's own error */
    golden_prompt prompt[GOLDEN_PROMPTS];
    float *want; /* [rows, vocab] */
} golden_case;

/* False (with a line on stderr) when the folder holds no readable case. */
bool golden_load(const char *folder, const char *name, golden_case *out);
void golden_free(golden_case *c);

/* Logits of every position: [prompt][position][vocab]. */
typedef struct golden_logits {
    float *row[GOLDEN_PROMPTS];
} golden_logits;
void golden_logits_free(golden_logits *l);

/* ragged: the three prompts in one batch, else one after the other. chunk: most tokens of one sequence in a
 * step, 0: no limit. Prints the failure and returns false. */
bool golden_run(hy_engine *engine, const golden_case *c, bool ragged, uint32_t chunk,
                golden_logits *out);
/* sum (a - r)^2 / sum (r - mean of its row)^2 over stored rows; positions whose router margin is below
 * `min_gap` are left out, and so are those after them in the same prompt (their keys differ). */
double golden_nmse(const golden_case *c, const golden_logits *l, double min_gap);
/* Bits of all rows equal. */
bool golden_equal(const golden_case *c, const golden_logits *a, const golden_logits *b);
/* Greedy continuation of every prompt equals the case's; counts of equal leading ids to *same of *all. */
bool golden_greedy(hy_engine *engine, const golden_case *c, uint32_t *same, uint32_t *all);

#endif
