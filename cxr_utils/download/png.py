"""Whether the bytes of a PNG are complete and undamaged."""

import zlib

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png_defect(data, depths=(8,)):
    """Says what is wrong with the bytes of a PNG of one of these bits per channel, `None` for nothing.

    Decoders fill the missing part of a truncated one with black, without an error.
    """
    if not data:
        return "is empty"
    if not data.startswith(_SIGNATURE):
        return f"is no PNG (it begins with {data[:8]!r})"
    # Chunks: length (4 bytes), type (4), body, CRC of type and body (4); https://www.w3.org/TR/png-3/#5Chunk-layout
    at, kind = len(_SIGNATURE), b""
    while kind != b"IEND":
        length, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        end = at + 12 + length
        if len(data) < end:
            return f"is truncated after {len(data):,} bytes"
        if zlib.crc32(memoryview(data)[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
            return f"is damaged (wrong checksum in its {kind.decode('latin-1')} chunk)"
        if kind == b"IHDR" and data[at + 16] not in depths:
            return f"has {data[at + 16]} bits per channel"
        at = end
    return None
