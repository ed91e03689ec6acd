# ruff: noqa: E501 - a cell is a line here
"""Objects that cells, helpers, loops and other objects have changed: the package holds them as they are at the call."""

from __future__ import annotations

import pytest
from notebook_shell import Loaded, Notebook

from elasticdl_nb.capture.describe import describe, differences

# name -> (cells in the order of execution, names to package, expressions to compare)
STATE: dict[str, tuple[list[str], list[str], list[str]]] = {
    # ------------------------------------------------------------ changed later, and held by another (failing.md A)
    "dict that an object holds": (["cfg = {'n': 1}\nclass Net:\n    def __init__(self, cfg): self.cfg = cfg", "net = Net(cfg)", "cfg['n'] = 5", "def f(): return net.cfg is cfg, net.cfg"], ["f", "net"], ["f()", "net.cfg"]),
    "object that an object holds": (["class C: n = 1\nclass Net:\n    def __init__(self, cfg): self.cfg = cfg", "cfg = C()\nnet = Net(cfg)", "cfg.n = 5"], ["net"], ["net.cfg.n"]),
    "array that an object holds": (["import numpy as np\nclass Net:\n    def __init__(self, w): self.w = w", "W = np.ones(3)\nnet = Net(W)", "W[:] = 5", "def f():\n    net.w[0] = 7\n    return W[0]"], ["f"], ["f()"]),
    "list in a partial": (["from functools import partial\nxs = [1]\ng = partial(lambda a: a, xs)", "xs.append(2)", "def f(): return g(), g() is xs"], ["f"], ["f()"]),
    "list in a closure": (["def make(items):\n    def g(): return items\n    return g\nitems = ['a']\ng = make(items)", "items.append('b')", "def f(): return g(), g() is items"], ["f"], ["f()"]),
    "default argument": (["LAYERS = [1]\ndef f(layers=LAYERS): return layers, layers is LAYERS", "LAYERS.append(2)"], ["f"], ["f()"]),
    "default argument changed by calls": (["def f(x, seen=[], *, by={}):\n    seen.append(x)\n    by[x] = 1\n    return seen, by", "f(1)"], ["f"], ["f(2)"]),
    "class attribute": (["XS = [1]\nclass K: xs = XS", "XS.append(2)", "def f(): return K.xs, K.xs is XS"], ["f"], ["f()"]),
    "registry of a class, filled later": (["REG = {}\nclass R: reg = REG", "REG['a'] = 1"], ["R"], ["R.reg"]),
    "attribute of a base": (["class A: opts = {}", "class B(A): pass", "A.opts['x'] = 1"], ["B"], ["B.opts"]),
    "registry that holds the class": (["REG = {}\nclass R:\n    reg = REG\n    def who(self): return sorted(self.reg)", "REG['a'] = R"], ["R"], ["R().who()", "R.reg['a'] is R"]),
    "two dicts share a list": (["xs = []\na, b = {'x': xs}, {'x': xs}", "a['x'].append(3)", "def f(): return a, b, a['x'] is b['x']"], ["f"], ["f()"]),
    "helper changes a dict of two objects": (["class H:\n    def __init__(self, d): self.d = d", "d = {}\nh1, h2 = H(d), H(d)\ndef put(h, k): h.d[k] = len(h.d)", "put(h1, 'a'); put(h2, 'b')", "def f(): return h1.d, h1.d is h2.d"], ["f"], ["f()"]),
    "cycle of objects": (["class N:\n    def __init__(self): self.next = None", "a, b = N(), N()\na.next, b.next = b, a", "def f(): return a.next.next is a, b.next is a"], ["f"], ["f()"]),
    "object in its own list": (["xs = [1]\nxs.append(xs)", "def f(): return len(xs), xs[1] is xs"], ["f"], ["f()"]),
    # ------------------------------------------------------------ methods of libraries (B)
    "configparser": (["import configparser\ncfg = configparser.ConfigParser()", "cfg.read_string('[a]\\nx = 1')", "def f(): return cfg['a']['x']"], ["f"], ["f()"]),
    "mimetypes": (["import mimetypes\nm = mimetypes.MimeTypes()", "m.add_type('x/y', '.xy')", "def f(): return m.guess_type('a.xy')"], ["f"], ["f()"]),
    # ------------------------------------------------------------ fitted through helpers, loops, containers (C)
    "scaler fitted in a helper": (["import numpy as np\nfrom sklearn.preprocessing import StandardScaler\nX = np.arange(12.0).reshape(4, 3)", "def prepare(s, x): s.fit(x)\nscaler = StandardScaler()\nprepare(scaler, X)", "def f(x): return scaler.transform(x).tolist()"], ["f"], ["f([[1, 2, 3]])", "scaler.mean_.tolist()"]),
    "scalers in a loop over a dict": (["import numpy as np\nfrom sklearn.preprocessing import StandardScaler\nX = np.arange(12.0).reshape(4, 3)", "scalers = {c: StandardScaler() for c in 'ab'}\nfor c, s in scalers.items(): s.fit(X)", "def f(): return scalers['a'].mean_.tolist()"], ["f"], ["f()"]),
    "pipeline fitted": (["import numpy as np\nfrom sklearn.pipeline import make_pipeline\nfrom sklearn.preprocessing import StandardScaler, MinMaxScaler\np = make_pipeline(StandardScaler(), MinMaxScaler())", "q = p.fit_transform(np.arange(6.0).reshape(3, 2))", "def f(x): return p.transform(x).tolist()"], ["f"], ["f([[1.0, 2.0]])"]),
    "label encoder and its classes": (["from sklearn.preprocessing import LabelEncoder\nle = LabelEncoder().fit(['b', 'a'])\nCLASSES = le.classes_", "def f(): return le.transform(['a', 'b']).tolist(), list(CLASSES)"], ["f"], ["f()"]),
    # ------------------------------------------------------------ results that are kept (D)
    "learn() whose result is kept": (["class Tok:\n    def __init__(self): self.ix = {}\n    def learn(self, ws):\n        for w in ws: self.ix.setdefault(w, len(self.ix))\n        return len(self.ix)", "tok = Tok()\nn = tok.learn(['a', 'b'])\nprint(tok.learn(['c']))\nif tok.learn('d'): pass", "def f(): return tok.ix, n"], ["f"], ["f()"]),
    "__call__, map and __missing__": (["class V(dict):\n    def __call__(self, w): return self.setdefault(w, len(self))\n    def __missing__(self, k):\n        self[k] = len(self)\n        return self[k]", "v = V()\ni = v('a')\ntotal = sum(map(v, 'bc'))\nids = [v[c] for c in 'xx']", "def f(): return dict(v), i, total, ids"], ["f"], ["f()"]),
    "overloaded operators": (["class P:\n    def __init__(self, n): self.n, self.out = n, []\n    def __rshift__(self, o):\n        self.out.append(o); return o\n    def __iadd__(self, k):\n        self.n += k; return self", "a, b = P(1), P(2)\na >> b\nq = a\nq += 5", "def f(): return a.n, a.out[0] is b, q is a"], ["f"], ["f()"]),
    "vars() and __dict__": (["class C: n = 1\ncfg = C()", "vars(cfg).update(n=9)\ncfg.__dict__['m'] = 2", "def f(): return cfg.n, cfg.m"], ["f"], ["f()"]),
    "patched by annotation": (["def patch(f):\n    cls = next(iter(f.__annotations__.values()))\n    setattr(cls, f.__name__, f)\n    return f", "class Net:\n    def forward(self, x): return x", "@patch\ndef forward(self: Net, x):\n    return x * K\nK = 2"], ["Net"], ["Net().forward(2)"]),
    # ------------------------------------------------------------ values of every kind (F, I)
    "functions of NumPy as values": (["import numpy as np\nlog = np.log1p\ntable = {'income': np.log1p, 'x': [np.tanh, np.mean]}\nvec = np.vectorize(abs)\npoly = np.poly1d([1, 2])", "def f(): return float(log(1)), float(table['x'][0](0)), int(vec(-3)), poly(1), float(table['x'][1]([1, 3]))"], ["f"], ["f()"]),
    "odd numbers of NumPy": (["import numpy as np\nfi, ii, ld, big = np.finfo(np.float32), np.iinfo(np.int32), np.longdouble(1.5), 10 ** 5000\nflat = [1, 2]", "def f(): return fi.max, ii.max, ld, big % 97"], ["f"], ["f()"]),
    "hostile __getattr__": (["class H:\n    def __init__(self): self.__dict__['d'] = {'a': 1}\n    def __getattr__(self, n): return self.d[n]\nh = H()\nclass R:\n    def __getattr__(self, n): raise RuntimeError(n)\nr = R()\nr.x = 3", "def f(): return h.a, r.x"], ["f"], ["f()"]),
    "attribute dictionaries": (["class AD(dict):\n    __getattr__ = dict.__getitem__\n    __setattr__ = dict.__setitem__\ncfg = AD(a=1)", "cfg.b = AD(c=[1])\ncfg.b.c.append(2)", "def f(): return cfg.a, cfg.b.c, type(cfg.b).__name__"], ["f"], ["f()"]),
    "list with its own append": (["class L(list):\n    def append(self, x): raise TypeError\nxs = L([1, 2])\nxs.tag = 't'", "def f(): return list(xs), xs.tag"], ["f"], ["f()"]),
    "random values drawn once": (["import random, uuid, datetime\nRUN, DRAW, NOW = uuid.uuid4(), random.random(), datetime.datetime.now()\nclass Split:\n    def __init__(self): self.seed = random.random()\nsplit = Split()\nclass K: draw = random.random()\ndef g(x=random.random()): return x", "def f(): return RUN, DRAW, NOW, split.seed, K.draw, g()"], ["f"], ["f()"]),
    "time with a zone": (["import datetime, zoneinfo\nT = datetime.datetime(2024, 1, 2, tzinfo=zoneinfo.ZoneInfo('Europe/Oslo'))", "def f(): return T"], ["f"], ["f()"]),
    "long nested lists": (["import random\nNEG = [[random.random() for _ in range(300)] for _ in range(30)]\nVOC = {f'w{i}' * 9: i for i in range(3000)}", "def f(): return sum(map(sum, NEG)), len(VOC), VOC['w7' * 9]"], ["f"], ["f()"]),
    "arrays large and small": (["import numpy as np\nW = np.arange(40000, dtype='float32').reshape(200, 200)\nT = W.T\nV = np.array(['a', 'bc'])\nO = np.array(['x', None, 3], dtype=object)\nS = np.zeros(2, dtype=[('a', 'i4'), ('b', 'f8')])\nM = np.ma.masked_array([1, 2], mask=[0, 1])", "def f(): return W.sum(), T[1, 0], V, O.tolist(), S.dtype, M.sum()"], ["f"], ["f()"]),
    "array under two names": (["import numpy as np\nA = B = np.zeros(100)", "A[0] = 4", "def f():\n    B[1] = 2\n    return A[:2].tolist(), A is B"], ["f"], ["f()"]),
    "frames": (["import pandas as pd\ndf = pd.DataFrame({'a': [1, 2], 'b': ['x', None], 'c': pd.Categorical(['u', 'v'])})\nnums = pd.DataFrame({'p': range(500), 'q': 1.5})\nix = df.set_index('b').index\nse = df.a\nts = pd.Timestamp('2024-04-01', tz='UTC')\nna = [pd.NA, pd.NaT, pd.Interval(0, 1)]", "def f(): return df.a.sum(), list(df.c.cat.categories), nums.q.sum(), nums.dtypes.tolist(), ix[0], se.tolist(), ts, len(na)"], ["f"], ["f()", "df.to_dict()"]),
    "values taken from a frame": (["import pandas as pd\ndf = pd.DataFrame({'city': ['Rome', 'Oslo'], 'age': [3.0, 5.0], 'day': pd.to_datetime(['2024-01-01', '2024-02-01'])})\nCITIES, COLS, LAST, MEAN = df.city.unique(), df.columns[:-1], df.day.max(), df[['age']].mean()", "def f(): return list(CITIES), list(COLS), LAST, MEAN.age"], ["f"], ["f()"]),
    "sparse matrices": (["import scipy.sparse as sp, numpy as np\nM = sp.csr_matrix(np.eye(3))", "def f(): return M.sum(), M.shape"], ["f"], ["f()"]),
    "arrow table": (["import pyarrow as pa\nT = pa.table({'a': [1, 2]})", "def f(): return T.num_rows, T.column('a').to_pylist()"], ["f"], ["f()"]),
    "generators of random numbers": (["import numpy as np, random\ng = np.random.default_rng(3)\nr = random.Random(5)\ng.random(); r.random()", "def f(): return g.random(), r.random()"], ["f"], ["f()"]),
    "regex, decimal, path, logger": (["import re, decimal, pathlib, logging\nP, D, Q, L = re.compile('a+', re.I), decimal.Decimal('1.5'), pathlib.PurePosixPath('a/b'), logging.getLogger('x.y')", "def f(): return bool(P.match('AA')), D, str(Q), L.name"], ["f"], ["f()"]),
    "views, iterators and buffers": (["import io, itertools, collections\nd = {'a': 1}\nkeys = d.keys()\nit = iter([1, 2, 3])\nnext(it)\nbuf = io.BytesIO(b'xyz')\ncm = collections.ChainMap({'a': 1}, {'b': 2})\ncyc = itertools.cycle('ab')\nnext(cyc)", "def f(): return list(keys), next(it), buf.getvalue(), cm['b'], next(cyc)"], ["f"], ["f()"]),
    "locks and weak references": (["import threading, weakref\nclass Node: pass\nclass Pool:\n    def __init__(self): self.lock, self.local, self.n = threading.RLock(), threading.local(), 3\npool, node = Pool(), Node()\nref = weakref.ref(node)", "def f():\n    with pool.lock: return pool.n, ref() is node"], ["f"], ["f()"]),
    "slots, frozen dataclass, namedtuple, enum": (["import dataclasses, enum, collections\nclass S:\n    __slots__ = ('a', 'b')\n    def __init__(self): self.a = [1]\n@dataclasses.dataclass(frozen=True)\nclass F:\n    n: int = 1\n    xs: list = dataclasses.field(default_factory=list)\nP = collections.namedtuple('P', 'x y')\nclass E(enum.Flag):\n    A = enum.auto()\n    B = enum.auto()", "s, fr, p, e = S(), F(2), P(1, [2]), E.A | E.B\nfr.xs.append(3)", "def f(): return s.a, hasattr(s, 'b'), fr, p, e, e is E.A | E.B"], ["f"], ["f()"]),
    "sets and frozensets of tuples": (["seen = {('a', 1)}\nseen |= {('b', 2)}\nfz = frozenset(seen)\nseen.discard(('a', 1))", "def f(): return seen, sorted(fz)"], ["f"], ["f()"]),
    "mapping proxy and namespaces": (["import types\nm = types.MappingProxyType({'a': [1]})\nns = types.SimpleNamespace(a=1)\nns.b = ns", "def f(): return m['a'], ns.b is ns"], ["f"], ["f()"]),
    # ------------------------------------------------------------ functions and classes that are values
    "lambdas in containers": (["K = 2\nfs = [lambda x: x + K, lambda x: x * K]\nd = {'a': lambda: K}\ndef app(f): fs.append(f)\napp(lambda x: -x)", "def f(x): return [g(x) for g in fs], d['a']()"], ["f"], ["f(3)"]),
    "counter that was called": (["def counter(n):\n    def step():\n        nonlocal n\n        n += 1\n        return n\n    def look(): return n\n    return step, look\nstep, look = counter(1)\nstep(); step()", "def f(): return step(), look()"], ["f"], ["f()"]),
    "closure whose maker was redefined": (["def make(n):\n    def g(): return n\n    return g\ng = make(3)", "def make(n): return None", "def f(): return g()"], ["f"], ["f()"]),
    "recursive closure and its attributes": (["def build():\n    def fact(n): return 1 if n < 2 else n * fact(n - 1)\n    fact.calls = [0]\n    return fact\nfact = build()\nfact.calls[0] = 4", "def f(): return fact(5), fact.calls"], ["f"], ["f()"]),
    "wraps, cache and total_ordering": (["import functools\ndef twice(g):\n    @functools.wraps(g)\n    def inner(*a): return g(*a) * 2\n    return inner\n@twice\ndef a(x): return x + K\n@functools.cache\ndef b(x): return x * K\n@functools.total_ordering\nclass O:\n    def __init__(self, v): self.v = v\n    def __eq__(self, o): return self.v == o.v\n    def __lt__(self, o): return self.v < o.v\nK = 3\nb(2)", "def f(): return a(1), b(2), O(1) >= O(0), a.__name__"], ["f"], ["f()"]),
    "bound methods and partials of them": (["import functools\nclass C:\n    def __init__(self): self.n = 1\n    def add(self, k): self.n += k; return self.n\n    @classmethod\n    def make(cls): return cls.__name__\n    @staticmethod\n    def two(): return 2\nc = C()\nadd, make, two, one = c.add, C.make, C.two, functools.partial(c.add, 1)\nadd(5)", "def f(): return one(), c.n, make(), two()"], ["f"], ["f()"]),
    "class from a factory": (["def make(k):\n    class Inner:\n        xs = [k]\n        def v(self): return k, super().__repr__()[:1], __class__.__name__\n    return Inner\nMade = make(3)\nMade.xs.append(4)\none = Made()", "def f(): return one.v(), Made.xs, type(one) is Made"], ["f"], ["f()"]),
    "class replaced by its decorator": (["def deco(c):\n    class W(c):\n        extra = 1\n    return W\n@deco\nclass A:\n    def v(self): return K\nK = 4", "a = A()\na.t = 5", "def f(): return a.v(), A.extra, a.t, isinstance(a, A)"], ["f"], ["f()"]),
    "object of a class that was redefined": (["class A:\n    def v(self): return 1\na = A()", "class A:\n    def v(self): return 2", "def f(): return a.v(), A().v()"], ["f"], ["f()"]),
    "members set, replaced and deleted later": (["class M:\n    a = 1\n    b = [1]\n    def m(self): return 1\n    def n(self): return 2", "M.a = 5\nM.b.append(2)\nM.m = lambda self: 7\ndef outside(self): return M.a\nM.o = outside\nfor k in 'xy': setattr(M, k, property(lambda self, k=k: k))\ndel M.n", "def f(): return M.a, M.b, M().m(), M().o(), M().x, M().y, hasattr(M, 'n')"], ["f"], ["f()"]),
    "dispatch on types": (["from functools import singledispatch, singledispatchmethod\n@singledispatch\ndef show(x): return 'any'\n@show.register\ndef _(x: int): return 'int'\nclass D:\n    @singledispatchmethod\n    def go(self, x): return 'any'\n    @go.register\n    def _(self, x: str): return 'str'", "def f(): return show(1), show(''), D().go(''), D().go(1)"], ["f"], ["f()"]),
    "descriptors and cached properties": (["import functools\nclass Pos:\n    def __set_name__(self, o, n): self.n = '_' + n\n    def __get__(self, i, o=None): return getattr(i, self.n, 0)\n    def __set__(self, i, v): setattr(i, self.n, abs(v))\nclass C:\n    x = Pos()\n    @functools.cached_property\n    def y(self): return self.x + 1\nc = C()\nc.x = -4\nc.y", "def f(): return c.x, c.y"], ["f"], ["f()"]),
    "contextvars and exceptions": (["class Oops(Exception):\n    def __init__(self, m, code): super().__init__(m); self.code = code\nerr = Oops('x', 3)", "def f(): return err.code, str(err)"], ["f"], ["f()"]),
    # ------------------------------------------------------------ names bound in unusual places (H)
    "except … as e in a branch that ran": (["try:\n    from no_such_fancy import act\nexcept ImportError as e:\n    print(e)\n    def act(x): return x + 1", "def f(x): return act(x)"], ["f"], ["f(1)"]),
    "branch that did not run": (["USE_NEW = False\nclass Old: n = 1\nif USE_NEW:\n    reg = NewThing()\nelse:\n    reg = Old()\n    reg.m = 2", "def f(): return reg.n, reg.m"], ["f"], ["f()"]),
    "with, for, walrus, match, star, del": (["import contextlib\n@contextlib.contextmanager\ndef ctx():\n    yield [1]\nwith ctx() as w: w.append(2)\nfor i, (p, *q) in enumerate([(1, 2, 3)]): pass\nif (n := len(w)) > 1: pass\nmatch {'k': [1, 2], 'z': 0}:\n    case {'k': [a, *b], **rest}: pass\nh, *t = [1, 2, 3]\ntmp = t\ndel t", "def f(): return w, i, p, q, n, a, b, rest, h, tmp"], ["f"], ["f()"]),
    "comprehension, try and while": (["n = 0\nwhile n < 3: n += 1\ntry:\n    v = int('x')\nexcept ValueError:\n    v = -1\nfinally:\n    done = True\nsq = {k: k * k for k in range(n)}", "def f(): return n, v, done, sq"], ["f"], ["f()"]),
    "async results": (["async def get(): return {'a': [1]}", "r = await get()", "def f(): return r"], ["f"], ["f()"]),
    # ------------------------------------------------------------ modules (E)
    "attributes of the user's modules": (["%%writefile cfg_mod_a.py\nN = 1\nclass C: k = 1\ndef get(): return N", "import cfg_mod_a\ncfg_mod_a.N = 5\ncfg_mod_a.C.k = 7", "def f(): return cfg_mod_a.get(), cfg_mod_a.C.k"], ["f"], ["f()"]),
    "attributes set in a helper and by setattr": (["%%writefile cfg_mod_b.py\nN = 1\nM = 1", "import cfg_mod_b as c\ndef setup():\n    c.N = 5\nsetup()\nsetattr(c, 'M', 6)", "def f(): return c.N, c.M"], ["f"], ["f()"]),
    "functions of modules replaced": (["%%writefile cfg_mod_c.py\ndef one(): return 1\ndef two(): return one() + 1", "import cfg_mod_c\ndef mine(): return K\nK = 10\ncfg_mod_c.one = mine", "def f(): return cfg_mod_c.two()"], ["f"], ["f()"]),
    "objects of the user's modules": (["%%writefile cfg_mod_d.py\nclass V:\n    def __init__(self): self.w = []\n    def add(self, x): self.w.append(x); return self", "from cfg_mod_d import V\nv = V().add(1)\nv.add(2)", "def f(): return v.w"], ["f"], ["f()"]),
    "modules that are imported for what they do": (["%%writefile cfg_mod_e.py\nR = {}", "%%writefile cfg_plug_e.py\nimport cfg_mod_e\ncfg_mod_e.R['a'] = 1", "import cfg_mod_e\nimport cfg_plug_e", "def f(): return cfg_mod_e.R"], ["f"], ["f()"]),
    "reloaded module": (["%%writefile cfg_mod_f.py\ndef v(): return 1", "import cfg_mod_f, importlib", "%%writefile cfg_mod_f.py\ndef v(): return 22", "cfg_mod_f = importlib.reload(cfg_mod_f)", "def f(): return cfg_mod_f.v()"], ["f"], ["f()"]),
}  # fmt: skip


@pytest.mark.parametrize("name", STATE)
def test_the_package_holds_what_the_notebook_holds(notebook: Notebook, name: str) -> None:
    cells, names, expressions = STATE[name]
    notebook.run(*cells)
    captured = notebook.capture(*names)
    loaded = Loaded(captured)
    there = describe({one: getattr(loaded.module, one) for one in captured.living}, frozenset({loaded.module.__name__}))
    assert not list(differences(describe(captured.living, frozenset({"__main__"})), there)), captured.source
    assert [repr(loaded.value(one)) for one in expressions] == [repr(notebook.value(one)) for one in expressions], (
        captured.source
    )
