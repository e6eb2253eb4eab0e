/* tools/bench/match.h: which row of one set of results is about the same work as which of another. */
#ifndef HY_TOOLS_BENCH_MATCH_H
#define HY_TOOLS_BENCH_MATCH_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* What a row measured, as far as it is known: NULL or NaN in a key is not, and is equal to anything. */
typedef struct match_key {
    const json_t *row;
    const char *engine, *sha256, *type, *test, *numerics, *kv_type;
    const char *device, *device_id, *cpu, *machine;
    const char *interleave;       /* the run in which rows took turns */
    double interleave_index;      /* which of those that took turns */
    double size, params, threads; /* bytes of weights, parameters */
    double batch, micro_batch;    /* tokens */
    double cpus, memory;          /* of the machine: threads on line, bytes */
} match_key;

/* Where two rows were measured. */
typedef enum match_scope {
    MATCH_DEVICE,  /* the same device of the same machine */
    MATCH_DEVICES, /* two devices of one machine */
    MATCH_MACHINES /* two machines */
} match_scope;

/* The key of a row, which it points into. */
match_key match_key_of(const json_t *row);

/* Where two rows were measured. */
match_scope match_where(const match_key *a, const match_key *b);

/* True when the two took turns in one run. */
bool match_interleaved(const match_key *a, const match_key *b);

/* For each row of a [na] the row of b [nb] it is compared with, or nb: partner [na]. `taken` [nb] is scratch and
 * says afterwards which rows of b have one. */
void match_rows(const match_key *a, size_t na, const match_key *b, size_t nb, size_t *partner,
                bool *taken);

/* Why `one` has no partner among others [n], in a text of at most `capacity` bytes. `taken` [n]: those that have. */
void match_reason(const match_key *one, const match_key *others, size_t n, const bool *taken,
                  char *text, size_t capacity);

#endif
