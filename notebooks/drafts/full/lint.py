"""House rules, with the standard library alone: python3 lint.py"""
import ast, statistics, sys
from pathlib import Path
root = Path(sys.argv[1])
sizes = []
for p in sorted([*root.glob("pbe_lite/*.py"), *root.glob("tests/**/*.py")]):
    s = p.read_text(); lines = s.splitlines()
    tree = ast.parse(s)
    if p.parts[-2] == "pbe_lite" and len(lines) > 250: print(p, len(lines), "lines")
    for i, l in enumerate(lines, 1):
        if len(l) > 92: print(f"{p}:{i}: {len(l)} columns")
        if l != l.rstrip(): print(f"{p}:{i}: trailing space")
    imported = {}
    for n in ast.walk(tree):
        if isinstance(n, ast.Import):
            for a in n.names: imported[(a.asname or a.name).split(".")[0]] = n.lineno
        elif isinstance(n, ast.ImportFrom):
            for a in n.names: imported[a.asname or a.name] = n.lineno
        if isinstance(n, (ast.FunctionDef,)):
            doc = ast.get_docstring(n)
            body = n.body[1:] if doc else n.body
            k = (body[-1].end_lineno - body[0].lineno + 1) if body else 0
            if p.parts[-2] == "pbe_lite": sizes.append((k, f"{p.name}:{n.name}"))
    used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    used |= {n.value.id for n in ast.walk(tree) if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)}
    for name, line in imported.items():
        if name not in used and "noqa" not in lines[line-1]: print(f"{p}:{line}: {name} unused")
print("median", statistics.median(k for k, _ in sizes), "longest", sorted(sizes)[-8:])
new = set(sys.argv[2:])
mine = [k for k, n in sizes if n.split(":")[0] in new]
if mine: print("new modules: median", statistics.median(mine), "longest", max(mine))
