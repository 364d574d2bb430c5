"""Valid files to be damaged: made when they are needed, none of them stored."""

from __future__ import annotations

import io
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from digitnet.calibration import Calibration
from digitnet.checkpoint import Adaptation, Distillation, TrainingRecord, save_checkpoint
from digitnet.models import build_model
from digitnet.recipes import build_config
from digitnet.rejection import Thresholds
from digitnet.runs import write_config

SIDE = 48
FORMATS: dict[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    "PNG": (
        ("1", {}), ("L", {}), ("I;16", {}), ("P", {}), ("RGB", {}), ("LA", {}), ("RGBA", {}),
        ("P", {"transparency": 3}), ("P", {"bits": 2}), ("L", {"exif": True}), ("RGB", {"icc_profile": b"profile" * 9}),
        ("L", {"text": True}),
    ),
    "JPEG": (
        ("L", {}), ("RGB", {}), ("RGB", {"progressive": True}), ("CMYK", {}), ("CMYK", {"progressive": True}),
        ("RGB", {"subsampling": 0, "exif": True}), ("RGB", {"comment": b"comment" * 9, "restart_marker_rows": 1}),
    ),
    "BMP": (("1", {}), ("L", {}), ("P", {}), ("RGB", {}), ("RGBA", {})),
    "GIF": (("1", {}), ("L", {}), ("P", {"transparency": 3}), ("L", {"frames": 3, "comment": b"comment"})),
    "TIFF": (
        ("L", {}), ("1", {"compression": "group4"}), ("1", {"compression": "group3"}),
        ("RGB", {"compression": "tiff_lzw"}), ("RGB", {"compression": "tiff_adobe_deflate"}),
        ("RGB", {"compression": "jpeg"}), ("I;16", {}), ("F", {}),
        ("CMYK", {}), ("L", {"compression": "packbits"}), ("RGBA", {"tiled": True}), ("RGB", {"frames": 3}),
        ("L", {"exif": True, "compression": "tiff_lzw"}),
    ),
    "WebP": (
        ("RGB", {}), ("RGB", {"lossless": True}), ("RGBA", {}), ("RGBA", {"lossless": True, "exif": True}),
        ("RGB", {"frames": 3}),
    ),
    "PNM": (
        ("1", {}), ("L", {}), ("RGB", {}), ("I;16", {}), ("1", {"plain": 1}), ("L", {"plain": 2}),
        ("RGB", {"plain": 3}),
    ),
}  # fmt: skip


@cache
def pictures(kind: str) -> tuple[bytes, ...]:
    """Make pictures in a format of ``FORMATS``, one of each of its forms."""
    made = [_save(kind, mode, dict(options)) for mode, options in FORMATS[kind]]
    if kind == "PNG":
        made.append(_interlaced())
    return tuple(made)


