"""Headers that lie: damage that knows a format, and leaves the rest right so that the lie is believed for longer."""

from __future__ import annotations

import json
import random
import re
import struct
import zlib
from collections.abc import Callable

from torture.mutations import EXTREMES, mutate, mutate_json, overwrite_integer

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
ODD_TOML = (
    "true", "-1", "0", "1e400", "nan", "-inf", "1_000_000_000_000", "9" * 5000, "0x" + "f" * 5000, '"text"', "[]",
    "[[]]", "[1, 2, 3, 4, 5]", "{a = 1}", "1979-05-27T07:32:00Z", "'''x'''", "[" * 1500, '"\\u001b[31m"', '"\\u0000"',
    "99999999999", "0.1", "1e-320", '"' + "y" * 9000 + '"', "[0]", "[-1]", "[99999999]",
)  # fmt: skip
TOML_LINES = (
    "[model]", "[train]", "[[train]]", "[x]", ".".join("a" * 300) + " = 1", "epochs = 3", "dataset = '../../x'", "= 1",
    '"" = 1',    "\x00", "kind = 'cnn'", "[model.kind]", "channels = [70000]", "seed = 18446744073709551616",
    "\ufeff", "pool_stride = 99999999",
)  # fmt: skip


def lie_in_picture(kind: str, data: bytes, rng: random.Random) -> bytes:
    """Change a picture's header, as its format has it."""
    return _LIES.get(kind, overwrite_integer)(data, rng)


def lie_in_png(data: bytes, rng: random.Random) -> bytes:
    """Change what a chunk holds, with a sum that fits, or change the order of the chunks."""
    chunks = _chunks(data)
    index = rng.randrange(len(chunks))
    kind, body = chunks[index]
    choice = rng.random()
    if choice < 0.5:
        width, height = rng.choice(EXTREMES) % 2**32, rng.choice((1, 48, *EXTREMES)) % 2**32
        kinds = rng.choice((1, 2, 4, 8, 16, 3)), rng.choice((0, 2, 3, 4, 6, 1)), *(rng.randrange(3) for _ in range(3))
        sizes, rest = struct.pack(">II", width, height), chunks[0][1][8:]
        chunks[0] = (b"IHDR", rng.choice((sizes + rest, chunks[0][1][:8] + struct.pack(">BBBBB", *kinds))))
    elif choice < 0.8:
        chunks[index] = (kind, mutate(body, rng))
    elif choice < 0.9:
        chunks.insert(rng.randrange(len(chunks)), (kind, body))
    else:
        extra = rng.choice((b"iCCP", b"zTXt", b"tRNS", b"acTL", b"fdAT", b"eXIf", b"PLTE", b"pHYs", b"iTXt"))
        bomb = b"name\0\0" + zlib.compress(bytes(rng.choice((10, 5_000_000))), 9)
        chunks.insert(1, (extra, rng.choice((bomb, rng.randbytes(30), b""))))
    return PNG_SIGNATURE + b"".join(_chunk(*chunk) for chunk in chunks)


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    chunks, place = [], len(PNG_SIGNATURE)
    while place < len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + size]))
        place += size + 12
    return chunks


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def lie_in_tiff(data: bytes, rng: random.Random) -> bytes:
    """Change the tag, the type, the count or the value of an entry of the first directory."""
    start = struct.unpack("<I", data[4:8])[0]
    count = struct.unpack("<H", data[start : start + 2])[0]
    place = start + 2 + 12 * rng.randrange(count)
    entry = list(struct.unpack("<HHII", data[place : place + 12]))
    field = rng.randrange(4)
    tags = (256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 338, 339, 347, 530, 34675)
    small = (0, 1, 2, 3, 4, 5, 7, 8, 16, 32, 65535, 32773, 34712, 50000, 4_000)
    entry[field] = rng.choice(
        (tags, tuple(range(20)), (0, 1, 2, 8, 100, 65535, 2**31, 2**32 - 1), (*small, *EXTREMES))[field]
    )
    limit = 2**16 if field < 2 else 2**32
    entry[field] %= limit
    return data[:place] + struct.pack("<HHII", *entry) + data[place + 12 :]


