/* shaders/simt/attention_tile.cu: attention on matrix tiles, by the largest number of columns. */
#include "shaders/simt/simt.h"

#if HY_TILES
#include "shaders/simt/attention_tile.h"

HY_ENTRY(attention_tile64, ATT_THREADS) {
    attention_tile<2, 4u / ATT_WARPS>(args);
}
HY_ENTRY(attention_tile128, ATT_THREADS) {
    attention_tile<2, 8u / ATT_WARPS>(args);
}
HY_ENTRY(attention_tile256, ATT_THREADS) {
    attention_tile<1, 16u / ATT_WARPS>(args);
}
HY_ENTRY(attention_tile_split64, ATT_THREADS) {
    attention_tile_split<4u / ATT_WARPS>(args);
}
HY_ENTRY(attention_tile_split128, ATT_THREADS) {
    attention_tile_split<8u / ATT_WARPS>(args);
}
HY_ENTRY(attention_tile_split256, ATT_THREADS) {
    attention_tile_split<16u / ATT_WARPS>(args);
}
#endif
