#!/usr/bin/env python3
"""Holds the official PyTorch implementations against files that this project wrote.

    DALLE_EXPORT=exported cargo test --release --test parity -- --ignored sizes::the_dvae sizes::clip_vit_b_32 sizes::clip_rn50
    pip install torch safetensors attrs requests; pip install --no-deps DALL-E clip-anytorch blobfile
    python3 scripts/check_export.py exported [RUN/checkpoints/clip/STEP/model.safetensors]
    pip install torch transformers safetensors pillow
    python3 scripts/check_export.py --model FOLDER RUN [--experiment target/release/experiment]

Every tensor must load under its name (strict), and the outputs must be the same: the dVAE's codes exactly, all else to
1e-4 of the largest value. A CLIP that a run trained is loaded by the official build_model, which reads its sizes.

With --model, a folder of `experiment export model RUN --out FOLDER` is held to the program with that run: codes of pictures
and pictures of codes by load.py, what the transformer draws at temperature 0, and CLIP's cosines by transformers.
"""

import argparse
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file


def near(what, got, expected):
    error = (got - expected).abs().max().item() / expected.abs().max().item()
    print(f"  {what}: off by {error:.1e} of the largest value")
    assert error < 1e-4, what


def dvae(folder):
    from dall_e import Decoder, Encoder

    weights, io = load_file(folder / "openai-dvae.safetensors"), load_file(folder / "openai-dvae-io.safetensors")
    half = lambda name: {key[len(name) :]: value for key, value in weights.items() if key.startswith(name)}
    encoder, decoder = Encoder(), Decoder()
    encoder.load_state_dict(half("encoder."))
    decoder.load_state_dict(half("decoder."))
    print(f"openai-dvae: {len(weights)} tensors loaded")
    with torch.no_grad():
        codes = encoder(io["x"].permute(0, 3, 1, 2)).argmax(1)
        same = (codes == io["codes"].long()).sum().item()
        print(f"  codes: {same} of {codes.numel()} equal")
        assert same == codes.numel()
        z = torch.nn.functional.one_hot(codes, 8192).permute(0, 3, 1, 2).float()
        near("statistics", decoder(z).permute(0, 2, 3, 1), io["stats"])


