"""Lists of what is compiled from device code: shaders/vulkan/modules.txt, shaders/simt/units.txt.

A line is a name, a source in the list's folder, definitions NAME or NAME=VALUE, and extensions @NAME that a compiler
must have; # begins a comment. A placeholder makes a line many, one for each format: {b} block formats, {f} f32, f16
and bf16, {w} both, {q4_0,f16} those; it is replaced by the format's name everywhere in the line, which also gets
FORMAT_q4_0=1 and FORMAT=HY_DTYPE_Q4_0. What cannot be read is an error that names the line."""
import os
import re

import ops


def formats(root):
    """Placeholder -> {text name: NAME}."""
    dtypes = ops.parse_dtypes(ops.read(root, "hal/dtype.h"))
    blocks = {text: name for name, text, block, size in dtypes if block > 1 and name != "A8"}
    floats = {text: name for name, text, block, size in dtypes if block == 1 and name != "I32"}
    if sorted(floats) != ["bf16", "f16", "f32"]:
        raise ops.Fault("dtype.h: plain formats %s" % " ".join(sorted(floats)))
    return {"b": blocks, "f": floats, "w": {**floats, **blocks}}


def expand(words, known):
    """[words of one module] of a line, its placeholder replaced."""
    places = {place for word in words for place in re.findall(r"\{([^{}]*)\}", word)}
    if not places:
        return [words]
    if len(places) > 1:
        raise ops.Fault("%s: more than one placeholder" % words[0])
    place = places.pop()
    chosen = known.get(place)
    if chosen is None:
        unknown = [text for text in place.split(",") if text not in known["w"]]
        if unknown:
            raise ops.Fault("%s: no format %s" % (words[0], " ".join(unknown)))
        chosen = {text: known["w"][text] for text in place.split(",")}
    return [[word.replace("{%s}" % place, text) for word in words] +
            ["FORMAT_%s=1" % text, "FORMAT=HY_DTYPE_%s" % name] for text, name in chosen.items()]


def rows(text, root, folder, extensions=()):
    """[(name, source, [definition...], {extension...})] sorted by name; formats are those of ROOT/hal/dtype.h."""
    found, known = {}, formats(root)
    for line in text.split("\n"):
        words = line.split("#")[0].split()
        if not words:
            continue
        if len(words) < 2:
            raise ops.Fault("%s: no source" % words[0])
        for name, source, *rest in expand(words, known):
            needs = {word[1:] for word in rest if word.startswith("@")}
            defines = [word for word in rest if not word.startswith("@")]
            bad = [word for word in defines if not re.fullmatch(r"[A-Za-z_]\w*(=[\w.]+)?", word)]
            if not re.fullmatch(r"[a-z0-9_.]+", name) or needs - set(extensions) or bad:
                raise ops.Fault("cannot read %r" % line.strip())
            if name in found:
                raise ops.Fault("%s twice" % name)
            if not os.path.isfile(os.path.join(folder, source)):
                raise ops.Fault("%s: no file %s" % (name, source))
            found[name] = (name, source, defines, needs)
    return [found[name] for name in sorted(found)]
