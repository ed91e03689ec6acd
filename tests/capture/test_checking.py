"""The check of a package: what differs from the notebook is named, with both values; plain packages need no process."""

from __future__ import annotations

import pytest
from notebook_shell import Notebook

from elasticdl_nb.capture import verify
from elasticdl_nb.capture.checking import is_plain
from elasticdl_nb.runtime.errors import CaptureError


def test_a_difference_names_object_attribute_cell_and_both_values(notebook: Notebook) -> None:
    notebook.run("class Net: pass", "net = Net()\nnet.cfg = {'rate': 1}\nxs = [net]", "def f(): return net, xs")
    captured = notebook.capture("f")
    verify(captured, ["f"])
    notebook.value("net").cfg["rate"] = 5  # as if capture had missed a change
    with pytest.raises(CaptureError) as refused:
        verify(captured, ["f"])
    assert "net.cfg['rate'] (cell [2]) is 5 in the notebook, and 1 in the package" in str(refused.value)
    assert "--no_verify" in str(refused.value)


def test_what_is_no_longer_shared_is_a_difference(notebook: Notebook) -> None:
    notebook.run("xs = [1]\nd = {'a': xs}", "def f(): return xs, d")
    captured = notebook.capture("f")
    notebook.value("d")["a"] = [1]
    with pytest.raises(CaptureError, match="the same as"):
        verify(captured, ["f"])


def test_functions_are_compared_by_what_they_do(notebook: Notebook) -> None:
    notebook.run("import math\ndef f(x): return math.floor(x) + K", "K = 1")
    captured = notebook.capture("f")
    assert is_plain(captured)
    verify(captured, ["f"])
    notebook.run("def other(x): return x")
    notebook.value("f").__code__ = notebook.value("other").__code__
    assert not is_plain(captured)
    with pytest.raises(CaptureError, match=r"f \(cell \[1\]\) is code \w+ in the notebook, and code"):
        verify(captured, ["f"])


def test_a_package_with_state_or_decorators_is_compared_in_a_process(notebook: Notebook) -> None:
    notebook.run("def deco(g): return g\n@deco\ndef f(): return 1", "class A: pass\na = A()\ndef g(): return a")
    assert not is_plain(notebook.capture("f")) and not is_plain(notebook.capture("g"))