def _drawing(mode: str, size: int = SIDE) -> Image.Image:
    picture = Image.new("L", (size, size), 235)
    ImageDraw.Draw(picture).line(
        [(size // 3, size // 5), (size // 2, size // 6), (size // 2, size - 8)], 20, size // 10
    )
    if mode == "I;16":
        return Image.fromarray(np.asarray(picture).astype(np.uint16) * 257)
    return picture.convert("RGB").convert(mode) if mode in ("CMYK", "RGBA", "P") else picture.convert(mode)


def _save(kind: str, mode: str, options: dict[str, Any]) -> bytes:
    picture, stream = _drawing(mode), io.BytesIO()
    if "bits" in options:
        picture = picture.convert("RGB").quantize(1 << options["bits"])
    if options.pop("exif", False):
        exif = Image.Exif()
        exif[0x0112], exif[0x010E] = 6, "a drawing"
        options["exif"] = exif
    if frames := options.pop("frames", 0):
        options |= {"save_all": True, "append_images": [_drawing(mode).rotate(9 * i) for i in range(1, frames)]}
    if options.pop("text", False):
        options["pnginfo"] = _text()
    if options.pop("tiled", False):
        options["tiffinfo"] = {322: 16, 323: 16}
    if plain := options.pop("plain", 0):
        return _plain(picture, plain)
    picture.save(stream, {"PNM": "PPM"}.get(kind, kind), **options)
    return stream.getvalue()


def _text() -> Any:
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_text("Comment", "drawn " * 50, zip=True)
    text.add_itxt("Author", "nobody", zip=True)
    return text


def _plain(picture: Image.Image, number: int) -> bytes:
    values = np.asarray(picture).reshape(-1).astype(int)
    maximum = "" if number == 1 else "255\n"
    return f"P{number}\n# drawn\n{SIDE} {SIDE}\n{maximum}{' '.join(map(str, values))}\n".encode()


def _interlaced() -> bytes:
    """Write an interlaced PNG, which Pillow does not: Adam7's seven pictures of 8-bit grey, each without filters."""
    import struct
    import zlib

    pixels, rows = np.asarray(_drawing("L")), b""
    for top, left, down, right in (
        (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1),
    ):  # fmt: skip
        rows += b"".join(b"\0" + row.tobytes() for row in pixels[top::down, left::right])
    parts = (b"IHDR" + struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 1), b"IDAT" + zlib.compress(rows), b"IEND")
    chunks = (struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


RECORD = TrainingRecord(
    dataset="strokes", fingerprint="0123456789abcdef", train_size=900, validation_size=100,
    split_hash="fedcba9876543210", epoch=2, step=8, validation_loss=0.3, validation_accuracy=0.9, elapsed_s=1.5,
    device="cpu", precision="fp32", digitnet="0.1.0", torch="2.6.0",
)  # fmt: skip
ADAPTED = TrainingRecord(**{
    **RECORD.__dict__,
    "adaptation": Adaptation(
        source="pretrained-cnn", dataset="mine", fingerprint="0123456789abcdef", size=20, rehearsal="strokes",
        held_out_accuracy=0.9, steps=80, learning_rate=0.002, seed=0,
    ),
    "distillation": Distillation(
        source="one", teachers="two three", experts="", epoch=1, epochs=2, steps=9, elapsed_s=1.5, learning_rate=6e-4,
        seed=0,
    ),
})  # fmt: skip
CALIBRATION = Calibration(temperature=1.2, thresholds=Thresholds(rates=(0.0, 0.01, 1.0), scores=(-9.0, -3.0, 9.0)))
CONFIGS = (
    build_config(kind="mlp", preset="fast", overrides={"hidden_sizes": (4,), "batch_norm": True}),
    build_config(kind="cnn", preset="fast", overrides={"channels": (2, 3), "hidden_sizes": (5,), "dropout": 0.1}),
)


@cache
def checkpoints() -> tuple[bytes, ...]:
    """Make checkpoints of small networks, untrained, an MLP's and a CNN's."""
    made = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "best.safetensors"
        for config, record in zip(CONFIGS, (RECORD, ADAPTED), strict=True):
            torch.manual_seed(3)
            save_checkpoint(path, config, record, CALIBRATION, build_model(config.model))
            made.append(path.read_bytes())
    return tuple(made)


@cache
def configs() -> tuple[bytes, ...]:
    """Make configuration files."""
    made = []
    with tempfile.TemporaryDirectory() as folder:
        for config in CONFIGS:
            write_config(Path(folder), config)
            made.append((Path(folder) / "config.toml").read_bytes())
    return tuple(made)


def idx(magic: int, shape: tuple[int, ...], data: bytes) -> bytes:
    """Write an IDX file."""
    return b"".join(number.to_bytes(4, "big") for number in (magic, *shape)) + data


@cache
def idx_pairs() -> tuple[tuple[bytes, bytes], ...]:
    """Make images and their labels in the IDX format: some of 28x28, and some of another size."""
    made = []
    for side, count in ((28, 12), (40, 3)):
        images = b"".join(np.asarray(_drawing("L", side)).tobytes() for _ in range(count))
        labels = bytes(i % 10 for i in range(count))
        made.append((idx(0x803, (count, side, side), images), idx(0x801, (count,), labels)))
    return tuple(made)
