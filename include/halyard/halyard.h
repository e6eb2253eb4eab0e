/* halyard/halyard.h: the public C API of Halyard, an inference engine for open language models.
 *
 * The whole of it in one loop (error checks left out; examples/minimal.c has them):
 *
 *   hy_instance *instance;  hy_model *model;  hy_engine *engine;  hy_sequence *seq;  hy_sampler *sampler;
 *   hy_instance_new(NULL, &instance);
 *   hy_model_open(instance, "model.gguf", NULL, &model);
 *   hy_engine_new(model, hy_engine_params(.device = "cpu", .context = 2048), &engine);
 *   hy_sampler_new(model, hy_sampler_params(.temperature = 0.8f, .seed = 1), &sampler);
 *   hy_sequence_new(engine, &seq);
 *
 *   int32_t ids[512];  size_t n;
 *   hy_model_tokenize(model, "Once upon a time", 16, HY_TOKENIZE_ADD_SPECIAL, ids, 512, &n);
 *   hy_sequence_add(seq, ids, n, 0);                  // queue the prompt
 *   for (int i = 0; i < 100; i++) {
 *       const float *logits;
 *       do hy_engine_step(engine, NULL, NULL);        // one ragged batch over all sequences
 *       while (hy_sequence_pending(seq) > 0);
 *       hy_sequence_logits(seq, &logits);             // float32 [vocab] after the last token
 *       int32_t id;
 *       hy_sampler_sample(sampler, logits, &id);
 *       if (hy_token_is_end(model, id)) break;
 *       // print it: hy_decoder_next()
 *       hy_sequence_add(seq, &id, 1, 0);              // queue it for the next step
 *   }
 *
 *   hy_sequence_free(seq);  hy_sampler_free(sampler);  hy_engine_free(engine);
 *   hy_model_free(model);   hy_instance_free(instance);
 *
 * Conventions. Everything that can fail returns hy_status; hy_error_text() has one line about the last
 * failure of this thread. Handles are opaque; _new / _open pairs with _free, _free(NULL) does nothing; an
 * object must be freed before the one it was made from, but for hy_model, which is reference-counted.
 * Parameter structs are passed by pointer, begin with their size, and read zero as "default"; the macros of
 * the same name make them read like named arguments. Sizes are bytes and counts are elements unless a
 * name says otherwise. Text is UTF-8. Only headers under halyard/ are stable. */
#ifndef HALYARD_HALYARD_H
#define HALYARD_HALYARD_H

#include <stddef.h>
#include <stdint.h>

#include "halyard/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define HY_VERSION_MAJOR 0
#define HY_VERSION_MINOR 1
#define HY_VERSION_PATCH 0

/* "0.1.0" of the library that is linked. Thread-safety: any thread. */
HY_API const char *hy_version(void);

/* ---- instance: process-wide choices ---- */

/* Owns the list of devices and the log. Thread-safety: immutable after _new. */
typedef struct hy_instance hy_instance;

typedef struct hy_instance_params {
    uint32_t size;          /* sizeof of this struct */
    hy_log_level log_level; /* most talkative level that reaches `log` */
    hy_log_fn log;          /* NULL: silent */
    void *log_user;
} hy_instance_params;
#define hy_instance_params(...)                                                                    \
    (&(const hy_instance_params){.size = (uint32_t)sizeof(hy_instance_params), __VA_ARGS__})

/* params NULL: silent. The log callback is process-wide: the latest instance's counts. */
HY_API HY_NODISCARD hy_status hy_instance_new(const hy_instance_params *params, hy_instance **out);
HY_API void hy_instance_free(hy_instance *instance);

/* One device, or one backend that has none here. What cannot be used has `available` 0, and `detail` says
 * why. */
