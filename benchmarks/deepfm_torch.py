"""The PyTorch side of `deepfm_ps.py`: the same DeepFM with sparse gradients, in an interpreter that has torch.

    python benchmarks/deepfm_torch.py --batch 512 --dim 16 --optimizer adam --count 32

It tries several forms of the same model, each for a moment: one embedding for factors and weights, or factors in an
embedding and weights in an `EmbeddingBag`; the dense part as it is, or by `torch.compile`. It says which is fastest,
and then trains with that on a block of `count` batches for every line on standard input. Embeddings are updated by
SparseAdam, sparse SGD or sparse Adagrad, dense weights by the fused forms of Adam, SGD or Adagrad; torch has as many
threads as there are cores.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

VOCABULARY, DENSE, SPARSE = 100_000, 13, 26
_TRIAL = 2.0
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class DensePart(nn.Module):
    """From numbers [n, 13], factors [n, 26, dim], the sum of the ids' weights [n, 1] and labels [n, 1] to the loss."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(DENSE, 1)
        self.deep = nn.Sequential(
            nn.Linear(DENSE + SPARSE * dim, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 1)
        )

    def forward(self, dense: Any, factors: Any, weights: Any, labels: Any) -> Any:
        """See the class."""
        pairs = 0.5 * (factors.sum(1).square() - factors.square().sum(1)).sum(1, keepdim=True)
        deep = self.deep(torch.cat([dense, factors.flatten(1)], 1))
        return functional.binary_cross_entropy_with_logits(self.linear(dense) + weights + pairs + deep, labels)


class Rows(nn.Module):
    """From ids [n, 26] to factors [n, 26, dim] and the sum of weights [n, 1]."""

    def __init__(self, dim: int, form: str) -> None:
        super().__init__()
        self.dim = dim
        self.bag = nn.EmbeddingBag(SPARSE * VOCABULARY, 1, mode="sum", sparse=True) if form == "bag" else None
        self.table = nn.Embedding(SPARSE * VOCABULARY, dim if self.bag is not None else dim + 1, sparse=True)
        for weights in self.parameters():
            nn.init.uniform_(weights, -0.05, 0.05)

    def forward(self, ids: Any) -> tuple[Any, Any]:
        """See the class."""
        rows = self.table(ids)
        if self.bag is not None:
            return rows, self.bag(ids)
        return rows[:, :, : self.dim], rows[:, :, self.dim].sum(1, keepdim=True)


def make_batches(count: int, size: int) -> list[Batch]:
    """Batches like those of `deepfm_ps.py`, with the ids in the type that torch prefers."""
    random = np.random.default_rng(0)
    batches = []
    for _ in range(count):
        dense = random.normal(size=(size, DENSE)).astype(np.float32)
        ids = random.zipf(1.2, (size, SPARSE)) % VOCABULARY
        labels = (random.random((size, 1)) < 0.25).astype(np.float32)
        batches.append((torch.tensor(dense), torch.tensor(ids), torch.tensor(labels)))
    return batches


def trainer(dim: int, optimizer: str, form: str, compiled: bool) -> Callable[[list[Batch]], None]:
    """Return what makes a step with each of several batches."""
    rows, part = Rows(dim, form), DensePart(dim)
    offsets = torch.arange(SPARSE) * VOCABULARY
    dense_loss: Any = torch.compile(part) if compiled else part
    if optimizer == "adam":
        optimizers: list[Any] = [
            torch.optim.SparseAdam(list(rows.parameters()), lr=0.001),
            torch.optim.Adam(part.parameters(), lr=0.001, fused=True),
        ]
    elif optimizer == "adagrad":
        optimizers = [
            torch.optim.Adagrad(list(rows.parameters()), lr=0.01),
            torch.optim.Adagrad(list(part.parameters()), lr=0.01, fused=True),
        ]
    else:
        optimizers = [
            torch.optim.SGD(rows.parameters(), lr=0.01),
            torch.optim.SGD(part.parameters(), lr=0.01, fused=True),
        ]

    def train(batches: list[Batch]) -> None:
        for dense, ids, labels in batches:
            loss = dense_loss(dense, *rows(ids + offsets), labels)
            for one in optimizers:
                one.zero_grad(set_to_none=True)
            loss.backward()
            for one in optimizers:
                one.step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # which otherwise computes on after this has returned

    return train


def rate(train: Callable[[list[Batch]], None], batches: list[Batch]) -> float:
    """Return batches per second, the best of some blocks, after one to warm up."""
    train(batches)
    best, end = 0.0, time.perf_counter() + _TRIAL
    while not best or time.perf_counter() < end:
        start = time.perf_counter()
        train(batches)
        best = max(best, len(batches) / (time.perf_counter() - start))
    return best


def fastest(options: argparse.Namespace, batches: list[Batch]) -> tuple[str, Callable[[list[Batch]], None]]:
    """Try all forms; return the fastest one's name, and what trains with it."""
    best: tuple[float, str, Any] = (0.0, "", None)
    for form, compiled in (("table", False), ("bag", False), ("table", True), ("bag", True)):
        name = f"{form}, compiled" if compiled else form
        train = trainer(options.dim, options.optimizer, form, compiled)
        try:
            found = rate(train, batches)
        except Exception as error:
            if not compiled:
                raise
            print(f"torch.compile does not work here: {str(error).splitlines()[0]}", file=sys.stderr)
            break
        if found > best[0]:
            best = (found, name, train)
    return best[1:]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--dim", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--optimizer", choices=["adam", "sgd", "adagrad"], required=True)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    torch.set_default_device(options.device)
    batches = make_batches(options.count, options.batch)
    name, train = fastest(options, batches)
    print(f"{torch.__version__} ({name})", flush=True)
    for _ in sys.stdin:
        train(batches)
        print("done", flush=True)


if __name__ == "__main__":
    main()
