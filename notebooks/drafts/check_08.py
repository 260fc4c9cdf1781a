"""Checks the rules on /tmp/drafts/08_multi_gpu_training.ipynb with ast alone."""
import ast
import builtins
import json
import math
import re

nb = json.load(open("/tmp/drafts/08_multi_gpu_training.ipynb"))
cells = nb["cells"]
code = [c for c in cells if c["cell_type"] == "code"]
md = [c for c in cells if c["cell_type"] == "markdown"]
text = lambda c: "".join(c["source"])
plain = lambda s: "\n".join(x for x in s.splitlines() if not x.startswith("%"))
print(len(md), "md", len(code), "code", round(len(md) / len(code), 2))
assert len(code) <= len(md) <= 2 * len(code)
sizes = []
for c in code:
    s = text(c)
    ast.parse(plain(s))
    sizes.append(len(s.splitlines()))
    for x in s.splitlines():
        if len(x) > 79: print("LONG", c["id"], len(x), x)
    if sizes[-1] > 20: print("over 20 lines:", c["id"], sizes[-1])
    assert c["outputs"] == [] and c["execution_count"] is None
s = sorted(sizes)
print("p90", s[math.ceil(.9 * len(s)) - 1], s)
for c in md:
    for x in text(c).splitlines():
        if len(x) > 98: print("md", c["id"], len(x), x)
    assert text(c).count("$$") % 2 == 0, c["id"]
    for sol in re.findall(r"```python\n(.*?)```", text(c), re.S):
        ast.parse(sol)
        for x in sol.splitlines():
            if len(x) > 79: print("solution", x)
assert len({c["id"] for c in cells}) == len(cells)


def names(src, label, known=()):
    tree = ast.parse(src)
    made = set(dir(builtins)) | set(known) | {"__file__"}
    for n in ast.walk(tree):
        if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store): made.add(n.id)
        if isinstance(n, (ast.FunctionDef, ast.Lambda)):
            a = n.args
            made |= {x.arg for x in a.args + a.kwonlyargs}
            made |= {x.arg for x in (a.vararg, a.kwarg) if x}
        if isinstance(n, (ast.FunctionDef, ast.ClassDef)): made.add(n.name)
        if isinstance(n, ast.ExceptHandler) and n.name: made.add(n.name)
        if isinstance(n, (ast.Import, ast.ImportFrom)):
            for a in n.names: made.add((a.asname or a.name).split(".")[0])
    used = {n.id for n in ast.walk(tree)
            if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    print(label, "undefined:", used - made)
    for n in ast.walk(tree):
        if isinstance(n, (ast.Import, ast.ImportFrom)):
            for a in n.names:
                k = (a.asname or a.name).split(".")[0]
                if k not in used: print(label, "unused import", k)


scripts, notebook = {}, []
for c in code:
    s = text(c)
    if s.startswith("%%writefile"):
        head = s.splitlines()[0].split()
        name = head[-1].split("/")[-1]
        assert ("-a" in head) == (name in scripts), head
        scripts[name] = scripts.get(name, "") + plain(s) + "\n"
    else:
        notebook.append(plain(s))
for name, s in scripts.items():
    names(s, name)
names("\n".join(notebook), "notebook")
# what the notebook and the scripts take from toy and package exists there
for module in ("toy", "package"):
    tree = ast.parse(scripts[module + ".py"])
    has = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
    for n in tree.body:
        if isinstance(n, ast.Assign):
            has |= {x.id for t in n.targets for x in ast.walk(t) if isinstance(x, ast.Name)}
    for src in [*notebook, *(v for k, v in scripts.items() if k != module + ".py")]:
        for n in ast.walk(ast.parse(src)):
            if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) \
                    and n.value.id == module and n.attr not in has | {"keys"}:
                print(module, "lacks", n.attr)
# first use of a name before its definition, at the top level of cells
made = set(dir(builtins)) | {"__file__"}
for src in notebook:
    tree = ast.parse(src)
    for stmt in tree.body:
        if isinstance(stmt, (ast.FunctionDef, ast.ClassDef)):
            made.add(stmt.name)
            continue
        inner = {x.arg for n in ast.walk(stmt) if isinstance(n, ast.Lambda)
                 for x in n.args.args + [y for y in (n.args.kwarg, n.args.vararg) if y]}
        stored = {n.id for n in ast.walk(stmt) if isinstance(n, ast.Name)
                  and isinstance(n.ctx, ast.Store)}
        handlers = {n.name for n in ast.walk(stmt) if isinstance(n, ast.ExceptHandler)}
        for n in ast.walk(stmt):
            if isinstance(n, (ast.Import, ast.ImportFrom)):
                made |= {(a.asname or a.name).split(".")[0] for a in n.names}
        early = {n.id for n in ast.walk(stmt) if isinstance(n, ast.Name)
                 and isinstance(n.ctx, ast.Load)} - made - inner - stored - handlers
        if early: print("used early:", early)
        made |= stored
print("TODO", sum(text(c).count("TODO(measure)") for c in md))
prev = None
for c in cells:
    if prev == "code" and c["cell_type"] == "code": print("code after code:", c["id"])
    prev = c["cell_type"]
