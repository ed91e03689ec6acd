"""The check of a package: what differs from the notebook is named, with both values; plain packages need no process."""

from __future__ import annotations

import builtins
import logging

import numpy as np
import pytest
from notebook_shell import Loaded, Notebook

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


def test_a_setting_of_the_process_that_was_missed_is_a_difference(notebook: Notebook) -> None:
    notebook.run("import numpy as np\nxs = [np]\ndef f(): return xs")
    captured = notebook.capture("f")
    before = np.seterr(over="raise")
    try:
        with pytest.raises(
            CaptureError, match=r"numpy\.seterr is \(over=.raise.\) in the notebook, and missing in the"
        ):
            verify(captured, ["f"])
        verify(notebook.capture("f"), ["f"])
    finally:
        np.seterr(**before)


def test_a_module_that_cannot_be_imported_alone_is_named(notebook: Notebook) -> None:
    notebook.run(
        "%%writefile nb_needs.py\nimport builtins\nN = builtins.nb_given\nXS = [1]", "%%writefile nb_free.py\nYS = [1]",
        "import builtins\nbuiltins.nb_given = 1\nimport nb_needs, nb_free\nnb_needs.XS.append(2); nb_free.YS.append(2)",
        "def f(): return nb_needs.XS, nb_free.YS",
    )  # fmt: skip
    captured = notebook.capture("f")
    del builtins.nb_given  # type: ignore[attr-defined]
    said = [one for one in captured.warnings if "cannot be imported alone" in one]
    assert len(said) == 1 and said[0].startswith("nb_needs cannot be imported alone (AttributeError: ")
    assert "nb_free.YS" in captured.source


def test_arrays_keep_order_and_flags_and_loggers_their_level(notebook: Notebook) -> None:
    notebook.run(
        "import logging\nimport numpy as np\nF = np.asfortranarray(np.arange(6.0).reshape(2, 3))\nR = np.ones(100)\n"
        "small, odd, spread = np.ones(2), np.array([None, {}]), np.broadcast_to(np.arange(3), (50, 3))\n"
        "for one in (R, small, odd): one.flags.writeable = False",
        "log = logging.getLogger('nb.level')\nlog.setLevel(35)",
        "def f(): return F, R, small, odd, spread, log, logging.WARNING",
    )
    captured = notebook.capture("f")
    verify(captured, ["f"])
    logging.getLogger("nb.level").setLevel(logging.NOTSET)
    F, *frozen, log, _ = Loaded(captured).value("f()")
    assert F.flags.f_contiguous and not F.flags.c_contiguous and F.flags.writeable
    assert not any(one.flags.writeable for one in frozen) and log.level == 35
    notebook.value("F").flags.writeable = False
    with pytest.raises(CaptureError, match=r"F \(cell \[1\]\) is .*, by columns, read-only in the notebook"):
        verify(captured, ["f"])


def test_arrays_that_share_memory_are_named(notebook: Notebook) -> None:
    notebook.run("import numpy as np\nA = np.zeros(100)\nB, C = A[:3], np.ones(3)", "def f(): return A, B, C")
    assert [one for one in notebook.capture("f").warnings if one.startswith("A, B share their memory; in the package")]


def test_arrays_deep_inside_values_that_share_memory_are_named_and_others_are_not(notebook: Notebook) -> None:
    notebook.run(
        "import numpy as np, pandas as pd, functools\nA = np.zeros(9)\nclass Net: pass\nclass Slim:\n"
        "    __slots__ = ('t',)\nnet, slim = Net(), Slim()\nnet.cfg = {'rows': [A[:3]]}\nslim.t = A[2:5]\n"
        "cut = functools.partial(max, A[4:6])\ndef make(w):\n    return lambda: w\ninner = make(A[8:])",
        "B = np.zeros((4, 2))\nleft, right = {'w': B[:, 0]}, {'w': B[:, 1]}\nfixed = np.zeros(3)\n"
        "fixed.flags.writeable = False\nparts = [fixed[:2], fixed[1:]]\nframe = pd.DataFrame({'x': [1.0, 2.0]})\n"
        "column = frame['x']",
        "def f(): return net, slim, cut, inner, left, right, parts, frame, column",
    )
    said = [one for one in notebook.capture("f").warnings if "share their memory" in one]
    assert len(said) == 1
    assert said[0].startswith("net.cfg['rows'][0], slim.t, cut.args[0] share their memory")
