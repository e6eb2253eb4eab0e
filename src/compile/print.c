/* A program as text: bytes per arena, constants with their layouts, then the steps of one bucket; after an
 * earlier pass only what that pass had decided. */
#include <string.h>

#include "src/compile/inner.h"

static const char *const arena_names[HY_ARENA_COUNT] = {"weights", "state", "act", "step"};

#define ULL(n) ((unsigned long long)(n))

static void print_place(const hy_place *place, hy_text *out) {
    hy_text_add(out, "%s%u+%llu:%llu", arena_names[place->arena], place->device, ULL(place->offset),
                ULL(place->size));
}

static void print_constants(const hy_program *program, bool places, hy_text *out) {
    for (uint32_t i = 0; i < program->constants; i++) {
        const hy_program_constant *c = &program->constant[i];
        const hy_value *value = &program->graph->value[c->value];
        hy_text_add(out, "constant %%%s %s", value->name,
                    hy_dtype_get((hy_dtype)value->dtype)->name);
        if (places) {
            hy_text_add(out, " ");
            print_place(&c->place, out);
        }
        if (c->packed)
            hy_text_add(out, " packed as layout %u of %s", c->kernel.constant[c->operand].layout,
                        c->kernel.name);
        hy_text_add(out, "\n");
    }
}

static void print_bindings(const char *what, const hy_program_binding *binding, uint32_t count,
                           hy_text *out) {
    for (uint32_t i = 0; i < count; i++) {
        hy_text_add(out, "%s %s ", what, binding[i].name);
        print_place(&binding[i].place, out);
        hy_text_add(out, "\n");
    }
}

/* What there is to say of a step after `pass`. */
static void print_step(const hy_program_step *step, hy_pass pass, hy_text *out) {
    const hy_op_info *info = hy_op_get((hy_op_kind)step->op.kind);
    hy_text_add(out, "  ");
    if (pass >= HY_PASS_SCHEDULE) hy_text_add(out, "wave %u ", step->wave);
    hy_text_add(out, "D%u %s: ", step->device, step->transfer ? "transfer" : step->kernel.name);
    hy_op_print(&step->op, out);
    hy_text_add(out, "\n");
    if (pass < HY_PASS_PLAN_MEMORY) return;
    hy_text_add(out, "   ");
    for (uint32_t k = 0; k < info->operands; k++) {
        if (!step->operand[k].size) continue;
        hy_text_add(out, " %s=", info->operand[k].name);
        print_place(&step->operand[k], out);
    }
    if (step->workspace.size) {
        hy_text_add(out, " workspace=");
        print_place(&step->workspace, out);
    }
    hy_text_add(out, "\n");
}

static void print_arenas(const hy_program *program, const hy_program_bucket *bucket, hy_text *out) {
    for (uint32_t d = 0; d < program->devices; d++) {
        const uint64_t *bytes = program->arena_bytes[d];
        hy_text_add(out,
                    "device %u: weights %llu, state %llu, activations %llu (this bucket %llu), "
                    "step %llu bytes\n",
                    d, ULL(bytes[HY_ARENA_WEIGHTS]), ULL(bytes[HY_ARENA_STATE]),
                    ULL(bytes[HY_ARENA_ACTIVATIONS]), ULL(bucket->activation_bytes[d]),
                    ULL(bytes[HY_ARENA_STEP]));
    }
}

static void print_bucket(const hy_program *program, uint32_t index, hy_pass pass, hy_text *out) {
    const hy_program_bucket *bucket = &program->bucket[index];
    const uint32_t *of = bucket->bounds.of;
    hy_text_add(out, "program \"%s\": bucket %u of %u: T=%u S=%u R=%u P=%u L=%u, %u steps",
                program->graph->name, index, program->buckets, of[HY_SYMBOL_T], of[HY_SYMBOL_S],
                of[HY_SYMBOL_R], of[HY_SYMBOL_P], of[HY_SYMBOL_L], bucket->steps);
    if (pass >= HY_PASS_SCHEDULE) hy_text_add(out, " in %u waves", bucket->waves);
    hy_text_add(out, "\n");
    if (pass >= HY_PASS_PLAN_MEMORY) print_arenas(program, bucket, out);
    if (pass != HY_PASS_BUCKET) print_constants(program, pass >= HY_PASS_PLAN_MEMORY, out);
    if (pass >= HY_PASS_PLAN_MEMORY) {
        print_bindings("input", program->input, program->inputs, out);
        print_bindings("state", program->state, program->states, out);
        print_bindings("output", program->output, program->outputs, out);
    }
    for (uint32_t i = 0; i < bucket->steps; i++) {
        const bool barrier = i && bucket->step[i].wave != bucket->step[i - 1].wave;
        if (pass == HY_PASS_EMIT && barrier) hy_text_add(out, "  barrier\n");
        print_step(&bucket->step[i], pass, out);
    }
}

void hy_program_print(const hy_program *program, uint32_t index, hy_text *out) {
    if (index < program->buckets) print_bucket(program, index, HY_PASS_PLAN_MEMORY, out);
}

void hy_program_print_pass(const hy_program *program, hy_pass pass, hy_text *out) {
    for (uint32_t i = pass == HY_PASS_BUCKET ? 0 : program->buckets - 1; i < program->buckets; i++)
        print_bucket(program, i, pass, out);
}