def lie_in_jpeg(data: bytes, rng: random.Random) -> bytes:
    """Change what follows a marker: a length, a size, a table; or let scans follow each other."""
    markers = [match.start() for match in re.finditer(rb"\xff[\xc0-\xfe]", data)]
    place = rng.choice(markers)
    if rng.random() < 0.15:
        scan = data[data.rfind(b"\xff\xda") : -2]
        return data[:-2] + scan * rng.choice((1, 10, 1000)) + data[-2:]
    place += rng.randrange(2, 12)
    size = rng.choice((1, 1, 2))
    number = rng.choice(EXTREMES) % (1 << 8 * size)
    return data[:place] + number.to_bytes(size, "big") + data[place + size :]


_LIES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "PNG": lie_in_png,
    "TIFF": lie_in_tiff,
    "JPEG": lie_in_jpeg,
}


def lie_in_checkpoint(data: bytes, rng: random.Random) -> bytes:
    """Change the header of a safetensors file, or the description in it, and state the length that it has then."""
    size = int.from_bytes(data[:8], "little")
    header, tensors = json.loads(data[8 : 8 + size]), data[8 + size :]
    choice = rng.random()
    if choice < 0.55:
        header["__metadata__"]["digitnet"] = mutate_json(json.loads(header["__metadata__"]["digitnet"]), rng)
        text = json.dumps(header)
    elif choice < 0.65:
        name = rng.choice([name for name in header if name != "__metadata__"])
        header[name]["dtype"] = rng.choice(
            ("F64", "F16", "BF16", "I64", "I8", "U8", "BOOL", "C64", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "X", "U64")
        )
        text = json.dumps(header)
    else:
        text = mutate_json(header, rng)
    packed = text.encode(errors="surrogatepass")
    if rng.random() < 0.2:  # weights of any value
        tensors = mutate(tensors, rng)
    stated = rng.choice(EXTREMES) if rng.random() < 0.05 else len(packed)
    return (stated % 2**64).to_bytes(8, "little") + packed + tensors


def lie_in_idx(data: bytes, rng: random.Random) -> bytes:
    """State other dimensions, some of which make as many bytes as there are."""
    dimensions = data[3]
    shape = [int.from_bytes(data[i : i + 4], "big") for i in range(4, 4 + 4 * dimensions, 4)]
    body = data[4 + 4 * dimensions :]
    if rng.random() < 0.5 and dimensions == 3:
        product = len(body)
        shape = rng.choice(([product, 1, 1], [1, product, 1], [1, 1, product], [shape[0], 1, product // shape[0]]))
    else:
        shape[rng.randrange(dimensions)] = rng.choice(EXTREMES) % 2**32
    return data[:4] + b"".join(number.to_bytes(4, "big") for number in shape) + body


def lie_in_toml(data: bytes, rng: random.Random) -> bytes:
    """Change a value, a name or a line of a configuration."""
    lines = data.decode().splitlines()
    place = rng.randrange(len(lines))
    choice = rng.random()
    if choice < 0.6 and " = " in lines[place]:
        lines[place] = f"{lines[place].partition(' = ')[0]} = {rng.choice(ODD_TOML)}"
    elif choice < 0.75:
        lines.insert(place, rng.choice(TOML_LINES))
    elif choice < 0.85:
        del lines[place]
    elif choice < 0.9:
        lines[place] += rng.choice((" ", "x", "\x1b[31m", "\u202e", "\r", "#", "\x7f")) * rng.choice((1, 100, 100_000))
    else:
        lines.insert(place, lines[rng.randrange(len(lines))])
    return "\n".join(lines).encode()
