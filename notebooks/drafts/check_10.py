import ast, json, math, re
nb = json.load(open("/tmp/drafts/10_limits_and_beyond.ipynb"))
cells = nb["cells"]
code = [c for c in cells if c["cell_type"] == "code"]
md = [c for c in cells if c["cell_type"] == "markdown"]
print(len(md), len(code), round(len(md)/len(code), 2))
sizes = []
for c in code:
    s = "".join(c["source"])
    ast.parse("\n".join(l for l in s.splitlines() if not l.startswith("%")))
    n = len(s.splitlines()); sizes.append(n)
    for l in s.splitlines():
        if len(l) > 79: print("LONG", c["id"], len(l), l)
    if n > 20: print("cell", c["id"], n)
    assert c["outputs"] == [] and c["execution_count"] is None
s = sorted(sizes); print("p90", s[math.ceil(.9*len(s))-1], s)
for c in md:
    for l in "".join(c["source"]).splitlines():
        if len(l) > 96: print("md", c["id"], len(l), l)
assert len({c["id"] for c in cells}) == len(cells)
# unused / undefined names, roughly
src = "\n".join("".join(c["source"]) for c in code)
tree = ast.parse(src)
import builtins
defined = set(dir(builtins))
for n in ast.walk(tree):
    if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store): defined.add(n.id)
    if isinstance(n, (ast.FunctionDef,)): defined.add(n.name); defined |= {a.arg for a in n.args.args}
    if isinstance(n, ast.Lambda): defined |= {a.arg for a in n.args.args}
    if isinstance(n, (ast.Import, ast.ImportFrom)):
        for a in n.names: defined.add((a.asname or a.name).split(".")[0])
print("undefined:", {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id not in defined})
used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
for n in ast.walk(tree):
    if isinstance(n, (ast.Import, ast.ImportFrom)):
        for a in n.names:
            k = (a.asname or a.name).split(".")[0]
            if k not in used: print("unused import", k)
print("TODO", sum("TODO(measure)" in "".join(c["source"]) for c in md))
for c in md:
    s="".join(c["source"])
    assert s.count("$$") % 2 == 0, c["id"]
    for sol in re.findall(r"```python\n(.*?)```", s, re.S):
        ast.parse(sol)
        for l in sol.splitlines():
            if len(l)>79: print("sol", l)
# two code cells in a row
prev=None
for c in cells:
    if prev=="code" and c["cell_type"]=="code": print("code after code:", c["id"])
    prev=c["cell_type"]
