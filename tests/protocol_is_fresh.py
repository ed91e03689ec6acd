"""The checked-in stubs are those that the .proto files make: `python tests/protocol_is_fresh.py [--write]`."""

from __future__ import annotations

import shutil
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).parent.parent
PACKAGES = {
    "elasticdl_nb/runtime/protocol": ROOT / "runtime" / "protocol",
    "elasticdl_nb/sql/protocol": ROOT / "elasticdl_nb" / "sql" / "protocol",
}
WELL_KNOWN = files("grpc_tools") / "_proto"


def generate(package: str, into: Path) -> list[Path]:
    """Generate every stub of a package below `into`; return them."""
    folder = PACKAGES[package]
    sources = sorted(f"{package}/{path.name}" for path in folder.glob("*.proto"))
    outputs = [f"--{form}_out={into}" for form in ("python", "pyi", "grpc_python")]
    code = protoc.main(["protoc", f"-I{package}={folder}", f"-I{WELL_KNOWN}", *outputs, *sources])
    if code:
        sys.exit(code)
    made = sorted((into / package).iterdir())
    return [path for path in made if not path.name.endswith("_grpc.py") or b"class " in path.read_bytes()]


def main(write: bool) -> None:
    """Compare, or replace."""
    with tempfile.TemporaryDirectory() as temporary:
        stale = []
        for package, folder in PACKAGES.items():
            for made in generate(package, Path(temporary)):
                checked_in = folder / made.name
                if write:
                    shutil.copyfile(made, checked_in)
                elif not checked_in.exists() or made.read_bytes() != checked_in.read_bytes():
                    stale.append(f"{package}/{made.name}")
    if stale:
        sys.exit(f"stale: {', '.join(stale)}; run `make protocol`")


if __name__ == "__main__":
    main("--write" in sys.argv)
