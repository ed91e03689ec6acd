# ruff: noqa: E501 - a cell is a line here
"""What cannot be packaged is refused with the name, its place and the cure; all of it at once."""

from __future__ import annotations

import pytest
from notebook_shell import Notebook

from elasticdl_nb.capture import capture_cells
from elasticdl_nb.capture.history import executed_cells
from elasticdl_nb.runtime.errors import CaptureError, ElasticDLError

# name -> (cells, names to package, parts of the message)
REFUSALS: dict[str, tuple[list[str], list[str], list[str]]] = {
    "open file": (["log = open('log.txt', 'w')", "def f(): log.write('x')"], ["f"], ["'log' (used by f) is an open file", "cell [1]", "make it inside"]),
    "generator": (["g = (i for i in range(3))", "def f(): return next(g)"], ["f"], ["'g' (used by f) is a generator"]),
    "deleted": (["K = 1", "def f(): return K", "del K"], ["f"], ["'K' (used by f) was defined in cell [1] but no longer exists", "run cell [1] again"]),
    "never defined": (["def helper_one(): return 1", "def f(): return helper_onne()"], ["f"], ["'helper_onne' (used by f) is not defined", "Did you mean 'helper_one'?"]),
    "asked for and not defined": (["class MyModel: pass"], ["MyModle"], ["'MyModle' is not defined", "'MyModel'"]),
    "made with exec": (["exec('def h(): return 1')", "def f(): return h()"], ["f"], ["'h' (used by f) is a function that no executed cell defines"]),
    "replaced with exec": (["def h(): return 1", "exec('def h(): return 2')", "def f(): return h()"], ["f"], ["'h' (used by f) is not the function that cell [1] defines"]),
    "password": (["DB_PASSWORD = 'hunter2'", "def f(): return DB_PASSWORD"], ["f"], ["'DB_PASSWORD' (used by f) looks like a credential", "cell [1]", "--envs"]),
    "key inside a dictionary": (["cfg = {'lr': 1, 'auth': {'api_key': 'abc123'}}", "def f(): return cfg"], ["f"], ["cfg['auth']['api_key']", "--envs"]),
    "token spelled out in a method": (["class M:\n    def connect(self): return login(token='ghp_0123456789abcdefABCDEF')", "def login(token): return token"], ["M"], ["'M' spells out", "token", "--envs"]),
    "typed in secretly": (["import getpass\ngetpass.getpass = lambda *a: 'x9'\nword = getpass.getpass()", "def f(): return word"], ["f"], ["'word' (used by f) looks like a credential"]),
    "result of a magic": (["class T: pass\nresult = get_ipython()", "def f(): return result"], ["f"], ["'result' (used by f) is the notebook's own shell", "cell [1]"]),
    "database connection": (["import sqlite3\ncon = sqlite3.connect(':memory:')", "def f(): return con"], ["f"], ["'con' (used by f) is a Connection", "make it inside"]),
    "file inside an object": (["class T: pass\nt = T()\nt.log = {'out': [open('log.txt', 'w')]}", "def f(): return t"], ["f"], ["'t' (used by f) holds an open file, as t.log['out'][0], made in cell [1]: make it inside the function that uses it"]),
    "dataset of TensorFlow": (["import tensorflow as tf\nclass T: pass\nt = T()\nt.ds = tf.data.Dataset.range(3)", "def f(): return t"], ["f"], ["'t' (used by f) holds a _RangeDataset, which reads data, as t.ds, made in cell [1]: pass data with --data"]),
    "module made by hand": (["import types\nutils = types.ModuleType('utils')\nexec('x = 1', utils.__dict__)", "def f(): return utils.x"], ["f"], ["'utils' (used by f) is a module made by hand", "%%writefile"]),
    "address with a password": (["DB = 'postgresql://bob:hunter2@db.example.com/prod'", "def f(): return DB"], ["f"], ["'DB' (used by f) looks like a credential", "# not a secret"]),
    "key by its form, in a list": (["names = ['x', 'AKIAIOSFODNN7EXAMPLE']", "def f(): return names"], ["f"], ["'names' (used by f) looks like a credential (names[1], cell [1])"]),
    "token of a service in a function": (["def f(): return go('ghp_" + "a1B2" * 9 + "')\ndef go(x): return x"], ["f"], ["'f' spells out what looks like a credential"]),
    "commented-out key above a kept statement": (["# API_KEY = 'abc123def'\ndef f(): return 1"], ["f"], ["'f' spells out what looks like a credential (API_KEY, commented out"]),
    "private key": (["KEYTEXT = '-----BEGIN RSA PRIVATE KEY-----xx'", "def f(): return KEYTEXT"], ["f"], ["'KEYTEXT' (used by f) looks like a credential"]),
    "output history": (["1 + 1", "def f(): return Out[1]"], ["f"], ["'Out' (used by f) exists in notebooks only"]),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_refusal_names_the_variable_its_place_and_the_cure(notebook: Notebook, name: str) -> None:
    cells, names, parts = REFUSALS[name]
    notebook.run(*cells)
    with pytest.raises(CaptureError) as refused:
        notebook.capture(*names)
    assert isinstance(refused.value, ElasticDLError)
    for part in parts:
        assert part in str(refused.value)


def test_all_refusals_are_listed_at_once(notebook: Notebook) -> None:
    notebook.run(
        "big = (i for i in 'ab'); SECRET_KEY = 's3'; f1 = open('x', 'w')",
        "def f(): return big, SECRET_KEY, f1, nowhere",
    )
    with pytest.raises(CaptureError) as refused:
        notebook.capture("f")
    assert len(refused.value.problems) == 4
    assert str(refused.value).count("\n  - ") == 4


def test_secret_read_from_the_environment_is_not_written_into_the_source(
    notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", "very-secret-value-0123456789")
    notebook.run("import os\nAPI_TOKEN = os.environ['MY_TOKEN']", "def f(): return len(API_TOKEN)")
    captured = notebook.capture("f")
    assert "very-secret" not in captured.source
    assert "os.environ['MY_TOKEN']" in captured.source
    assert any("--envs" in warning for warning in captured.warnings)


def test_tokens_of_a_vocabulary_are_no_secrets(notebook: Notebook) -> None:
    notebook.run(
        "PAD_TOKEN = '<pad>'; token = 'the'; oov_token = '[UNK]'; password_column = 'pw'", "def f(): return PAD_TOKEN, token, oov_token, password_column"
    )  # fmt: skip
    assert "<pad>" in notebook.capture("f").source


def test_environment_settings_are_left_out_with_a_warning(notebook: Notebook) -> None:
    notebook.run("import os", "os.environ['SERVICE_KEY'] = 'abc'", "def f(): return os.sep")
    captured = notebook.capture("f")
    assert "abc" not in captured.source
    assert any("--envs" in warning for warning in captured.warnings)


def test_class_on_an_older_base_is_packaged_as_it_lives_with_a_warning(notebook: Notebook) -> None:
    notebook.run("class B:\n    v = 1", "class C(B): pass", "class B:\n    v = 2")
    captured = notebook.capture("C")
    assert any("run cell [2] again" in warning for warning in captured.warnings)


def test_a_line_may_say_that_it_holds_no_secret(notebook: Notebook) -> None:
    notebook.run("API_KEY = 'public-demo-key'  # not a secret\ndef f(): return API_KEY")
    assert "public-demo-key" in notebook.capture("f").source


def test_values_of_more_than_the_limit_are_refused(notebook: Notebook) -> None:
    notebook.run("import numpy as np\nW = np.zeros(500_000)", "def f(): return W")
    with pytest.raises(
        CaptureError, match=r"4 MB, more than the 1 MB that --max_state_mb allows; the largest are W\.npy"
    ):
        capture_cells(
            executed_cells(notebook.shell), notebook.shell.user_ns, ["f"], transform=notebook.shell.transform_cell,
            most_bytes=1 << 20,
        )  # fmt: skip
