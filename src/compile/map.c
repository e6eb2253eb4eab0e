#include <stdlib.h>
#include <string.h>

#include "src/compile/inner.h"

static bool map_grow(hy_map *map) {
    size_t slots = map->slots ? map->slots * 2 : 64;
    uint64_t *hash = malloc(slots * sizeof *hash);
    uint32_t *item = calloc(slots, sizeof *item);
    if (!hash || !item) {
        free(hash);
        free(item);
        return false;
    }
    for (size_t i = 0; i < map->slots; i++) {
        if (!map->item[i]) continue;
        size_t slot = map->hash[i] & (slots - 1);
        while (item[slot])
            slot = (slot + 1) & (slots - 1);
        item[slot] = map->item[i];
        hash[slot] = map->hash[i];
    }
    free(map->hash);
    free(map->item);
    map->hash = hash;
    map->item = item;
    map->slots = slots;
    return true;
}

uint32_t hy_map_add(hy_map *map, uint64_t hash, uint32_t item, hy_map_equal equal,
                    const void *user) {
    if (map->count * 2 >= map->slots && !map_grow(map)) {
        (void)!HY_NO_MEMORY();
        return HY_NO_ID;
    }
    size_t slot = hash & (map->slots - 1);
    for (; map->item[slot]; slot = (slot + 1) & (map->slots - 1))
        if (map->hash[slot] == hash && equal(user, map->item[slot] - 1, item))
            return map->item[slot] - 1;
    map->item[slot] = item + 1;
    map->hash[slot] = hash;
    map->count++;
    return item;
}

void hy_map_free(hy_map *map) {
    free(map->hash);
    free(map->item);
    memset(map, 0, sizeof *map);
}
