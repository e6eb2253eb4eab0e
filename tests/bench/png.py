"""What a screenshot shows: the colours of a PNG with 8 bits a channel, and what can be said of colours.
PNG: https://www.w3.org/TR/png/"""
import collections
import struct
import zlib


def colours(data):
    """{(r, g, b): pixels}"""
    width, height, depth, kind = struct.unpack('>IIBB', data[16:26])
    assert data[:8] == b'\x89PNG\r\n\x1a\n' and depth == 8 and kind in (2, 6) and not data[28]
    at, packed, step = 8, b'', 3 if kind == 2 else 4
    while at < len(data):
        length, name = struct.unpack('>I4s', data[at:at + 8])
        packed += data[at + 8:at + 8 + length] if name == b'IDAT' else b''
        at += length + 12
    raw, found, above = zlib.decompress(packed), collections.Counter(), bytes(width * step)
    for y in range(height):
        start = y * (width * step + 1)
        above = unfilter(raw[start], bytearray(raw[start + 1:start + 1 + width * step]), above, step)
        found.update(zip(above[0::step], above[1::step], above[2::step]))
    return found


def unfilter(kind, line, above, step):
    if kind == 2:
        return bytes((a + b) & 255 for a, b in zip(line, above))
    for i in range(len(line)) if kind else ():
        left, up = line[i - step] if i >= step else 0, above[i]
        if kind == 1:
            add = left
        elif kind == 3:
            add = (left + up) // 2
        else:  # Paeth: whichever of three is nearest to left + up - corner
            corner = above[i - step] if i >= step else 0
            a, b, c = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
            add = left if a <= b and a <= c else up if b <= c else corner
        line[i] = (line[i] + add) & 255
    return bytes(line)


def near(a, b, by=24):
    return all(abs(x - y) <= by for x, y in zip(a, b))


def from_hex(text):
    digits = text.lstrip('#')
    digits = digits if len(digits) == 6 else ''.join(d * 2 for d in digits)
    return tuple(int(digits[i:i + 2], 16) for i in (0, 2, 4))


def contrast(a, b):
    """WCAG 2.1, contrast ratio."""
    def luminance(colour):
        parts = [v / 255 for v in colour]
        parts = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)
