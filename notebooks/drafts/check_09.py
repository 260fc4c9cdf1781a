"""ast check of 09_full_scale.ipynb: the rules of COMMON.md, and calls into pbe_lite's draft."""
import ast, builtins, json, math, re
from pathlib import Path

TREE = Path("/tmp/drafts/full/tree/pbe_lite")
nb = json.loads(Path("/tmp/drafts/09_full_scale.ipynb").read_text())
cells = nb["cells"]
code = [c for c in cells if c["cell_type"] == "code"]
md = [c for c in cells if c["cell_type"] == "markdown"]
text = lambda c: "".join(c["source"])
sizes, defined, signatures = [], set(dir(builtins)), {}


def names(module):
    """{name: FunctionDef or ClassDef or None} at the top level of a module of the draft."""
    found = {}
    for n in ast.parse((TREE / f"{module}.py").read_text()).body:
        if isinstance(n, (ast.FunctionDef, ast.ClassDef)):
            found[n.name] = n
        elif isinstance(n, ast.Assign):
            for t in n.targets:
                found |= {x.id: None for x in ast.walk(t) if isinstance(x, ast.Name)}
        elif isinstance(n, (ast.Import, ast.ImportFrom)):
            found |= {(a.asname or a.name): None for a in n.names}
    return found


def function(node):
    if isinstance(node, ast.ClassDef):
        init = [f for f in node.body if isinstance(f, ast.FunctionDef) and f.name == "__init__"]
        return (init[0], 1) if init else (None, 0)
    return (node, 0) if isinstance(node, ast.FunctionDef) else (None, 0)


for c in code:
    s = text(c)
    t = ast.parse("\n".join(l for l in s.splitlines() if not l.startswith("%")))
    n = len(s.splitlines())
    sizes.append(n)
    if n > 20:
        print("cell", c["id"], n)
    for l in s.splitlines():
        if len(l) > 79:
            print("LONG", c["id"], len(l), l)
    assert c["outputs"] == [] and c["execution_count"] is None
    store, load = set(), set()
    for x in ast.walk(t):
        if isinstance(x, (ast.Import, ast.ImportFrom)):
            store |= {(a.asname or a.name).split(".")[0] for a in x.names}
            if isinstance(x, ast.ImportFrom) and (x.module or "").startswith("pbe_lite."):
                there = names(x.module.split(".")[1])
                for a in x.names:
                    if a.name not in there:
                        print("NOT IN PACKAGE", x.module, a.name)
                    else:
                        signatures[a.name] = there[a.name]
            if isinstance(x, ast.ImportFrom) and x.module == "pbe_lite":
                for a in x.names:
                    if a.name[0].islower():
                        for k, v in names(a.name).items():
                            signatures[f"{a.name}.{k}"] = v
        elif isinstance(x, (ast.FunctionDef, ast.ClassDef)):
            store.add(x.name)
        elif isinstance(x, ast.arg):
            store.add(x.arg)
        elif isinstance(x, ast.ExceptHandler) and x.name:
            store.add(x.name)
        elif isinstance(x, ast.Name):
            (store if isinstance(x.ctx, ast.Store) else load).add(x.id)
    if load - store - defined:
        print("undefined", c["id"], load - store - defined)
    defined |= store
    for x in ast.walk(t):  # calls into the package: count and names of arguments
        if not isinstance(x, ast.Call):
            continue
        key = ast.unparse(x.func)
        if key.split(".")[0] in ("canvas", "plots") and "." in key and key not in signatures:
            print("NOT IN PACKAGE", key)
        if signatures.get(key) is None:
            continue
        f, skip = function(signatures[key])
        if f is None:
            continue
        args = [a.arg for a in f.args.args][skip:]
        star = any(isinstance(a, ast.Starred) for a in x.args)
        if len(x.args) > len(args) and not f.args.vararg and not star:
            print("TOO MANY", c["id"], ast.unparse(x))
        for k in x.keywords:
            if k.arg and k.arg not in args and not f.args.kwarg:
                print("NO SUCH ARGUMENT", c["id"], key, k.arg)
        least = len(args) - len(f.args.defaults)
        given = len(x.args) + len(x.keywords)
        if given < least and not star and not any(k.arg is None for k in x.keywords):
            print("TOO FEW", c["id"], ast.unparse(x))
s = sorted(sizes)
ratio = len(md) / len(code)
p90 = s[math.ceil(.9 * len(s)) - 1]
print(len(md), "md", len(code), "code", round(ratio, 2), "p90", p90, s[-8:])
if not 1 <= ratio <= 2: print("RATIO", ratio)
if p90 > 20: print("P90", p90)
for c in md:
    t = text(c)
    for l in t.splitlines():
        if len(l) > 96 and "$" not in l:
            print("md", c["id"], len(l), l)
    assert t.count("$$") % 2 == 0, c["id"]
    assert t.count("<details>") == t.count("</details>"), c["id"]
    for sol in re.findall(r"```python\n(.*?)```", t, re.S):
        ast.parse(sol)
        for l in sol.splitlines():
            if len(l) > 79: print("solution", c["id"], l)
assert len({c["id"] for c in cells}) == len(cells)
src = "\n".join(text(c) for c in code)
used = {x.id for x in ast.walk(ast.parse(src)) if isinstance(x, ast.Name) and isinstance(x.ctx, ast.Load)}
for x in ast.walk(ast.parse(src)):
    if isinstance(x, (ast.Import, ast.ImportFrom)):
        for a in x.names:
            k = (a.asname or a.name).split(".")[0]
            if k not in used:
                print("unused import", k)
after = [b["id"] for a, b in zip(cells, cells[1:]) if a["cell_type"] == b["cell_type"] == "code"]
print("code after code:", after)
print("TODO", sum(text(c).count("TODO(measure)") for c in md),
      "asserts", sum(isinstance(x, ast.Assert) for x in ast.walk(ast.parse(src))))
