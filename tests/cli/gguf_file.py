"""GGUF files taken apart and put together again, so that tests can damage them on purpose."""
import struct

U32, STRING, ARRAY = 4, 8, 9
FIXED = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


def string(text):
    raw = text if isinstance(text, bytes) else text.encode()
    return struct.pack('<Q', len(raw)) + raw


class Tensor:
    """dims: innermost first, as in the file. data: bytes up to the next tensor."""

    def __init__(self, name, dims, kind, offset, data):
        self.name, self.dims, self.kind, self.offset, self.data = name, dims, kind, offset, data


class Gguf:
    """values: {key: [type, payload bytes]}; tensors: list. Counts, magic and version can be forged."""

    def __init__(self, raw):
        self.magic, self.version, tensors, values = struct.unpack_from('<4sIQQ', raw)
        self.raw, self.at = raw, 24
        self.values, self.tensors = {}, []
        self.value_count = self.tensor_count = None  # forged counts
        for _ in range(values):
            key = self._string()
            kind = self._u32()
            begin = self.at
            self._skip(kind)
            self.values[key.decode()] = [kind, raw[begin:self.at]]
        self.info_at = self.at
        declared = []
        for _ in range(tensors):
            name = self._string().decode()
            rank = self._u32()
            dims = list(struct.unpack_from(f'<{rank}Q', raw, self.at))
            self.at += 8 * rank
            kind = self._u32()
            offset, = struct.unpack_from('<Q', raw, self.at)
            self.at += 8
            declared.append((name, dims, kind, offset))
        self.data_at = (self.at + 31) // 32 * 32
        ends = sorted(d[3] for d in declared) + [len(raw) - self.data_at]
        for name, dims, kind, offset in declared:
            end = next(e for e in ends if e > offset)
            data = raw[self.data_at + offset:self.data_at + end]
            self.tensors.append(Tensor(name, dims, kind, None, data))

    def _u32(self):
        self.at += 4
        return struct.unpack_from('<I', self.raw, self.at - 4)[0]

    def _string(self):
        length, = struct.unpack_from('<Q', self.raw, self.at)
        self.at += 8 + length
        return self.raw[self.at - length:self.at]

    def _skip(self, kind):
        if kind == STRING:
            self._string()
        elif kind == ARRAY:
            element = self._u32()
            count, = struct.unpack_from('<Q', self.raw, self.at)
            self.at += 8
            if element in FIXED:
                self.at += FIXED[element] * count
            else:
                for _ in range(count):
                    self._skip(element)
        else:
            self.at += FIXED[kind]

    def tensor(self, name):
        return next(t for t in self.tensors if t.name == name)

    def set_u32(self, key, value):
        self.values[key] = [U32, struct.pack('<I', value)]

    def set_string(self, key, text):
        self.values[key] = [STRING, string(text)]

    def bytes(self):
        count = len(self.tensors) if self.tensor_count is None else self.tensor_count
        values = len(self.values) if self.value_count is None else self.value_count
        out = [struct.pack('<4sIQQ', self.magic, self.version, count, values)]
        for key, (kind, payload) in self.values.items():
            out += [string(key), struct.pack('<I', kind), payload]
        offset = 0
        for t in self.tensors:
            place = offset if t.offset is None else t.offset
            out += [string(t.name), struct.pack(f'<I{len(t.dims)}Q', len(t.dims), *t.dims),
                    struct.pack('<IQ', t.kind, place)]
            offset += (len(t.data) + 31) // 32 * 32
        head = b''.join(out)
        out = [head, bytes(-len(head) % 32)]
        for t in self.tensors:
            out += [t.data, bytes(-len(t.data) % 32)]
        return b''.join(out)


def load(path):
    with open(path, 'rb') as file:
        return Gguf(file.read())
