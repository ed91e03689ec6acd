# ruff: noqa: E501 - a cell is a line here
"""Notebooks as people write them: what is captured behaves as what lives in the kernel."""

from __future__ import annotations

import pytest
from notebook_shell import Loaded, Notebook

# name -> (cells in the order of execution, names to package, expressions to compare)
SCENARIOS: dict[str, tuple[list[str], list[str], list[str]]] = {
    "function with a helper": (
        ["def helper(x):\n    return x + 1", "def f(x):\n    return helper(x) * 2"],
        ["f"],
        ["f(3)"],
    ),
    "open, which is IPython's in a notebook": (
        ["def f(path):\n    with open(path) as file:\n        return file.read()"],
        ["f"],
        ["f('/dev/null')"],
    ),
    "match, walrus and names in an f-string": (
        [
            "WIDTH = 5\nif (low := 2) > 1:\n    high = low * 2",
            "def f(x):\n    match x:\n        case [a, *rest]: return f'{a!r:>{WIDTH}}', rest, low\n        case {'k': v}: return [y for z in v if (y := z + high) > 5]",
        ],
        ["f"],
        ["f([1, 2])", "f({'k': [1, 2]})"],
    ),
    "own object that learns word by word": (
        [
            "class Words:\n    def __init__(self): self.of = {}\n    def add(self, word): self.of[word] = len(self.of)",
            "words = Words()\nfor word in 'ab':\n    words.add(word)",
            "words.add('c')\nwords.extra = [1]\nwords.extra.append(2)",
            "def f(): return words.of, words.extra",
        ],
        ["f"],
        ["f()"],
    ),
    "helper defined after its user": (
        ["def f(x):\n    return helper(x) * 2", "def helper(x):\n    return x + 1"],
        ["f"],
        ["f(3)"],
    ),
    "class with helpers, constants and inheritance": (
        [
            "SIZE = 4",
            "class Base:\n    scale = SIZE\n    def __init__(self, k=SIZE):\n        self.k = k",
            "class Model(Base):\n    def call(self, x):\n        return super_helper(x) * self.k + self.scale",
            "def super_helper(x):\n    return x + SIZE",
        ],
        ["Model"],
        ["Model().call(2)", "Model(k=1).call(2)"],
    ),
    "redefined helper": (
        ["def h(x): return 1", "def f(x): return h(x)", "def h(x): return 2"],
        ["f"],
        ["f(0)"],
    ),
    "failed redefinition does not count": (
        ["def h(x): return 1", "def f(x): return h(x)", "1/0\ndef h(x): return 2"],
        ["f"],
        ["f(0)"],
    ),
    "definition above the error of a failed cell counts": (
        ["def h(x): return 1", "def f(x): return h(x)", "def h(x): return 2\n1/0"],
        ["f"],
        ["f(0)"],
    ),
    "redefinition whose decorator fails does not count": (
        [
            "class A:\n    v = 1\n    def get(self): return self.v",
            "@undefined\nclass A:\n    v = 2\n    def get(self): return self.v",
        ],
        ["A"],
        ["A().get()"],
    ),
    "constant changed later": (["K = 1", "def f(): return K", "K = 5"], ["f"], ["f()"]),
    "default keeps the constant of its time": (
        ["K = 1", "def f(a=K): return a, K", "K = 5"],
        ["f"],
        ["f()"],
    ),
    "class keeps the base of its time": (
        [
            "class B:\n    def v(self): return 1",
            "class C(B):\n    pass",
            "class B:\n    def v(self): return 2",
            "def f(): return C().v(), B().v()",
        ],
        ["f", "C"],
        ["f()", "C().v()"],
    ),
    "cells run out of order": (
        [
            "OFFSET = 10",
            "class M:\n    def run(self, x): return pre(x) + OFFSET",
            "import math",
            "def pre(x): return math.floor(x)",
        ],
        ["M"],
        ["M().run(2.7)"],
    ),
    "papermill parameters": (
        ["# parameters\nunits = 8\nrate = 0.1", "# Injected-Parameters\nunits = 32", "def f(): return units * rate"],
        ["f"],
        ["f()"],
    ),
    "star import": (["from math import *", "def f(x): return floor(x) + pi"], ["f"], ["f(2.5)"]),
    "star import shadowed by a definition": (
        ["from math import *", "def floor(x): return -1", "def f(x): return floor(x) + ceil(x)"],
        ["f"],
        ["f(2.5)"],
    ),
    "definition shadowed by a star import": (
        ["def floor(x): return -1", "from math import *", "def f(x): return floor(x)"],
        ["f"],
        ["f(2.5)"],
    ),
    "registry filled by decorators": (
        [
            "LAYERS = {}\ndef register(name):\n    def add(cls):\n        LAYERS[name] = cls\n        return cls\n    return add",
            "@register('a')\nclass A:\n    def v(self): return 1",
            "@register('b')\nclass B:\n    def v(self): return 2",
            "def build(name): return LAYERS[name]().v()",
        ],
        ["build"],
        ["build('a')", "build('b')", "sorted(LAYERS)"],
    ),
    "registry object with a method as decorator": (
        [
            "class Registry:\n    def __init__(self): self.items = {}\n    def add(self, cls):\n        self.items[cls.__name__] = cls\n        return cls",
            "REG = Registry()",
            "@REG.add\nclass One:\n    n = 1",
            "@REG.add\nclass Two:\n    n = 2",
            "def total(): return sum(c.n for c in REG.items.values())",
        ],
        ["total"],
        ["total()"],
    ),
    "registry filled by plain calls": (
        [
            "FNS = []\ndef use(f):\n    FNS.append(f)",
            "def a(x): return x + 1\nuse(a)",
            "use(lambda x: x * 3)",
            "def run(x):\n    for f in FNS:\n        x = f(x)\n    return x",
        ],
        ["run"],
        ["run(2)"],
    ),
    "registry entry replaced by running its cell again": (
        [
            "R = {}\ndef reg(f):\n    R[f.__name__] = f\n    return f",
            "@reg\ndef a(): return 1",
            "@reg\ndef a(): return 2",
            "def f(): return R['a'](), len(R)",
        ],
        ["f"],
        ["f()"],
    ),
    "subclasses registered by __init_subclass__": (
        [
            "class Base:\n    known = {}\n    def __init_subclass__(cls, **kw):\n        Base.known[cls.__name__] = cls",
            "class X(Base):\n    v = 7",
            "def f(): return Base.known['X'].v",
        ],
        ["f"],
        ["f()"],
    ),
    "dataclass and its instance changed later": (
        [
            "from dataclasses import dataclass, field",
            "@dataclass\nclass Config:\n    lr: float = 0.1\n    units: list = field(default_factory=lambda: [1, 2])",
            "cfg = Config()\ncfg.lr = 0.5",
            "cfg.units.append(3)",
            "def f(): return cfg.lr, cfg.units",
        ],
        ["f"],
        ["f()", "Config()"],
    ),
    "enum": (
        [
            "import enum\nclass Mode(enum.Enum):\n    A = 1\n    B = 2",
            "mode = Mode.B",
            "def f(): return mode.name, Mode(1).name",
        ],
        ["f"],
        ["f()"],
    ),
    "closure with nonlocal": (
        [
            "def counter(start):\n    n = start\n    def step():\n        nonlocal n\n        n += 1\n        return n\n    return step",
            "step = counter(10)",
            "def f(): return step()",
        ],
        ["f", "counter"],
        ["counter(5)()"],
    ),
    "lists and dicts changed at top level": (
        ["xs = [1]\nd = {}", "xs.append(2); xs.append(3)", "d['k'] = xs", "def f(): return xs, d"],
        ["f"],
        ["f()"],
    ),
    "class attribute set afterwards": (
        [
            "class M:\n    pass",
            "def call(self, x): return x + self.bias",
            "M.call = call\nM.bias = 4",
            "setattr(M, 'extra', staticmethod(lambda: 9))",
        ],
        ["M"],
        ["M().call(1)", "M.extra()"],
    ),
    "conditional import": (
        [
            "fast = False\nif fast:\n    import cmath as lib\nelse:\n    import math as lib",
            "def f(x): return lib.sqrt(x)",
        ],
        ["f"],
        ["f(9)"],
    ),
    "import with a fallback": (
        [
            "try:\n    import no_such_module_at_all as m\nexcept ImportError:\n    import math as m",
            "def f(x): return m.sqrt(x)",
        ],
        ["f"],
        ["f(16)"],
    ),
    "tuple-unpacked constants": (["A, (B, *C) = 1, (2, 3, 4)", "def f(): return A, B, C"], ["f"], ["f()"]),
    "chained assignment": (["A = B = [1]", "A.append(2)", "def f():\n    A.append(3)\n    return B"], ["f"], ["f()"]),
    "f-strings and format specifications": (
        ["width = 6\nprefix = f'{width:>3}|'", "def f(x): return f'{prefix}{x:{width}.2f}{x!r}'"],
        ["f"],
        ["f(3.14159)"],
    ),
    "walrus at top level": (["print(n := 12)", "def f(): return [m := n, m + 1]"], ["f"], ["f()"]),
    "lambdas": (["sq = lambda x: x ** P", "P = 3", "f = lambda x: sq(x) + 1"], ["f"], ["f(2)"]),
    "functools.partial": (
        [
            "from functools import partial\ndef power(x, n): return x ** n",
            "square = partial(power, n=2)",
            "def f(x): return square(x)",
        ],
        ["f"],
        ["f(7)"],
    ),
    "lru_cache": (
        [
            "import functools\n@functools.lru_cache\ndef fib(n): return n if n < 2 else fib(n-1) + fib(n-2)",
            "def f(n): return fib(n)",
        ],
        ["f"],
        ["f(20)"],
    ),
    "singledispatch with nameless implementations": (
        [
            "from functools import singledispatch\n@singledispatch\ndef show(x): return 'any'",
            "@show.register\ndef _(x: int): return 'int'",
            "@show.register(str)\ndef _(x): return 'str'",
            "def f(): return show(1), show('a'), show(2.0)",
        ],
        ["f"],
        ["f()"],
    ),
    "annotations that name classes, as strings too": (
        [
            "from typing import Optional, List\nclass Node:\n    pass",
            "class Tree:\n    root: 'Optional[Node]' = None\n    def add(self, n: 'Node') -> List['Tree']:\n        return []",
            "import typing\ndef f(): return sorted(typing.get_type_hints(Tree.add))",
        ],
        ["f", "Tree"],
        ["f()"],
    ),
    "from __future__ import annotations": (
        ["from __future__ import annotations", "def f(x: NotThere = 3) -> AlsoNotThere:\n    return x"],
        ["f"],
        ["f()", "f.__annotations__"],
    ),
    "comprehension scopes": (
        ["x = 5\nns = [1, 2]", "def f():\n    return [x for x in ns], {k: x for k in ns}, sum(x * y for y in ns)"],
        ["f"],
        ["f()"],
    ),
    "comprehension in a class body": (
        ["SIZES = (1, 2, 3)", "class M:\n    table = [s * 2 for s in SIZES]\n    def get(self): return self.table"],
        ["M"],
        ["M().get()"],
    ),
    "class attribute with the name of its global": (
        ["rate = 0.5", "class M:\n    rate = rate\n    half = rate / 2"],
        ["M"],
        ["M.rate", "M.half"],
    ),
    "coroutines": (
        [
            "import asyncio\nasync def inner(x): return x + D",
            "D = 2\nasync def outer(x):\n    return await inner(x)",
            "def f(x): return asyncio.run(outer(x))",
        ],
        ["f"],
        ["f.__code__.co_names", "outer(1).close()"],
    ),
    "global counter": (
        ["count = 0\ndef tick():\n    global count\n    count += 1\n    return count", "tick(); tick()"],
        ["tick"],
        ["tick()"],
    ),
    "global made by a function": (
        ["def setup():\n    global TABLE\n    TABLE = [1, 2]\nsetup()", "def f(): return TABLE"],
        ["f"],
        ["f()"],
    ),
    "magics inside a cell": (
        ["%precision 3\nimport math\n!true\nK = 2", "def f(x): return math.sqrt(x) * K"],
        ["f"],
        ["f(4)"],
    ),
    "cell timed and captured": (
        ["%%time\ndef h(x): return x + 1", "%%capture\nK = 3\ndef f(x): return h(x) * K"],
        ["f"],
        ["f(1)"],
    ),
    "statement timed": (["%time K = 5", "def f(): return K"], ["f"], ["f()"]),
    "dotted and aliased imports": (
        [
            "import os.path\nimport xml.dom\nimport xml.etree.ElementTree as ET\nimport json as j, math",
            "def f(): return os.path.join('a', 'b'), ET.fromstring('<a/>').tag, j.dumps([1]), xml.dom.__name__",
        ],
        ["f"],
        ["f()"],
    ),
    "value of a shell command": (["files = !echo one two", "def f(): return files[0].split()"], ["f"], ["f()"]),
    "property, classmethod and staticmethod": (
        [
            "UNIT = 'kg'",
            "class M:\n    def __init__(self, v): self.v = v\n    @property\n    def text(self): return f'{self.v}{UNIT}'\n    @classmethod\n    def make(cls): return cls(helper())\n    @staticmethod\n    def zero(): return ZERO",
            "ZERO = 0\ndef helper(): return 7",
        ],
        ["M"],
        ["M.make().text", "M.zero()"],
    ),
    "metaclass": (
        [
            "class Meta(type):\n    def __new__(m, name, bases, ns):\n        ns['tag'] = TAG + name\n        return super().__new__(m, name, bases, ns)\nTAG = 't_'",
            "class M(metaclass=Meta):\n    pass",
        ],
        ["M"],
        ["M.tag"],
    ),
    "mixins, generics and named tuples": (
        [
            "from typing import Generic, TypeVar, NamedTuple\nT = TypeVar('T')\nclass P(NamedTuple):\n    a: int\n    b: int = 2",
            "class Mix:\n    def m(self): return P(1)",
            "class G(Mix, Generic[T]):\n    pass",
        ],
        ["G"],
        ["G().m()", "G[int]().m().b"],
    ),
    "names of builtins taken by the notebook": (
        ["def max(a, b): return 'mine'", "def f(): return max(1, 2), min(1, 2)"],
        ["f"],
        ["f()"],
    ),
    "augmented assignment": (["K = 1", "K += 2", "K *= 5", "def f(): return K"], ["f"], ["f()"]),
    "chain of rebinding objects": (
        [
            "import collections\nclass Node:\n    def __init__(self, v, prev=None): self.v, self.prev = v, prev",
            "n = Node(1)",
            "n = Node(2, n)",
            "n = Node(3, n)\nlast = n",
            "n = None",
            "def f():\n    out, x = [], last\n    while x:\n        out.append(x.v); x = x.prev\n    return out",
        ],
        ["f"],
        ["f()"],
    ),
    "loop that builds objects": (
        [
            "class Layer:\n    def __init__(self, n): self.n = n",
            "layers = []\nfor i in range(3):\n    layers.append(Layer(i))",
            "def f(): return [l.n for l in layers]",
        ],
        ["f"],
        ["f()"],
    ),
    "several statements on a line, and a semicolon": (
        ["a = 1; b = 2;", "def f(): return a + b; ", "class A: x = a; y = b"],
        ["f", "A"],
        ["f()", "A.y"],
    ),
    "multi-line strings, tabs and comments": (
        [
            'TEXT = """one\n  # not a comment\ntwo"""',
            "# what follows is important\ndef f():\n\t# inside\n\treturn TEXT  # after",
        ],
        ["f"],
        ["f()"],
    ),
    "collections by value": (
        [
            "import collections, pathlib, datetime, decimal, fractions\nc = collections.Counter('aab'); d = collections.defaultdict(list); d['k'].append(1)",
            "p = pathlib.Path('x') / 'y'; t = datetime.date(2024, 1, 2); m = decimal.Decimal('1.10'); q = fractions.Fraction(1, 3); s = {1, 2}; fz = frozenset(); r = range(3); b = b'\\x00'; z = 1 + 2j; e = ...",
            "def f(): return c, d, str(p), t, m, q, s, fz, r, b, z, e",
        ],
        ["f"],
        ["f()"],
    ),
    "floats that have no literal": (
        ["inf = float('inf'); nan = float('nan'); neg = -inf", "def f(): return inf, nan, neg"],
        ["f"],
        ["f()"],
    ),
    "small arrays and scalars": (
        [
            "import numpy as np\nW = np.array([[0.1, 0.2], [1/3, 5]], dtype='float32'); i = np.int64(7); flags = np.array([True, False]); names = np.array(['a', 'bc']); empty = np.zeros((0, 3)); when = np.array(['2024-01-01'], dtype='datetime64[D]'); dt = np.dtype('float16')",
            "W = W * 2",
            "def f(): return W.tolist(), W.dtype, i, type(i), flags, names, empty.shape, when, dt",
        ],
        ["f"],
        ["f()"],
    ),
    "namespace of settings": (
        [
            "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('--lr', type=float, default=0.1)\nargs = parser.parse_args(['--lr', '0.3'])",
            "from types import SimpleNamespace\ncfg = SimpleNamespace(n=2)\ncfg.n = 3",
            "def f(): return args.lr, cfg.n",
        ],
        ["f"],
        ["f()"],
    ),
    "dispatch table of functions": (
        [
            "def a(x): return x + 1\ndef b(x): return x * 2",
            "TABLE = {'a': a, 'b': b}",
            "TABLE['c'] = lambda x: -x",
            "def f(k, x): return TABLE[k](x)",
        ],
        ["f"],
        ["f('a', 3)", "f('b', 3)", "f('c', 3)"],
    ),
    "context manager and generator": (
        [
            "from contextlib import contextmanager\nLOG = []\n@contextmanager\ndef ctx(n):\n    LOG.append(n)\n    yield n * SCALE",
            "SCALE = 3\ndef gen(n):\n    for i in range(n):\n        with ctx(i) as v:\n            yield v",
        ],
        ["gen"],
        ["list(gen(3))"],
    ),
    "match statement": (
        [
            "ZERO = 0\ndef f(x):\n    match x:\n        case {'k': v}: return v + ZERO\n        case [a, *rest]: return rest\n        case _: return other()",
            "def other(): return 'o'",
        ],
        ["f"],
        ["f({'k': 1})", "f([1, 2])", "f(3)"],
    ),
    "exception classes and except clauses": (
        [
            "class Oops(ValueError):\n    pass",
            "def g(): raise Oops('x')",
            "def f():\n    try:\n        g()\n    except Oops as e:\n        return str(e)",
        ],
        ["f"],
        ["f()"],
    ),
    "guard for scripts": (
        ["if __name__ == '__main__':\n    K = 4\n    def h(): return K", "def f(): return h()"],
        ["f"],
        ["f()"],
    ),
    "operator-assigned dictionary": (["d = {'a': 1}\nd |= {'b': 2}\ndel d['a']", "def f(): return d"], ["f"], ["f()"]),
    "helper run twice around its user": (
        ["def h(): return 1", "class A:\n    x = h()", "def h(): return 1", "def f(): return A.x + h()"],
        ["f"],
        ["f()"],
    ),
    "name deleted after it was used": (["tmp = 3", "def f(a=tmp): return a", "del tmp"], ["f"], ["f()"]),
    "decorator that keeps no __wrapped__": (
        [
            "def twice(f):\n    def inner(x): return f(f(x))\n    return inner",
            "@twice\ndef f(x): return x + STEP",
            "STEP = 5",
        ],
        ["f"],
        ["f(1)"],
    ),
    "abstract base and super": (
        [
            "import abc\nclass Base(abc.ABC):\n    @abc.abstractmethod\n    def v(self): ...\n    def twice(self): return 2 * self.v()",
            "class M(Base):\n    def v(self): return super().v() or VALUE",
            "VALUE = 21",
        ],
        ["M"],
        ["M().twice()"],
    ),
    "subclasses found with __subclasses__": (
        ["class B:\n    pass", "class C(B):\n    n = 1", "class D(B):\n    n = 2", "def f(): return sorted(c.n for c in B.__subclasses__())"],
        ["f"],
        ["f()"],
    ),
    "object filled in by a function": (
        ["class Cfg: pass\ncfg = Cfg()", "def setup(c, v): c.k = v", "setup(cfg, 4)", "def f(): return cfg.k"],
        ["f"],
        ["f()"],
    ),
    "object filled in by a function whose result is kept": (
        [
            "class Words:\n    def __init__(self): self.of = {}\n    def add(self, word): self.of[word] = len(self.of)",
            "def fill(words, text):\n    for one in text: words.add(one)\n    return len(text)",
            "words = Words()\nsize = fill(words, 'ab')",
            "def f(): return words.of, size",
        ],
        ["f"],
        ["f()"],
    ),
    "objects changed by keyword, through another function, inside another call": (
        [
            "class O: pass",
            "def fill(it, v):\n    it.v = v\n    return it\ndef outer(it): fill(it, 2)",
            "a, b, c = O(), O(), O()\nfill(v=1, it=a)\nouter(b)\nprint(fill(c, 3).v)",
            "def f(): return a.v, b.v, c.v",
        ],
        ["f"],
        ["f()"],
    ),
    "objects changed under another name, in a loop over their list, by a with statement": (
        [
            "class O:\n    def __enter__(self): self.entered = True\n    def __exit__(self, *error): pass",
            "a, many, c = O(), [O(), O()], O()\nb = a\nb.v = 1\nfor i, one in enumerate(many):\n    one.v = i",
            "with c:\n    pass",
            "def f(): return a.v, [one.v for one in many], c.entered",
        ],
        ["f"],
        ["f()"],
    ),
    "iterator that has been moved on": (
        ["import itertools\nnumbers = itertools.count()\nnext(numbers)\nsecond = next(numbers)", "def f(): return next(numbers)"],
        ["f"],
        ["f()"],
    ),
    "global made by a function and changed outside": (
        ["def make():\n    global made\n    made = [1]\nmake()\nmade.append(2)", "def f(): return made"],
        ["f"],
        ["f()"],
    ),
    "attributes of a function": (["def f(x): return f.k * x", "f.k = 3"], ["f"], ["f(2)"]),
    "type aliases and annotated constants": (
        ["from typing import Callable\nVec = list[int]\nFn = Callable[[int], Vec]", "LR: float = 0.1\ndef f(x: Vec, g: Fn = None) -> Vec: return [LR]"],
        ["f"],
        ["f(1)", "f.__annotations__"],
    ),
    "imports for type checkers only": (
        ["from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from nowhere import Bar", "def f(x: 'Bar'): return 1"],
        ["f"],
        ["f(1)"],
    ),
    "numbers taken from a frame": (
        ["import pandas as pd\ndf = pd.DataFrame({'a': [1, 2], 'b': ['x', 'y']})", "n = df.a.nunique(); cols = list(df.columns); mean = df.a.mean(); vocab = sorted(set(df.b)); top = df.a.max(); arr = df.a.values", "def f(): return n, cols, mean, vocab, top, arr"],
        ["f"],
        ["f()"],
    ),
    "class made by a call": (["class B:\n    def v(self): return self.k", "M = type('M', (B,), {'k': 5})"], ["M"], ["M().v()"]),
    "class replaced by its decorator": (
        ["def deco(cls):\n    class W(cls):\n        extra = 1\n    W.__name__ = cls.__name__\n    return W", "@deco\nclass A:\n    def g(self): return K", "K = 9"],
        ["A"],
        ["A().g()", "A.extra"],
    ),
    "functions made in a loop": (
        ["fs = []\nfor i in range(3):\n    def g(x, i=i): return x + i\n    fs.append(g)", "def f(x): return [h(x) for h in fs]"],
        ["f"],
        ["f(1)"],
    ),
    "function defined where an import fails": (
        ["try:\n    from no_such_fast_module import act\nexcept ImportError:\n    def act(x): return x + K", "K = 2", "def f(x): return act(x)"],
        ["f"],
        ["f(1)"],
    ),
    "methods added in a loop": (
        ["class M: pass", "for n in ('a', 'b'):\n    setattr(M, n, (lambda n: lambda self: n)(n))"],
        ["M"],
        ["M().a()", "M().b()"],
    ),
    "variables put there by an extension": (
        ["import math\nget_ipython().push({'root': math.sqrt, 'C': 5})", "def f(): return root(4) + C"],
        ["f"],
        ["f()"],
    ),
    "name imported from two modules": (["import math as m", "import cmath as m", "def f(): return m.__name__"], ["f"], ["f()"]),
    "function that displays": (["def f(x):\n    if x: display(x)\n    return 2"], ["f"], ["f(0)"]),
}  # fmt: skip


@pytest.mark.parametrize("name", SCENARIOS)
def test_captured_module_behaves_as_the_live_objects(notebook: Notebook, name: str) -> None:
    cells, names, expressions = SCENARIOS[name]
    notebook.run(*cells)
    captured = notebook.capture(*names)
    loaded = Loaded(captured)
    assert [repr(loaded.value(one)) for one in expressions] == [repr(notebook.value(one)) for one in expressions], (
        captured.source
    )


@pytest.mark.parametrize("name", [name for name in SCENARIOS if "fail" not in name and "error" not in name])
def test_capture_without_recorded_outcomes_gives_the_same(notebook: Notebook, name: str) -> None:
    cells, names, expressions = SCENARIOS[name]
    notebook.recorder.stop()
    notebook.run(*cells)
    loaded = Loaded(notebook.capture(*names))
    assert [repr(loaded.value(one)) for one in expressions] == [repr(notebook.value(one)) for one in expressions]
