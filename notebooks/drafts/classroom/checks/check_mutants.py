import importlib, sys, time
sys.path.insert(0, "/tmp/drafts/classroom/repo/tests")
from pathlib import Path
from pbe_lite import sheets
from mutants import full, mutate
OUT = Path(__file__).parents[1] / "repo" / "notebooks" / "assignments"
for key in sys.argv[1:]:
    sheet = sheets.read(OUT / "source" / key / f"{key}.ipynb")
    t = time.time()
    ms = importlib.import_module(f"mutants.{key}").MUTANTS
    hit = set()
    for m in ms:
        v, _ = sheets.run(mutate(sheet, key, m))
        got = {k for k, x in v.items() if x}
        want = full(key, m.fails)
        hit |= got
        if got != want:
            print(key, m.name, "\n   extra:", sorted(got - want), [repr(v[k])[:90] for k in got - want], "\n   missing:", sorted(want - got))
    print(key, len(ms), "mutants", f"{time.time()-t:.1f} s;", "tests that no mutant fails:", sorted(set(sheets.points(sheet)) - hit), "names unique", len({m.name for m in ms}) == len(ms))