def build(path):
    # The module alone: the package's other imports want torchvision and an old setuptools.
    found = importlib.util.find_spec("clip").submodule_search_locations[0]
    spec = importlib.util.spec_from_file_location("clip_model", Path(found) / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    weights = load_file(path)
    model = module.build_model(dict(weights)).float().eval()
    missing = set(dict(model.named_parameters())) - set(weights)
    assert not missing, missing
    model.load_state_dict(weights, strict=False)
    print(f"{path}: {len(weights)} tensors loaded")
    return model


def clip(folder, name):
    model, io = build(folder / f"{name}.safetensors"), load_file(folder / f"{name}-io.safetensors")
    with torch.no_grad():
        near("picture features", model.encode_image(io["x"].permute(0, 3, 1, 2)), io["image"])
        near("caption features", model.encode_text(io["ids"].long()), io["text"])


def models(folder, run, experiment):
    """A folder of models against the program with the run that it was made of."""
    import numpy
    from PIL import Image

    sys.path.insert(0, str(folder.resolve()))
    from load import Codec, Transformer

    def say(*arguments):
        done = subprocess.run([experiment, *map(str, arguments)], check=True, capture_output=True, text=True)
        return done.stdout

    listed = json.loads((run / "images/samples.json").read_text())
    files = [run / entry["candidates"][0]["file"] for entry in listed][:8]
    captions = [entry["caption"] for entry in listed][:8]
    pictures = [numpy.array(Image.open(file).convert("RGB")) for file in files]
    first = "dvae" if (folder / "dvae").exists() else "vqvae"
    codec, transformer = Codec(folder / first), Transformer(folder / "transformer")
    with tempfile.TemporaryDirectory() as there:
        there, same, off = Path(there), [], []
        for file, picture in zip(files, pictures):
            say("encode", run, file, "--out", there / "tokens.json")
            grid = json.loads((there / "tokens.json").read_text())
            codes = numpy.array(grid["codes"]).reshape(grid["height"], grid["width"])
            same.append((codec.encode(picture) == codes).mean())
            say("decode", run, there / "tokens.json", "--out", there / "decoded.png")
            decoded = numpy.array(Image.open(there / "decoded.png")).astype(int)
            off.append(abs(codec.decode(codes).astype(int) - decoded).max())
        print(f"{first}: {len(files)} pictures; {100 * numpy.mean(same):.2f} % of the codes equal; decoded, off by at most {max(off)} of 255")
        assert numpy.mean(same) > 0.999 and max(off) <= 1
        draw(folder, run, say, codec, transformer, captions, there)
    cosines(folder, run, say, files, pictures, sorted(set(captions)))


def draw(folder, run, say, codec, transformer, captions, there):
    import numpy
    from PIL import Image
    from tokenizers import Tokenizer

    tokenizer, off = Tokenizer.from_file(str(folder / "tokenizer.json")), []
    for caption in captions:
        say("sample", run, "--caption", caption, "--n", 1, "--keep", 1, "--temperature", 0, "--out", there)
        theirs = numpy.array(Image.open(there / "0-0.png")).astype(int)
        ours = codec.decode(transformer.draw(tokenizer.encode(caption).ids, temperature=0)).astype(int)
        off.append(abs(ours - theirs).max())
    print(f"transformer: {len(captions)} captions drawn at temperature 0; pictures off by at most {max(off)} of 255")
    assert max(off) <= 1


def cosines(folder, run, say, files, pictures, captions):
    from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

    clip, info = CLIPModel.from_pretrained(folder / "clip", output_loading_info=True)
    assert not any(info.values()), info
    tokenizer = AutoTokenizer.from_pretrained(folder / "clip")
    processor = AutoImageProcessor.from_pretrained(folder / "clip", backend="pil")
    text = tokenizer(captions, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        seen = processor(pictures, return_tensors="pt")
        found = clip.eval()(**seen, input_ids=text.input_ids, attention_mask=text.attention_mask)
    ours = 100 * found.image_embeds @ found.text_embeds.T
    said = say("rerank", run, *[word for caption in captions for word in ("--caption", caption)], *files)
    rows = re.findall(r"^ +(-?[\d.]+) +[\d.]+ %  (.*)$", said, re.M)
    theirs = torch.tensor([[dict((c, float(s)) for s, c in rows[i : i + len(captions)])[c] for c in captions]
                           for i in range(0, len(rows), len(captions))])  # fmt: skip
    error = (ours - theirs).abs().max().item()
    print(f"clip: {len(clip.state_dict())} tensors by transformers; {theirs.numel()} similarities (100·cosine), printed to 0.01: off by {error:.4f}")
    assert theirs.shape == ours.shape and error < 0.006


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("exported", type=Path, nargs="?", help="the folder of --save")
    parser.add_argument("trained", type=Path, nargs="*", help="CLIP weights of runs")
    parser.add_argument("--model", type=Path, nargs=2, metavar=("FOLDER", "RUN"), help="a folder of models and its run")
    parser.add_argument("--experiment", default="target/release/experiment", help="the program")
    arguments = parser.parse_args()
    if arguments.model:
        models(*arguments.model, arguments.experiment)
    if not arguments.exported:
        return
    if (arguments.exported / "openai-dvae.safetensors").exists():
        dvae(arguments.exported)
    for file in sorted(arguments.exported.glob("clip-*-io.safetensors")):
        clip(arguments.exported, file.name.removesuffix("-io.safetensors"))
    for path in arguments.trained:
        model = build(path)
        side, context = model.visual.input_resolution, model.context_length
        with torch.no_grad():
            model.encode_image(torch.zeros(1, 3, side, side)), model.encode_text(torch.zeros(1, context).long())


if __name__ == "__main__":
    main()
