#!/usr/bin/env python3
"""Holds the official PyTorch implementations against files that this project wrote.

    DALLE_EXPORT=exported cargo test --release --test parity -- --ignored sizes::the_dvae sizes::clip_vit_b_32 sizes::clip_rn50
    pip install torch safetensors attrs requests; pip install --no-deps DALL-E clip-anytorch blobfile
    python3 scripts/check_export.py exported [RUN/checkpoints/clip/STEP/model.safetensors]

Every tensor must load under its name (strict), and the outputs must be the same: the dVAE's codes exactly, all else to
1e-4 of the largest value. A CLIP that a run trained is loaded by the official build_model, which reads its sizes.
"""

import argparse
import importlib.util
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("exported", type=Path, help="the folder of --save")
    parser.add_argument("trained", type=Path, nargs="*", help="CLIP weights of runs")
    arguments = parser.parse_args()
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