typedef struct hy_device_desc {
    uint32_t size;         /* set by the caller */
    int32_t available;     /* 1: can be named in hy_engine_params.device */
    char id[32];           /* "cpu:0"; the backend's name alone when it has no device */
    char name[128];        /* "AMD EPYC 9354" */
    char arch[64];         /* "avx512-vnni" */
    char detail[256];      /* driver, features; or the reason why it is not available */
    uint64_t memory_total; /* bytes */
    uint64_t memory_free;  /* bytes at the time of the call */
    uint32_t units;        /* cores, SMs, CUs */
    int32_t software;      /* 1: emulated or a test device, never picked by default */
    char bus[16];          /* of PCI, "0000:65:00.0"; "": it has none, or nobody tells */
} hy_device_desc;

/* Number of entries, available or not. Thread-safety: any thread. */
HY_API uint32_t hy_device_count(const hy_instance *instance);
/* HY_E_ARGUMENT when index is past the end. */
HY_API HY_NODISCARD hy_status hy_device_get(const hy_instance *instance, uint32_t index,
                                            hy_device_desc *out);

/* ---- model: one file, immutable, shared ---- */

/* Metadata, vocabulary and the mapping of the weights. Reference-counted: engines and samplers hold it.
 * Thread-safety: immutable; any number of threads. */
typedef struct hy_model hy_model;

/* path: a GGUF file (any shard of a split one). HY_E_UNSUPPORTED names an architecture, tensor type or
 * tokenizer that this build does not know, and lists those it does; HY_E_FORMAT names a missing or
 * misshapen tensor. A file without tensors opens whatever its architecture, for its vocabulary alone.
 * `params` is reserved: NULL. */
HY_API HY_NODISCARD hy_status hy_model_open(hy_instance *instance, const char *path,
                                            const void *params, hy_model **out);
HY_API hy_model *hy_model_retain(hy_model *model);
HY_API void hy_model_free(hy_model *model);

typedef struct hy_model_desc {
    uint32_t size;       /* set by the caller */
    char arch[32];       /* "llama" */
    char name[128];      /* general.name, or the file's name */
    char type[32];       /* "Q4_0", the type of most weights */
    uint64_t parameters; /* elements of all tensors */
    uint64_t bytes;      /* tensor data in the file(s) */
    uint32_t vocab;      /* tokens */
    uint32_t context;    /* positions it was trained for */
    uint32_t layers, embedding, heads, kv_heads, head_dim;
    int32_t bos, eos; /* -1: none */
} hy_model_desc;

/* Numbers of the network and its file; 0 where a vocabulary-only file has none. */
HY_API HY_NODISCARD hy_status hy_model_describe(const hy_model *model, hy_model_desc *out);
/* Text of a metadata value by its GGUF key, at most `capacity` bytes with the terminator; *length is the
 * full length. HY_E_NOT_FOUND. Arrays are given by type and count. */
HY_API HY_NODISCARD hy_status hy_model_meta(const hy_model *model, const char *key, char *text,
                                            size_t capacity, size_t *length);

/* ---- text ---- */

enum {
    HY_TOKENIZE_ADD_SPECIAL = 1, /* add BOS / EOS where the model wants them */
    HY_TOKENIZE_SPECIAL_TEXT = 2 /* "<s>" in the text is the token, not its characters */
};

/* text [length] -> ids: at most `capacity` are written, *count is the number there are (ask with capacity
 * 0). HY_E_TEXT for invalid UTF-8 with its offset. Thread-safety: any thread. */
HY_API HY_NODISCARD hy_status hy_model_tokenize(const hy_model *model, const char *text,
                                                size_t length, unsigned flags, int32_t *ids,
                                                size_t capacity, size_t *count);
/* 1 for ids that end a generation. Thread-safety: any thread. */
HY_API int hy_token_is_end(const hy_model *model, int32_t id);

/* Turns ids into text piece by piece and never emits half a UTF-8 character. One per stream.
 * Thread-safety: one thread at a time. */
