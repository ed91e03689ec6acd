"""Records per second on a GPU: MNIST, a ResNet in mixed precision and DeepFM, ours beside `model.fit` and PyTorch.

    python benchmarks/gpu.py [--blocks 5] [--seconds 2] [--torch-python /path/to/python]

Local jobs of MNIST (a convolutional network) and of the ResNet are compared with `fit` as in dense_vs_keras.py, and
DeepFM with `fit` and, where torch is installed, with PyTorch as in deepfm_ps.py: its tables are in the worker's memory,
its dense part on the GPU. Without a GPU, this says so and ends. `--device cpu` then tries every path in a tiny form;
its figures mean nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
import deepfm_ps
import dense_vs_keras
import keras
import tensorflow as tf

RESNET = """
def resnet():
    def block(x, filters, stride):
        short = x if stride == 1 else layers.Conv2D(filters, 1, stride, use_bias=False)(x)
        y = layers.Conv2D(filters, 3, stride, padding="same", use_bias=False)(x)
        y = layers.ReLU()(layers.BatchNormalization()(y))
        y = layers.Conv2D(filters, 3, padding="same", use_bias=False)(y)
        return layers.ReLU()(layers.Add()([short, layers.BatchNormalization()(y)]))

    given = outputs = keras.Input(SHAPE)
    outputs = layers.Conv2D(WIDTH, 3, padding="same", use_bias=False)(outputs)
    for filters, stride in ((1, 1), (2, 2), (2, 1), (4, 2), (4, 1)):
        outputs = block(outputs, filters * WIDTH, stride)
    outputs = layers.Dense(10, dtype="float32")(layers.GlobalAveragePooling2D()(outputs))
    return keras.Model(given, outputs)
"""


def dense(given: argparse.Namespace, tiny: bool) -> None:
    """Compare what has no embeddings."""
    # Processors compute float16 very slowly, and XLA's compiler takes minutes for a ResNet in it.
    dense_vs_keras.ZOO += RESNET.replace("WIDTH", "2" if tiny else "32")
    dense_vs_keras.SHAPES["resnet"] = (8, 8, 3) if tiny else (32, 32, 3)
    if tiny:
        dense_vs_keras.RECORDS = 512
    with tempfile.TemporaryDirectory() as folder:
        for model, policy in (("cnn", "float32"), ("resnet", "mixed_float16")):
            keras.config.set_dtype_policy(policy)
            print(f"{'MNIST' if model == 'cnn' else 'ResNet'}, {policy}:", flush=True)
            jit = "false" if tiny and policy != "float32" else "auto"
            for batch in (4,) if tiny else (64, 512):
                dense_vs_keras.compare(Path(folder), model, batch, jit, given.blocks, given.seconds)
    keras.config.set_dtype_policy("float32")


def main() -> None:
    """Run all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--device", choices=["gpu", "cpu"], default="gpu")
    parser.add_argument("--torch-python", default=sys.executable, help="an interpreter that has torch")
    given = parser.parse_args()
    tiny = given.device == "cpu"
    gpus = tf.config.list_physical_devices("GPU")
    if tiny:
        tf.config.set_visible_devices([], "GPU")
        given.blocks, given.seconds = 2, 0.2
    elif not gpus:
        sys.exit(
            "TensorFlow sees no GPU here, so there is nothing to measure. "
            "`--device cpu` tries every path in a tiny form; its figures mean nothing."
        )
    else:
        print(f"{len(gpus)} GPU(s): {tf.config.experimental.get_device_details(gpus[0]).get('device_name')}")
    dense(given, tiny)
    options = argparse.Namespace(
        seconds=given.seconds, mode="asynchronous", jit_compile="true", ways=["fit", "torch"],
        torch_python=given.torch_python, device="cpu" if tiny else "cuda",
    )  # fmt: skip
    for batch in (1024,) if tiny else (512, 4096, 16384):
        deepfm_ps.measure(batch, 16, "adam", options)


if __name__ == "__main__":
    main()
