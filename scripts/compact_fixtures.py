#!/usr/bin/env python3
"""Writes the compact copy of the golden values that tests/fixtures holds.

    python3 scripts/compact_fixtures.py FIXTURES tests/fixtures --merges bpe_simple_vocab_16e6.txt.gz

FIXTURES is a whole set, as its README describes it. A case is kept whole or not at all, so that a test which goes by
meta.json needs to know nothing of this script; where only some tensors of a file stay, KEPT says which and meta.json
follows. The rest of the set is for machines that have it. Nothing but Python's standard library is used, and the
output is a pure function of the input.
"""

import argparse
import fnmatch
import gzip
import json
import shutil
import struct
from pathlib import Path

LIMIT = 4_000_000  # bytes, over all folders

# file -> None (whole), or the patterns of the tensors that stay; "!" before a pattern takes away.
KEPT = {
    "openai_dvae/encoder_p.safetensors": None,
    "openai_dvae/decoder_p.safetensors": None,
    "openai_dvae/io_p.safetensors": None,
    "openai_dvae/pixels.safetensors": None,
    # One file per layout; odd_tensors.pt holds half storages and a plain dictionary too.
    "openai_dvae/pkl/encoder.pkl": None,
    "openai_dvae/pkl/decoder.pkl": None,
    "openai_dvae/pkl/encoder_old_layout_cuda_tag.pkl": None,
    "openai_dvae/pkl/encoder_legacy_nonzip.pkl": None,
    "openai_dvae/pkl/odd_tensors.pt": None,
    "openai_dvae/pkl/odd_tensors_expected.safetensors": None,
    # vit_j has no float32 weights on file: what it expects of them is of no use, its inputs are.
    "openai_clip/jit/vit_j_fp16.pt": None,
    "openai_clip/jit/vit_j_fp16_expected.safetensors": None,
    "openai_clip/vit_j_io.safetensors": ["images", "tokens"],
    "openai_clip/hf_gelu/config.json": None,
    "openai_clip/hf_gelu/model.safetensors": None,
    "openai_clip/hf_gelu/io.safetensors": None,
    "openai_clip/preprocess/gray_83x59.png": None,
    "openai_clip/preprocess/rgba_71x64.png": None,
    "openai_clip/preprocess/img0_97x61.png": None,
    "openai_clip/preprocess/expected.safetensors": ["gray_n32", "rgba_n32", "img0_n32*", "img0_dalle_lanczos48"],
    "masks/t6_g4_k3.safetensors": None,
    "masks/t64_g16_k11_packed.safetensors": ["paper.conv_flat", "rudalle.conv_v2"],
    "masks/t128_g32_k11_counts.safetensors": ["paper.col", "*.conv_flat", "*.conv_v2", "*.conv_like"],
    "masks/t128_g32_k11_colcounts.safetensors": ["paper.col", "*.conv_flat", "*.conv_v2", "*.conv_like"],
    "rudalle/v2_g8.safetensors": None,
    "rudalle/v2_g8_io.safetensors": None,
    "rudalle/v3_g8_plain.safetensors": None,
    "rudalle/v3_g8_plain_io.safetensors": None,
    "losses/schedules.json": None,
    "losses/*.safetensors": None,
    "dalle_pytorch/vae_v2.safetensors": None,
    "dalle_pytorch/vae_v2_io.safetensors": None,
    "dalle_pytorch/dalle_plain.safetensors": None,
    "dalle_pytorch/dalle_plain_io.safetensors": None,
    "vqgan_gumbel/*.safetensors": None,
    "metrics/*.safetensors": None,
    "metrics/*.png": None,
}

# meta.json of a folder: path of a dictionary -> the keys that stay.
META = {
    "openai_dvae": {"configs": ["p"]},
    "openai_clip": {
        "models": ["vit_j", "hf_gelu"],
        "models.vit_j": ["config", "vision_heads", "jit_fp16"],
        "preprocess.sizes": ["img0_n32"],
    },
    "rudalle": {"models": ["v2_g8", "v3_g8_plain"]},
    "dalle_pytorch": {"vae": ["v2"], "dalle": ["plain"]},
}
MASK_SIZES = [(6, 4), (64, 16), (128, 32)]  # (text, grid)
MASK_ROWS = ["paper.conv_flat", "rudalle.conv_v2"]
FOLDERS = "openai_dvae openai_clip clip_bpe masks rudalle losses dalle_pytorch vqgan_gumbel metrics".split()
STRINGS = 4  # every fourth string stays, and all that the short context covers or that do not fit
MERGES = 48_895  # the version line and the merges that the tokenizer reads; the rest of the published file is unused


