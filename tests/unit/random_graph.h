/* tests/unit/random_graph.h: small random graphs over every op that needs no state. */
#ifndef HY_TESTS_RANDOM_GRAPH_H
#define HY_TESTS_RANDOM_GRAPH_H

#include "src/graph/graph.h"

/* Input x f32 [T,64] and rows i32 [R]; outputs out0, out1, ... f32, whose number is *outputs. */
hy_graph *random_graph(uint64_t seed, hy_dtype weights, uint32_t *outputs);

#endif
