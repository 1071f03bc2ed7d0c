"""Runs the models of this folder with PyTorch, safetensors and NumPy alone.

    python3 load.py tokens.json picture.npy     # a grid of tokens (`experiment encode`) to a picture

`Codec` turns pictures into tokens and back, `Transformer` gives the logits of tokens and draws them. `clip/` is for
`transformers.CLIPModel.from_pretrained`. Legend: B batch, T text slots, G side of the grid, S = T + G² slots, C channels.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file


def read(folder):
    folder = Path(folder)
    return json.loads((folder / "config.json").read_text()), load_file(folder / "model.safetensors")


class Codec:
    """The first stage, a dVAE or a VQ-VAE: pictures (uint8, height × width × 3) to grids of tokens and back."""

    def __init__(self, folder):
        self.config, self.weights = read(folder)

    def conv(self, name, x):
        w = self.weights[name + ".w"]
        return F.conv2d(x, w, self.weights[name + ".b"], padding=w.shape[-1] // 2)

    def group(self, name, x):
        for number in range(1, self.config["num_blocks_per_group"] + 1):
            block = f"{name}.block_{number}"
            skip = self.conv(block + ".id_path", x) if block + ".id_path.w" in self.weights else x
            for layer in range(1, 5):
                x = self.conv(f"{block}.res_path.conv_{layer}", F.relu(x))
            x = skip + self.config["post_gain"] * x
        return x

    @torch.no_grad()
    def encode(self, picture):
        epsilon = self.config["epsilon"]
        x = torch.from_numpy(np.asarray(picture, np.float32) / 255).permute(2, 0, 1)[None]
        x = self.conv("encoder.blocks.input", (1 - 2 * epsilon) * x + epsilon)
        for number in range(1, self.config["num_groups"] + 1):
            x = self.group(f"encoder.blocks.group_{number}", x if number == 1 else F.max_pool2d(x, 2))
        x = self.conv("encoder.blocks.output.conv", F.relu(x))
        if (codebook := self.weights.get("quantize.embed.weight")) is not None:
            distances = torch.cdist(x[0].permute(1, 2, 0).flatten(0, 1), codebook)
            return distances.argmin(1).view(x.shape[2:]).numpy()
        return x.argmax(1)[0].numpy()

    @torch.no_grad()
    def decode(self, tokens):
        tokens = torch.as_tensor(np.asarray(tokens, np.int64))
        if (codebook := self.weights.get("quantize.embed.weight")) is not None:
            x = codebook[tokens].permute(2, 0, 1)[None]
        else:
            one_hot = F.one_hot(tokens, self.config["vocab_size"]).float().permute(2, 0, 1)[None]
            x = self.conv("decoder.blocks.input", one_hot)
        for number in range(1, self.config["num_groups"] + 1):
            x = x if number == 1 else F.interpolate(x, scale_factor=2, mode="nearest")
            x = self.group(f"decoder.blocks.group_{number}", x)
        mean = self.conv("decoder.blocks.output.conv", F.relu(x))[0, :3]  # the rest is ln b of the likelihood
        epsilon = self.config["epsilon"]
        values = ((torch.sigmoid(mean) - epsilon) / (1 - 2 * epsilon)).clamp(0, 1)
        return (values * 255).round().byte().permute(1, 2, 0).numpy()


def mask(pattern, text, grid):
    """S × S: which key (column) each query (row) sees. A slot is named by the token that it predicts."""
    name, _, kernel = pattern.partition(":")
    start = text + 1 if name in ("axial_row", "axial_col", "conv_like") else text
    slots = torch.arange(text + grid * grid)
    q, k = slots[:, None] - start, slots[None] - start
    away, half = q - k, int(kernel or 1) // 2
    if name == "full":
        sees = torch.ones_like(away, dtype=torch.bool)
    elif name == "row":
        sees = away <= grid
    elif name in ("col", "axial_col"):
        sees = away % grid == 0
    elif name == "conv":
        rows = ((away + half) // grid).clamp(max=half)
        sees = away - rows * grid <= half
    elif name == "axial_row":
        sees = q // grid == k // grid
    elif name == "conv_like":
        rows, columns = q // grid - k // grid, q % grid - k % grid
        sees = (rows < int(kernel)) & (columns >= 0) & (columns < int(kernel))
    else:
        raise ValueError(f"{pattern}: no attention pattern that is known here")
    return (away >= 0) & ((k < 0) | sees)


class Transformer:
    """The joint distribution of text and image tokens."""

    def __init__(self, folder):
        self.config, self.weights = read(folder)
        c = self.config
        self.masks = [mask(pattern, c["text_length"], c["grid_size"]) for pattern in c["attention"]]

    def linear(self, name, x):
        return F.linear(x, self.weights[name + ".weight"], self.weights[name + ".bias"])

    def norm(self, name, x):
        return F.layer_norm(x, x.shape[-1:], self.weights[name + ".weight"], self.weights[name + ".bias"], 1e-5)

    def slots(self, ids):
        """T ids: a caption's tokens, then a pad of its own for each slot that is left; the last one is always a pad."""
        text, words = self.config["text_length"], self.config["text_vocab_size"]
        ids = list(ids)[: text - 1]
        return ids + [words + slot for slot in range(len(ids), text)]

    def embed(self, text, image):
        c, table = self.config, lambda name: self.weights[name + "_embeddings.weight"]
        length, words, grid = c["text_length"], c["text_vocab_size"], c["grid_size"]
        read = torch.tensor([words + length] + text[:-1])  # start of text, then each token but the last
        place = table("text_pos").clone()
        place[(read >= words) & (read < words + length)] = 0  # a pad's own embedding says where it is
        after = torch.tensor([c["image_vocab_size"]] + list(image)[: grid * grid - 1])
        at = torch.arange(len(after))
        pictures = table("image")[after] + table("image_row")[at // grid] + table("image_col")[at % grid]
        return torch.cat([table("text")[read] + place, pictures])

    @torch.no_grad()
    def logits(self, ids, image=()):
        """Of every text token (T × text ids), and of the image tokens up to the one after `image`."""
        x = self.embed(self.slots(ids), [int(token) for token in image])
        n, heads, text = len(x), self.config["num_attention_heads"], self.config["text_length"]
        for layer, sees in enumerate(self.masks):
            name = f"transformer.layers.{layer}."
            qkv = self.linear(name + "attention.query_key_value", self.norm(name + "input_layernorm", x))
            q, k, v = qkv.view(n, 3, heads, -1).permute(1, 2, 0, 3)
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=sees[:n, :n])
            x = x + self.linear(name + "attention.dense", mixed.transpose(0, 1).flatten(1))
            wide = self.linear(name + "mlp.dense_h_to_4h", self.norm(name + "post_attention_layernorm", x))
            x = x + self.linear(name + "mlp.dense_4h_to_h", wide * torch.sigmoid(1.702 * wide))
        x = self.norm("transformer.final_layernorm", x)
        return self.linear("to_text_logits", x[:text]), self.linear("to_image_logits", x[text:])

    def draw(self, ids, temperature=1.0, seed=0):
        """A grid of tokens of a caption; at temperature 0 the likeliest always. Not the draws of `experiment sample`."""
        generator, image, grid = torch.Generator().manual_seed(seed), [], self.config["grid_size"]
        while len(image) < grid * grid:
            last = self.logits(ids, image)[1][-1]
            if temperature == 0:
                image.append(int(last.argmax()))
            else:
                image.append(int(torch.multinomial((last / temperature).softmax(-1), 1, generator=generator)))
        return np.array(image).reshape(grid, grid)


if __name__ == "__main__":
    tokens = json.loads(Path(sys.argv[1]).read_text())
    here = Path(__file__).parent
    codec = Codec(here / "dvae" if (here / "dvae").exists() else here / "vqvae")
    np.save(sys.argv[2], codec.decode(np.array(tokens["codes"]).reshape(tokens["height"], tokens["width"])))