def wanted(name, patterns):
    """Whether a tensor stays."""
    return patterns is None or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def read_tensors(path):
    """The header entries and the data of a safetensors file."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    return header, data[8 + length :]


def write_tensors(path, header, data):
    """Writes the named entries one after the other, the widest types first, so that each stays aligned."""
    order = sorted(header, key=lambda name: (-int("".join(filter(str.isdigit, header[name]["dtype"])) or 8), name))
    entries, body = {}, b""
    for name in order:
        start, end = header[name]["data_offsets"]
        entries[name] = {**header[name], "data_offsets": [len(body), len(body) + end - start]}
        body += data[start:end]
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def copy(source, target):
    """Every file of KEPT."""
    for pattern, tensors in KEPT.items():
        files = sorted(source.glob(pattern))
        if not files:
            raise SystemExit(f"{source}: no file {pattern}")
        for file in files:
            out = target / file.relative_to(source)
            out.parent.mkdir(parents=True, exist_ok=True)
            if tensors is None:
                shutil.copyfile(file, out)
            else:
                header, data = read_tensors(file)
                write_tensors(out, {name: entry for name, entry in header.items() if wanted(name, tensors)}, data)


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")


def meta(source, target, folder):
    """The folder's meta.json, which lists what stays."""
    value = json.loads((source / folder / "meta.json").read_text())
    for path, keys in META.get(folder, {}).items():
        *parents, last = path.split(".")
        place = value
        for key in parents:
            place = place[key]
        place[last] = {key: place[last][key] for key in keys}
    if folder == "masks":
        value["sizes"] = [size for size in value["sizes"] if (size["text"], size["grid"]) in MASK_SIZES]
    write_json(target / folder / "meta.json", value)


def mask_rows(source, target):
    """The row lists of two of the largest masks, one of each kind of window."""
    name = "masks/t128_g32_k11_rows.json"
    rows = json.loads((source / name).read_text())
    rows["rows"] = {mask: rows["rows"][mask] for mask in MASK_ROWS}
    write_json(target / name, rows)


def strings(source, target, merges):
    """The tokenizer's strings, and the merges without which no id can be checked."""
    folder = target / "clip_bpe"
    folder.mkdir(parents=True, exist_ok=True)
    short = json.loads((source / "clip_bpe/tokenize_ctx8.json").read_text())
    write_json(folder / "tokenize_ctx8.json", short)
    lines = (source / "clip_bpe/tokenizer.jsonl").read_text().split("\n")[:-1]
    covered = len(short["rows"])
    kept = [
        line for index, line in enumerate(lines)
        if index < covered or index % STRINGS == 0 or not json.loads(line)["fits77"]
    ]
    rows = [json.loads(line) for line in kept]
    (folder / "tokenizer.jsonl").write_text(
        "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)
    )
    value = json.loads((source / "clip_bpe/meta.json").read_text())
    value["n"] = len(rows)
    value["n_ftfy_changes"] = sum(row["ftfy_changes"] for row in rows)
    value["n_too_long"] = sum(not row["fits77"] for row in rows)
    write_json(folder / "meta.json", value)
    text = gzip.decompress(merges.read_bytes()).split(b"\n")[:MERGES]
    (folder / "bpe_simple_vocab_16e6.txt.gz").write_bytes(gzip.compress(b"\n".join(text) + b"\n", 9, mtime=0))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path, help="the whole set")
    parser.add_argument("target", type=Path, help="where the compact copy goes; what is there is replaced")
    parser.add_argument("--merges", type=Path, required=True, help="CLIP's published bpe_simple_vocab_16e6.txt.gz")
    arguments = parser.parse_args()
    for folder in FOLDERS:
        shutil.rmtree(arguments.target / folder, ignore_errors=True)
    copy(arguments.source, arguments.target)
    for folder in FOLDERS:
        if folder != "clip_bpe":
            meta(arguments.source, arguments.target, folder)
    mask_rows(arguments.source, arguments.target)
    strings(arguments.source, arguments.target, arguments.merges)
    total = 0
    for folder in FOLDERS:
        size = sum(file.stat().st_size for file in (arguments.target / folder).rglob("*") if file.is_file())
        total += size
        print(f"{size:>9} {folder}")
    print(f"{total:>9} of {LIMIT}")
    if total > LIMIT:
        raise SystemExit("too large: take something out of KEPT")


if __name__ == "__main__":
    main()
