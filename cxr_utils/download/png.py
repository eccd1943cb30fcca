"""Checks whether a PNG file is complete and undamaged."""

import zlib

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png_defect(data, depths=(8,)):
    """Describes the first defect found in the bytes of a PNG file.

    A decoder is not enough: it fills the missing part of a truncated file with black and raises no error.

    Args:
        data: bytes of the file.
        depths: tuple of int, the accepted bit depths per channel.

    Returns:
        A string that follows the file's name in a sentence, such as "is empty"; `None` if there is no defect.
    """
    if not data:
        return "is empty"
    if not data.startswith(_SIGNATURE):
        return f"is not a PNG file (it begins with {data[:8]!r})"
    # Chunks: length (4 bytes), type (4), body, CRC of type and body (4); https://www.w3.org/TR/png-3/#5Chunk-layout
    start, kind = len(_SIGNATURE), b""
    while kind != b"IEND":
        length, kind = int.from_bytes(data[start : start + 4]), data[start + 4 : start + 8]
        end = start + 12 + length
        if len(data) < end:
            return f"is truncated after {len(data):,} bytes"
        if zlib.crc32(memoryview(data)[start + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
            return f"is damaged (wrong checksum in its {kind.decode('latin-1')} chunk)"
        if kind == b"IHDR" and data[start + 16] not in depths:
            return f"has {data[start + 16]} bits per channel"
        start = end
    return None
