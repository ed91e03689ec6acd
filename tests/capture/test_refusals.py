# ruff: noqa: E501 - a cell is a line here
"""What cannot be packaged is refused with the name, its place and the cure; all of it at once."""

from __future__ import annotations

import pytest
from notebook_shell import Notebook

from elasticdl_nb.runtime.errors import CaptureError, ElasticDLError

# name -> (cells, names to package, parts of the message)
REFUSALS: dict[str, tuple[list[str], list[str], list[str]]] = {
    "frame": (
        ["import pandas as pd", "df = pd.DataFrame({'x': [1]})", "class M:\n    def call(self): return df.x.mean()"],
        ["M"],
        ["'df' (used by M.call) is a DataFrame built in cell [2]", "--data"],
    ),
    "frame in a dictionary": (
        ["import pandas as pd\nparts = {'train': pd.DataFrame()}", "def f(): return parts['train']"],
        ["f"],
        ["'parts' (used by f) is a dict of DataFrame built in cell [1]", "--data"],
    ),
    "large array": (
        ["import numpy as np\nX = np.zeros((100, 100))", "def f(): return X.sum()"],
        ["f"],
        ["'X' (used by f) is an ndarray built in cell [1]"],
    ),
    "object made of data": (
        ["import pandas as pd\ndf = pd.DataFrame({'x': [1]})", "class Scaler:\n    def __init__(self, d): self.d = d\ns = Scaler(df)", "def f(): return s"],
        ["f"],
        ["'df' (used by s) is a DataFrame built in cell [1]"],
    ),
    "long list": (["big = list(range(200_000))", "def f(): return big"], ["f"], ["'big' (used by f)", "200000 items", "cell [1]"]),
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
    "result of a magic": (["class T: pass\nresult = get_ipython()", "def f(): return result"], ["f"], ["'result' is the result of a magic", "cell [1]"]),
    "top-level await": (["import asyncio\nclass R: pass\nasync def get(): return R()", "r = await get()", "def f(): return r"], ["f"], ["'r' is made with a top-level await in cell [2]"]),
    "database connection": (["import sqlite3\ncon = sqlite3.connect(':memory:')", "def f(): return con"], ["f"], ["'con' (used by f) is a Connection", "make it inside"]),
    "fitted object": (["from sklearn.preprocessing import StandardScaler\ns = StandardScaler()", "s.fit([[1.0], [2.0]])", "def f(x): return s.transform(x)"], ["f"], ["'s' (used by f) is a StandardScaler that was fitted in cell [2]", "constants"]),
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
        "import numpy as np\nbig = np.zeros(10_000); SECRET_KEY = 's3'; f1 = open('x', 'w')",
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


def test_a_default_argument_that_calls_have_changed_is_packaged_as_written_with_a_warning(notebook: Notebook) -> None:
    notebook.run("def f(x, seen=[], *, by={}):\n    seen.append(x)\n    return seen", "f(1)")
    notebook.run("class C:\n    def m(self, *, by={}, n=[3]):\n        by[len(by)] = n\n        return by", "C().m()")
    warnings = notebook.capture("f", "C").warnings
    assert [warning.split(" has been")[0] for warning in warnings] == [
        "a default argument of f (cell [1])", "a default argument of C.m (cell [3])"
    ]  # fmt: skip
    notebook.run("def f(x, seen=[]):\n    return seen", "f(1)")
    assert not notebook.capture("f").warnings