typedef struct hy_decoder hy_decoder;
/* special 1: control tokens are written out as they are spelled. */
HY_API HY_NODISCARD hy_status hy_decoder_new(const hy_model *model, int special, hy_decoder **out);
HY_API void hy_decoder_free(hy_decoder *decoder);
/* *text [*length] is what `id` completes (perhaps nothing), 0-terminated, valid until the next call. */
HY_API HY_NODISCARD hy_status hy_decoder_next(hy_decoder *decoder, int32_t id, const char **text,
                                              size_t *length);
/* What an unfinished character left over, as U+FFFD; ready for a new stream afterwards. */
HY_API HY_NODISCARD hy_status hy_decoder_finish(hy_decoder *decoder, const char **text,
                                                size_t *length);

typedef struct hy_message {
    const char *role; /* "system", "user", "assistant" */
    const char *content;
} hy_message;
/* The prompt for a conversation by the model's chat template: at most `capacity` bytes with the
 * terminator, *length is the full length. add_prompt 1: ends with the opening of the assistant's turn.
 * HY_E_UNSUPPORTED for a template of an unknown family. Thread-safety: any thread. */
HY_API HY_NODISCARD hy_status hy_chat_format(const hy_model *model, const hy_message *messages,
                                             size_t count, int add_prompt, char *text,
                                             size_t capacity, size_t *length);

/* ---- plan and engine ---- */

/* Element type of cached keys and values; q8_0 needs heads of a multiple of 32 elements. */
typedef enum hy_kv_type { HY_KV_F16 = 0, HY_KV_F32 = 1, HY_KV_Q8_0 = 2 } hy_kv_type;

typedef enum hy_numerics {
    HY_NUMERICS_INVARIANT =
        0, /* a sequence's logits do not depend on the batch it runs in, bit for bit */
    HY_NUMERICS_FAST = 1 /* admits BLAS and split variants */
} hy_numerics;

typedef struct hy_engine_params {
    uint32_t size;      /* sizeof of this struct */
    const char *device; /* "cpu", "ref", "vulkan:0,cpu:0"; NULL: the best there is. Layers fill the
                                devices in order; "vulkan:0=8G" takes at most 8 GiB of weights and cache */
    uint32_t context;   /* tokens per sequence; 0: the model's, at most 4096 */
    uint32_t max_sequences; /* sequences alive at once; 0: 1 */
    uint32_t max_batch;     /* tokens per step; 0: 512 */
    uint32_t max_rows;      /* logit rows per step; 0: max_sequences, at most max_batch */
    uint32_t cache_tokens;  /* room of the KV cache; 0: context * max_sequences */
    hy_kv_type kv_type;
    hy_numerics numerics;
    uint32_t threads;        /* cpu workers; 0: one per physical core */
    uint64_t cpu_mask;       /* the first 64 cpus to pin workers to; 0: no pinning */
    const char *isa;         /* cpu: highest ISA to use; NULL: all */
    int32_t fallback;        /* 1: ops that a device lacks may run on another one of the list */
    int32_t validate;        /* 1: check every HAL call (slower) */
    int32_t trace;           /* 1: time every op on its own (slower); see hy_engine_trace */
    int32_t no_prefix_cache; /* 1: do not reuse pages of equal prefixes */
    const char *cpus;  /* any cpus to pin workers to, "0xff" or "0-3,8"; NULL: as cpu_mask says */
    int32_t no_graphs; /* 1: cuda, hip: launch kernels one by one instead of replaying a graph */
    int32_t plan_only; /* 1: compile, but take no memory and load nothing, whether it would fit or
                          not: the engine can only be asked about itself */
} hy_engine_params;
#define hy_engine_params(...)                                                                      \
    (&(const hy_engine_params){.size = (uint32_t)sizeof(hy_engine_params), __VA_ARGS__})

