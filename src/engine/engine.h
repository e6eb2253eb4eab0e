/* src/engine/engine.h: the inside of the engine, shared by its files.
 *
 * model.c, text.c   one file: metadata, vocabulary           instance.c  devices, version
 * plan.c            parameters -> devices, program, bytes     load.c      weights -> packed constants
 * engine.c          arenas, recording, life                   sequence.c  tokens and pages of one stream
 * step.c            one ragged batch                          sampler.c   logits -> token
 * pages.c           who owns which KV page                    cost.c      what a step moves and computes */
#ifndef HY_ENGINE_ENGINE_H
#define HY_ENGINE_ENGINE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/num.h"
#include "base/status.h"
#include "halyard/halyard.h"
#include "models/model.h"
#include "src/compile/compile.h"
#include "src/engine/pages.h"
#include "src/text/tokenizer.h"

/* Rows of weights are handed to pack() in pieces of about this many bytes. */
#ifndef HY_LOAD_CHUNK /* a test makes it small */
#define HY_LOAD_CHUNK (16u << 20)
#endif

struct hy_model {
    _Atomic uint32_t references;
    hy_gguf *gguf;
    hy_hparams h;
    hy_tokenizer *tokenizer; /* NULL: the file has no vocabulary */
    bool vocabulary_only;    /* no tensors: text functions only */
};

/* Copies a parameter struct that begins with its size over *dst, which holds defaults (zeros) of `size`
 * bytes. src NULL: nothing to copy. HY_E_ARGUMENT when its size was not set. */
HY_NODISCARD hy_status hy_params_copy(void *dst, uint32_t size, const void *src, const char *name);
/* Writes an info struct of `size` bytes to the caller's, as much as its size field says. */
HY_NODISCARD hy_status hy_info_copy(void *dst, const void *src, uint32_t size, const char *name);

/* ---- plan.c ------------------------------------------------------------------------------------ */

/* Everything about an engine that is known before memory is taken. */
typedef struct hy_setup {
    hy_engine_params params; /* defaults resolved; the strings are the caller's */
    uint32_t devices;
    hy_device *device[HY_MAX_DEVICES]; /* wrappers included */
    char id[HY_MAX_DEVICES][32];
    hy_device_info info[HY_MAX_DEVICES];
    uint64_t budget[HY_MAX_DEVICES]; /* 0: none given */
    uint32_t pages;                  /* of the KV cache */
    uint32_t page_row;               /* of the longest context: entries of a page table row */
    hy_program *program;
    uint64_t host_bytes; /* heap of the engine itself: tables, load chunk, copies of logits */
} hy_setup;

/* Resolves parameters, opens devices, builds and compiles the graph. */
HY_NODISCARD hy_status hy_setup_make(const hy_model *model, const hy_engine_params *params,
                                     hy_setup *out);
/* The graph after a pass as text, or as Graphviz: as built (HY_PASS_NONE) or as it runs (any other). */
HY_NODISCARD hy_status hy_setup_print(const hy_model *model, const hy_setup *setup, hy_pass pass,
                                      bool dot, hy_text *out);
/* Frees the program, then closes the devices. */
void hy_setup_free(hy_setup *setup);
/* HY_E_MEMORY with needed and available bytes. */
HY_NODISCARD hy_status hy_setup_check(const hy_setup *setup);
/* Bytes per device, as hy_plan. */
void hy_setup_memory(const hy_setup *setup, hy_plan_device *devices, uint32_t capacity,
                     uint32_t *count);
/* Resolved defaults; checks every number. */
HY_NODISCARD hy_status hy_setup_resolve(const hy_model *model, const hy_engine_params *params,
                                        hy_setup *out);

/* ---- engine.c ---------------------------------------------------------------------------------- */

struct hy_sequence {
    hy_engine *engine;
    bool alive;
    bool queued; /* in the engine's queue of pending sequences */
    hy_sequence *prev, *next;
    uint32_t length, computed; /* tokens known / with keys and values in the cache */
    uint32_t cached;           /* tokens that came from the prefix cache */
    uint32_t pages;            /* entries of page[] in use */
    int32_t *ids;              /* [context] */
    uint8_t *want;             /* [context] 1: logits were asked for after this token */
    uint32_t *page;            /* [page_row] */
    uint64_t *past;            /* [page_row + 1] of pages.h: past[i] is what precedes page i */
    uint64_t logits_step;      /* step that computed the logits after the last token; 0: none */
    uint32_t logits_row;
};

/* One bucket, recorded. */
typedef struct hy_recorded {
    uint32_t segments;
    hy_program_segment *segment;
} hy_recorded;

/* What one sequence does in the step that is being built. */
typedef struct hy_part {
    hy_sequence *sequence;
    uint32_t begin, count; /* positions */
} hy_part;

/* The arrays of a step block, in host memory. */
typedef struct hy_step_block {
    uint32_t *counters;
    int32_t *tokens, *pos, *slot, *row, *rows, *len, *table;
} hy_step_block;

/* One layer's k or v, for copying a page. */
typedef struct hy_page_state {
    hy_buffer *buffer;
    uint64_t offset, bytes; /* of page 0, of one page */
} hy_page_state;

struct hy_engine {
    hy_model *model;
    hy_setup setup;
    hy_program_memory memory;
    hy_recorded recorded[HY_MAX_BUCKETS];
    hy_timeline *timeline[HY_MAX_DEVICES];
    uint64_t value[HY_MAX_DEVICES]; /* last one submitted */
    hy_step_block block[HY_MAX_DEVICES];
    hy_page_state *state; /* [program->states] */
    hy_pages *pages;
    void *bounce; /* for transfers and page copies off the host; [bounce_bytes] */
    uint64_t bounce_bytes;
    const float *logits;      /* [max_rows, vocab] of the last step */
    uint64_t logits_stride;   /* elements */
    hy_sequence *sequences;   /* [max_sequences]; slots are used again */
    hy_sequence *head, *tail; /* queue of sequences with pending tokens */
    hy_part *part;            /* [max_sequences] of the step being built */
    hy_row *row;              /* [max_rows] */
    uint64_t step;            /* number of steps that computed something */
    bool failed;              /* HY_E_DEVICE, sticky */
    uint64_t load_us, bytes, weight_bytes_per_token;
    double flops_per_token;
};

/* step.c: the smallest bucket that holds a batch. */
HY_NODISCARD hy_status hy_program_find_bucket(const hy_program *program, uint32_t tokens,
                                              uint32_t sequences, uint32_t rows, uint32_t *out);

/* load.c: packs every constant of the program into its place. */
HY_NODISCARD hy_status hy_engine_load(hy_engine *engine);
/* The largest piece that loading holds at once, in bytes, beside the arenas. */
uint64_t hy_load_chunk_bytes(const hy_program *program);

/* sequence.c: a page that may be written for position `position`, which is the next one to be computed;
 * copies a shared page. false: no page is available. Fails only if the device does. */
HY_NODISCARD hy_status hy_sequence_page(hy_sequence *sequence, uint32_t position, bool *got);
/* Marks [computed, end) as computed and publishes the pages that are full now. */
void hy_sequence_advance(hy_sequence *sequence, uint32_t end);
/* Takes a sequence out of the queue of pending ones. */
void hy_sequence_unqueue(hy_sequence *sequence);

/* HY_E_STATE for an engine that is only a plan. */
HY_NODISCARD hy_status hy_engine_check_loaded(const hy_engine *engine);
/* Remembers a device failure: everything later fails. Returns `status`. */
HY_NODISCARD hy_status hy_engine_note(hy_engine *engine, hy_status status);

#endif
