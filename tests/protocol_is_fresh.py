"""The checked-in stubs are those that the .proto files make: `python tests/protocol_is_fresh.py [--write]`."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

PROTOCOL = Path(__file__).parent.parent / "runtime" / "protocol"
PACKAGE = "elasticdl_nb/runtime/protocol"


def generate(into: Path) -> list[Path]:
    """Generate every stub below `into`; return them."""
    sources = sorted(f"{PACKAGE}/{path.name}" for path in PROTOCOL.glob("*.proto"))
    outputs = [f"--{form}_out={into}" for form in ("python", "pyi", "grpc_python")]
    code = protoc.main(["protoc", f"-I{PACKAGE}={PROTOCOL}", *outputs, *sources])
    if code:
        sys.exit(code)
    made = sorted((into / PACKAGE).iterdir())
    return [path for path in made if not path.name.endswith("_grpc.py") or b"class " in path.read_bytes()]


def main(write: bool) -> None:
    """Compare, or replace."""
    with tempfile.TemporaryDirectory() as folder:
        stale = []
        for made in generate(Path(folder)):
            checked_in = PROTOCOL / made.name
            if write:
                shutil.copyfile(made, checked_in)
            elif not checked_in.exists() or made.read_bytes() != checked_in.read_bytes():
                stale.append(made.name)
    if stale:
        sys.exit(f"stale: {', '.join(stale)}; run `make protocol`")


if __name__ == "__main__":
    main("--write" in sys.argv)