/* Predicted peak per device, in bytes. */
typedef struct hy_plan_device {
    char id[32];
    uint64_t weights, state, activations, step; /* arenas */
    uint64_t
        host; /* host heap beside the arenas (tables, weights in transit); on the first device */
    uint64_t total;     /* the sum of these */
    uint64_t available; /* free memory of the device now */
} hy_plan_device;

/* What an engine would need, without loading anything. Writes at most `capacity` devices and their number.
 * HY_E_MEMORY when it cannot fit: the text has needed and available bytes (the devices are still written).
 * After it succeeds hy_engine_new does not run out of memory, other processes aside. */
HY_API HY_NODISCARD hy_status hy_plan(const hy_model *model, const hy_engine_params *params,
                                      hy_plan_device *devices, uint32_t capacity, uint32_t *count);

/* A model loaded on devices, one KV cache, many sequences. Keeps the model alive.
 * Thread-safety: one thread at a time, sequences included. */
typedef struct hy_engine hy_engine;

/* params NULL: defaults. Loads the weights; `progress` below can watch. HY_E_NOT_FOUND lists the devices;
 * HY_E_MEMORY before anything is loaded. */
HY_API HY_NODISCARD hy_status hy_engine_new(hy_model *model, const hy_engine_params *params,
                                            hy_engine **out);
HY_API void hy_engine_free(hy_engine *engine);

typedef struct hy_engine_desc {
    uint32_t size;                                        /* set by the caller */
    char device[64];                                      /* "cpu:0" */
    uint32_t context, max_sequences, max_batch, max_rows; /* as resolved */
    uint32_t page_tokens;                                 /* 64 */
    uint32_t pages, pages_free;      /* of the KV cache; cached prefixes count as free */
    uint64_t load_us;                /* loading the weights, compiling included */
    uint64_t compile_us;             /* compiling all buckets */
    uint64_t bytes;                  /* all arenas on all devices */
    uint64_t weight_bytes_per_token; /* weights read for one token at batch 1 */
    double flops_per_token;          /* multiply and add counted as two, at position 0 */
} hy_engine_desc;
HY_API HY_NODISCARD hy_status hy_engine_describe(const hy_engine *engine, hy_engine_desc *out);
/* What the engine holds, as hy_plan said it would. Writes at most `capacity` devices and their number. */
HY_API HY_NODISCARD hy_status hy_engine_memory(const hy_engine *engine, hy_plan_device *devices,
                                               uint32_t capacity, uint32_t *count);

/* The batch of one step; every sequence has the same past and an equal share of the tokens. */
typedef struct hy_step_shape {
    uint32_t size;      /* sizeof of this struct */
    uint32_t tokens;    /* new ones, of all sequences; 0: 1 */
    uint32_t sequences; /* 0: 1 */
    uint32_t rows;      /* of logits; 0: one for each sequence */
    uint32_t past;      /* tokens of each sequence in the cache before the step */
} hy_step_shape;
#define hy_step_shape(...)                                                                         \
    (&(const hy_step_shape){.size = (uint32_t)sizeof(hy_step_shape), __VA_ARGS__})

/* What most of an op's arithmetic is done in, and so which of a device's peaks bounds it. */
typedef enum hy_arithmetic {
    HY_ARITHMETIC_F32 = 0,
    HY_ARITHMETIC_F16 = 1,
    HY_ARITHMETIC_BF16 = 2,
    HY_ARITHMETIC_INT8 = 3
} hy_arithmetic;

