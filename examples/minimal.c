/* minimal.c: text from a model in one loop.
 *
 *   cc minimal.c $(pkg-config --cflags --libs halyard) -o minimal
 *   ./minimal model.gguf "Once upon a time" */
#include <halyard/halyard.h>
#include <stdio.h>
#include <string.h>

#define TRY(call)                                                                                  \
    do {                                                                                           \
        if ((call) != HY_OK) goto failed;                                                          \
    } while (0)

int main(int argc, char **argv) {
    hy_instance *instance = NULL;
    hy_model *model = NULL;
    hy_engine *engine = NULL;
    hy_sequence *sequence = NULL;
    hy_sampler *sampler = NULL;
    hy_decoder *decoder = NULL;
    int32_t ids[512], id;
    size_t count, length;
    const float *logits;
    const char *text;
    int result = 1;
    if (argc != 3) {
        fprintf(stderr, "usage: %s MODEL.gguf PROMPT\n", argv[0]);
        return 2;
    }
    TRY(hy_instance_new(NULL, &instance));
    TRY(hy_model_open(instance, argv[1], NULL, &model));
    TRY(hy_engine_new(model, NULL, &engine));
    TRY(hy_sampler_new(model, hy_sampler_params(.temperature = 0), &sampler));
    TRY(hy_sequence_new(engine, &sequence));
    TRY(hy_decoder_new(model, 0, &decoder));

    TRY(hy_model_tokenize(model, argv[2], strlen(argv[2]), HY_TOKENIZE_ADD_SPECIAL, ids, 512,
                          &count));
    if (count > 512) {
        fprintf(stderr, "the prompt has %zu tokens, this example takes 512\n", count);
        goto done;
    }
    TRY(hy_sequence_add(sequence, ids, count, 0));
    for (int i = 0; i < 64; i++) {
        while (hy_sequence_pending(sequence) > 0)
            TRY(hy_engine_step(engine, NULL, NULL));
        TRY(hy_sequence_logits(sequence, &logits));
        TRY(hy_sampler_sample(sampler, logits, &id));
        if (hy_token_is_end(model, id)) break;
        TRY(hy_decoder_next(decoder, id, &text, &length));
        fwrite(text, 1, length, stdout);
        TRY(hy_sequence_add(sequence, &id, 1, 0));
    }
    TRY(hy_decoder_finish(decoder, &text, &length));
    printf("%s\n", text);
    result = 0;
    goto done;
failed:
    fprintf(stderr, "minimal: %s\n", hy_error_text());
done:
    hy_decoder_free(decoder);
    hy_sequence_free(sequence);
    hy_sampler_free(sampler);
    hy_engine_free(engine);
    hy_model_free(model);
    hy_instance_free(instance);
    return result;
}
