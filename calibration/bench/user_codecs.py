"""Times lz4 and zstd as ordinary libraries, on the contents that the kernel's codecs are timed on.

python calibration/bench/user_codecs.py FILE

Not every kernel has zstd for zram, but its code is the library's. What one library takes over what
the other takes, side by side in one process, carries over to the kernel about as well as the
library's lz4 does, which is measured there too. Blocks of 4 to 64 KiB, each page of which has the
content, tell what larger units of compression save in time.
"""

import ctypes
import datetime
import os
import sys
import time
from pathlib import Path

import numba
import numpy as np

from perfmodel.constants import PAGE_BYTES
from perfmodel.host import facts
from perfmodel.measure.content import make_content
from perfmodel.results.store import write_new

CONTENTS = ("zero", "same-filled", "compressible", "half-random", "random")
BLOCK_PAGES = (1, 4, 16)
REPETITIONS = 25
ZSTD_LEVEL = 3
WORD = ctypes.c_size_t


def function(library: ctypes.CDLL, name: str, result: type, *arguments: type):
    """A function of a library, with its types."""
    found = getattr(library, name)
    found.restype, found.argtypes = result, arguments
    return found


LZ4, ZSTD = ctypes.CDLL("liblz4.so.1"), ctypes.CDLL("libzstd.so.1")
INT = ctypes.c_int
lz4_state_bytes = function(LZ4, "LZ4_sizeofState", INT)
lz4_compress = function(LZ4, "LZ4_compress_fast_extState", INT, WORD, WORD, WORD, INT, INT, INT)
lz4_decompress = function(LZ4, "LZ4_decompress_safe", INT, WORD, WORD, INT, INT)
zstd_compressor = function(ZSTD, "ZSTD_createCCtx", WORD)
zstd_decompressor = function(ZSTD, "ZSTD_createDCtx", WORD)
zstd_compress = function(ZSTD, "ZSTD_compressCCtx", WORD, WORD, WORD, WORD, WORD, WORD, INT)
zstd_decompress = function(ZSTD, "ZSTD_decompressDCtx", WORD, WORD, WORD, WORD, WORD, WORD)
lz4_version = function(LZ4, "LZ4_versionNumber", INT)
zstd_version = function(ZSTD, "ZSTD_versionNumber", INT)


@numba.njit
def compress_lz4(context, source, target, room, size, sizes):
    """Compress blocks one by one, each into a place of its own."""
    for index in range(sizes.shape[0]):
        sizes[index] = lz4_compress(
            context, source + index * size, target + index * room, size, room, 1
        )


@numba.njit
def compress_zstd(context, source, target, room, size, sizes):
    """Compress blocks one by one, each into a place of its own."""
    for index in range(sizes.shape[0]):
        sizes[index] = zstd_compress(
            context, target + index * room, room, source + index * size, size, ZSTD_LEVEL
        )


@numba.njit
def decompress_lz4(context, source, room, target, size, sizes):
    """Decompress blocks one by one, all into one place."""
    total = 0
    for index in range(sizes.shape[0]):
        total += lz4_decompress(source + index * room, target, sizes[index], size)
    return total


@numba.njit
def decompress_zstd(context, source, room, target, size, sizes):
    """Decompress blocks one by one, all into one place."""
    total = 0
    for index in range(sizes.shape[0]):
        total += zstd_decompress(context, target, size, source + index * room, sizes[index])
    return total


def main() -> None:
    """Measure all of it and write the file."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    state = np.zeros(lz4_state_bytes() + 64, dtype=np.uint8)
    codecs = {
        "lz4": (compress_lz4, decompress_lz4, state.ctypes.data, 0),
        "zstd": (compress_zstd, decompress_zstd, zstd_compressor(), zstd_decompressor()),
    }
    found = []
    for pages in BLOCK_PAGES:
        size = pages * PAGE_BYTES
        room = size + 1024
        sources = {content: make_content(content).view(np.uint8).copy() for content in CONTENTS}
        blocks = next(iter(sources.values())).nbytes // size
        packed = {
            (codec, content): (np.zeros(blocks * room, np.uint8), np.zeros(blocks, np.int64))
            for codec in codecs
            for content in CONTENTS
        }
        opened = np.zeros(size, dtype=np.uint8)
        times = {key: ([], []) for key in packed}
        for turn in range(REPETITIONS + 2):
            for (codec, content), (target, sizes) in packed.items():
                compress, decompress, packing, unpacking = codecs[codec]
                source = sources[content]
                start = time.perf_counter_ns()
                compress(packing, source.ctypes.data, target.ctypes.data, room, size, sizes)
                middle = time.perf_counter_ns()
                total = decompress(
                    unpacking, target.ctypes.data, room, opened.ctypes.data, size, sizes
                )
                end = time.perf_counter_ns()
                assert total == source.nbytes
                assert (opened == source[-size:]).all()
                if turn >= 2:
                    times[codec, content][0].append((middle - start) / (blocks * pages))
                    times[codec, content][1].append((end - middle) / (blocks * pages))
        found += [
            {
                "codec": codec,
                "content": content,
                "block_bytes": size,
                "compressed_bytes": float(sizes.mean()),
                "compress_page_ns": [round(value, 2) for value in times[codec, content][0]],
                "decompress_page_ns": [round(value, 2) for value in times[codec, content][1]],
            }
            for (codec, content), (_, sizes) in packed.items()
        ]
    document = {
        "format": "perfmodel-user-codecs",
        "version": 1,
        "host": facts(),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "libraries": {"lz4": lz4_version(), "zstd": zstd_version()},
        "zstd_level": ZSTD_LEVEL,
        "measured": found,
    }
    write_new(document, Path(sys.argv[1]))
    for row in found:
        fast = [round(float(np.quantile(row[f"{a}compress_page_ns"], 0.25))) for a in ("", "de")]
        print(row["codec"], row["block_bytes"], row["content"], row["compressed_bytes"], *fast)


if __name__ == "__main__":
    main()