/* One op of a step. */
typedef struct hy_op_cost {
    const char *op;        /* "matmul", ...; "transfer": a copy between devices */
    const char *kernel;    /* "cpu.matmul.q4_0.avx512vnni" */
    const char *device;    /* "cpu:0" */
    uint64_t weight_bytes; /* read, as packed; of experts those that are chosen if all are alike */
    uint64_t kv_read_bytes, kv_written_bytes;
    uint64_t activation_bytes; /* read and written, as if no cache kept any */
    double flops;              /* multiply and add counted as two */
    hy_arithmetic arithmetic;
    const char *type; /* of weights, of the cache in attention: "q4_0"; NULL: it has neither */
    uint32_t tokens;  /* rows that it works on */
    uint32_t extent
        [4]; /* matmul: rows and columns of the weights; grouped_matmul: experts, their rows and
                           columns, experts per token; attention: heads, heads of keys, elements of a
                           head, positions seen by the last token; embed: rows, columns; others: columns */
} hy_op_cost;
typedef void (*hy_cost_fn)(void *user, const hy_op_cost *cost);

/* Visits the ops of a step in the order in which they run, with what they move and compute by the plan;
 * shape NULL: one token at position 0. The text is the engine's, the struct is the call's. HY_E_ARGUMENT
 * for a shape past the engine's limits. Thread-safety: as the engine. */
HY_API HY_NODISCARD hy_status hy_engine_costs(const hy_engine *engine, const hy_step_shape *shape,
                                              hy_cost_fn visit, void *user);

/* Writes a Chrome trace of all ops since the last call; of several devices, the others' go to "<path>.1"
 * and so on. HY_E_STATE without hy_engine_params.trace. */
HY_API HY_NODISCARD hy_status hy_engine_trace(hy_engine *engine, const char *path);

/* ---- sequences ---- */

/* One stream of tokens with its cached keys and values. Belongs to its engine. */
typedef struct hy_sequence hy_sequence;

/* HY_E_LIMIT when max_sequences are alive. */
HY_API HY_NODISCARD hy_status hy_sequence_new(hy_engine *engine, hy_sequence **out);
HY_API void hy_sequence_free(hy_sequence *sequence);
/* A second sequence with the same past; full pages are shared. Nothing may be pending. */
HY_API HY_NODISCARD hy_status hy_sequence_fork(const hy_sequence *sequence, hy_sequence **out);

enum { HY_ADD_ALL_LOGITS = 1 /* logits for each of these tokens, not only the last one */ };

/* Queues ids [count] behind what is there. Pages of an equal prefix are taken from the cache when the
 * sequence is empty (not with HY_ADD_ALL_LOGITS). HY_E_LIMIT with both numbers when the context cannot hold
 * them; HY_E_ARGUMENT for an id outside the vocabulary. On failure nothing is queued. */
HY_API HY_NODISCARD hy_status hy_sequence_add(hy_sequence *sequence, const int32_t *ids,
                                              size_t count, unsigned flags);
/* Forgets everything from position `length` on (pending tokens first). */
HY_API HY_NODISCARD hy_status hy_sequence_truncate(hy_sequence *sequence, uint32_t length);
/* Tokens in the sequence, pending ones included / tokens not yet computed / tokens that came from the
 * prefix cache. */
HY_API uint32_t hy_sequence_length(const hy_sequence *sequence);
HY_API uint32_t hy_sequence_pending(const hy_sequence *sequence);
HY_API uint32_t hy_sequence_cached(const hy_sequence *sequence);

/* Logits after the last token: float32 [vocab], valid until the next step. HY_E_STATE while tokens are
 * pending or before the first step. */
HY_API HY_NODISCARD hy_status hy_sequence_logits(const hy_sequence *sequence, const float **out);

typedef struct hy_step_params {
    uint32_t size;       /* sizeof of this struct */
    uint32_t max_tokens; /* tokens in this step; 0: max_batch */
    uint32_t max_chunk;  /* tokens of one sequence in this step; 0: no limit */
} hy_step_params;
#define hy_step_params(...)                                                                        \
    (&(const hy_step_params){.size = (uint32_t)sizeof(hy_step_params), __VA_ARGS__})

/* One row of logits that a step computed. */
typedef struct hy_row {
    hy_sequence *sequence;
    uint32_t position;   /* of the token these logits follow */
    const float *logits; /* float32 [vocab], valid until the next step */
} hy_row;

