/* tools/bench/dynamic.c: opening a vendor's library and finding functions. */
#include "tools/bench/dynamic.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool dynamic_open(const char *what, const char *variable, const char *const *names,
                  const dynamic_symbol *symbols, char *reason, size_t size) {
    const char *named = getenv(variable);
    const bool is_named = named && *named;
    void *library = is_named ? dlopen(named, RTLD_NOW | RTLD_LOCAL) : NULL;
    for (const char *const *name = names; !is_named && !library && *name; name++)
        library = dlopen(*name, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        if (is_named)
            snprintf(reason, size, "%s: %s=%s cannot be opened", what, variable, named);
        else
            snprintf(reason, size, "%s: %s is not there", what, names[0]);
        return false;
    }
    for (const dynamic_symbol *s = symbols; s->name; s++) {
        void *found = dlsym(library, s->name);
        memcpy(s->function, &found, sizeof found);
        if (found || s->optional) continue;
        snprintf(reason, size, "%s: the library is too old: it lacks %s", what, s->name);
        dlclose(library);
        return false;
    }
    return true;
}
