"""Seconds from a changed model to its pushed image: first from nothing, then with only the model changed.

    python benchmarks/image_rebuild.py [--rounds 5]

Needs what tests/cluster/bring_up.py prepares (root on Debian): a Docker engine, a registry on this machine, and a base
image that has the framework's dependencies.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from elasticdl_nb import images
from elasticdl_nb.skeleton import write_skeleton

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "cluster"))
import engine


def measure(zoo: Path, base: str, repository: str) -> tuple[float, float]:
    began = time.perf_counter()
    image = images.build_image(zoo, base=base, repository=repository)
    built = time.perf_counter()
    images.push_image(image)
    return built - began, time.perf_counter() - built


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    if not engine.can_run():
        print("left out: no Docker engine, no registry")
        return
    with engine.docker_engine(), engine.image_registry() as registry, tempfile.TemporaryDirectory() as folder:
        base, zoo = engine.framework_image(), Path(folder)
        repository = f"{registry}/benchmarks/zoo"
        write_skeleton(zoo)
        build, push = measure(zoo, base, repository)
        print(f"first time:    build {build:6.1f} s, push {push:6.1f} s")
        times = []
        for number in range(rounds):
            with (zoo / "my_model.py").open("a") as file:
                file.write(f"\n# change {number} at {time.time()}\n")
            times.append(measure(zoo, base, repository))
        build, push = (statistics.median(part) for part in zip(*times, strict=True))
        print(f"model changed: build {build:6.1f} s, push {push:6.1f} s (median of {rounds})")


if __name__ == "__main__":
    main()