typedef struct hy_step_result {
    uint32_t size;      /* set by the caller */
    uint32_t tokens;    /* computed in this step */
    uint32_t sequences; /* that took part */
    uint32_t rows;
    const hy_row *row; /* [rows], valid until the next step */
} hy_step_result;

/* Computes one ragged batch: sequences with one pending token first (decode), then chunks of the others in
 * the order in which they were queued. params and result may be NULL. With nothing pending it does nothing
 * and succeeds. A chunk is cut short where pages of the KV cache run out; HY_E_LIMIT when no sequence can go
 * on for that reason (nothing was computed; free or truncate a sequence).
 * HY_E_DEVICE is sticky. After warm-up a decode step allocates nothing on the heap. */
HY_API HY_NODISCARD hy_status hy_engine_step(hy_engine *engine, const hy_step_params *params,
                                             hy_step_result *result);

/* ---- sampling ---- */

/* One logit bias. */
typedef struct hy_logit_bias {
    int32_t id;
    float bias; /* added to the logit; -INFINITY bans the token */
} hy_logit_bias;

typedef struct hy_sampler_params {
    uint32_t size;     /* sizeof of this struct */
    float temperature; /* 0: greedy */
    uint32_t top_k;    /* 0: off */
    float top_p;       /* 0 or 1: off */
    float min_p;       /* 0: off */
    float typical_p;   /* 0 or 1: off */
    float
        repetition_penalty;  /* 0 or 1: off; logits of seen tokens are divided / multiplied by it */
    float frequency_penalty; /* subtracted per occurrence */
    float presence_penalty;  /* subtracted once if it occurred */
    uint32_t penalty_window; /* last tokens looked at; 0: 64 */
    uint64_t seed;           /* same seed, same text on every backend whose logits are equal */
    const hy_logit_bias *bias; /* copied */
    uint32_t biases;
} hy_sampler_params;
#define hy_sampler_params(...)                                                                     \
    (&(const hy_sampler_params){.size = (uint32_t)sizeof(hy_sampler_params), __VA_ARGS__})

/* Chooses tokens; the order is bias, penalties, temperature, top-k, typical, top-p, min-p.
 * Thread-safety: one thread at a time. */
typedef struct hy_sampler hy_sampler;
HY_API HY_NODISCARD hy_status hy_sampler_new(const hy_model *model, const hy_sampler_params *params,
                                             hy_sampler **out);
HY_API void hy_sampler_free(hy_sampler *sampler);
/* Tells the sampler of a token that it did not choose itself (a prompt), for the penalties. */
HY_API void hy_sampler_accept(hy_sampler *sampler, int32_t id);
/* logits: float32 [vocab], not changed. The chosen id is accepted. HY_E_ARGUMENT when no logit is finite. */
HY_API HY_NODISCARD hy_status hy_sampler_sample(hy_sampler *sampler, const float *logits,
                                                int32_t *id);

/* ---- files ---- */

/* Called with work done and in all, in bytes; return nonzero to cancel (HY_E_STATE). */
typedef int (*hy_progress_fn)(void *user, uint64_t done, uint64_t total);

typedef struct hy_quantize_params {
    uint32_t size;           /* sizeof of this struct */
    const char *type;        /* "q4_0", "q4_k", "f16", ... */
    uint32_t threads;        /* 0: one per physical core */
    hy_progress_fn progress; /* NULL: none */
    void *user;
} hy_quantize_params;
#define hy_quantize_params(...)                                                                    \
    (&(const hy_quantize_params){.size = (uint32_t)sizeof(hy_quantize_params), __VA_ARGS__})

/* Writes a requantized copy of a GGUF file; `output` appears whole or not at all. Thread-safety: any. */
HY_API HY_NODISCARD hy_status hy_quantize(const char *input, const char *output,
                                          const hy_quantize_params *params);

#ifdef __cplusplus
}
#endif
#endif
