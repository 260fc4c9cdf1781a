"""Solution passes, blank fails, widths, leaks, compile: python3 check_sheet.py a1"""
import ast, copy, re, sys, time
from pathlib import Path
from pbe_lite import sheets

OUT = Path(__file__).parents[1] / "repo" / "notebooks" / "assignments"

def cleared(sheet):
    "What nbgrader's generate_assignment leaves (roughly)."
    sheet = copy.deepcopy(sheet)
    for c in sheet["cells"]:
        stub = "# YOUR CODE HERE\nraise NotImplementedError()" if c["cell_type"] == "code" else "YOUR ANSWER HERE"
        def cut(text, begin, end, stub):
            out, inside = [], False
            for line in text.split("\n"):
                if begin in line:
                    inside = True
                    ind = re.match(r"\s*", line)[0]
                    out += [ind + l for l in stub.split("\n")] if stub else []
                elif end in line: inside = False
                elif not inside: out.append(line)
            return "\n".join(out)
        c["source"] = cut(c["source"], "BEGIN SOLUTION", "END SOLUTION", stub)
        c["source"] = cut(c["source"], "BEGIN HIDDEN TESTS", "END HIDDEN TESTS", "")
    return sheet

def secrets(sheet):
    for c in sheet["cells"]:
        inside = False
        for line in c["source"].split("\n"):
            if "BEGIN SOLUTION" in line or "BEGIN HIDDEN" in line: inside = True
            elif "END SOLUTION" in line or "END HIDDEN" in line: inside = False
            elif inside and len(line.strip()) >= 12: yield line.strip()

if __name__ == "__main__":
    for key in sys.argv[1:]:
        sheet = sheets.read(OUT / "source" / key / f"{key}.ipynb")
        t = time.time()
        verdicts, _ = sheets.run(sheet)
        print(key, "solution:", {k: repr(v) for k, v in verdicts.items() if v} or "all pass", f"{time.time()-t:.1f} s")
        blank = cleared(sheet)
        graded = copy.deepcopy(blank)
        for g, s in zip(graded["cells"], sheet["cells"]):
            if sheets.is_locked(s): g["source"] = s["source"]
        v, _ = sheets.run(graded)
        print(key, "blank passes:", [k for k, x in v.items() if x is None])
        v, _ = sheets.run(blank)
        public = {l.strip() for c in blank["cells"] for l in c["source"].split("\n")}
        print(key, "leaks:", sorted(set(secrets(sheet)) & public))
        code = [c for c in sheet["cells"] if c["cell_type"] == "code"]
        for c in code:
            ast.parse(c["source"])
        for c in blank["cells"]:
            if c["cell_type"] == "code": ast.parse(c["source"])
        long = [l for c in code for l in c["source"].split("\n") if len(l) > 79]
        longmd = [l for c in sheet["cells"] if c["cell_type"] != "code" for l in c["source"].split("\n") if len(l) > 98]
        print(key, "long code:", long, "\n long prose:", longmd)
        print(key, "cell lengths as released:", sorted(len(c["source"].split("\n")) for c in blank["cells"] if c["cell_type"] == "code")[-8:])
        rules = sheets.read_terms(OUT / "terms.json")[key]
        again, new = sheets.with_expected(sheet, rules["expected"], {k: r["value"] for k, r in rules["constants"].items()})
        print(key, "expected current:", again == sheet, new)
        for term in ("2027s", "2027w"):
            other = sheets.vary(sheet, rules, term)
            v, _ = sheets.run(other)
            print(key, term, {k: repr(x) for k, x in v.items() if x} or "its solution passes")
            mixed = copy.deepcopy(other)
            for m, s in zip(mixed["cells"], sheet["cells"]):
                if sheets.is_answer(s): m["source"] = s["source"]
            v, _ = sheets.run(mixed)
            pts = sheets.points(sheet)
            print(key, term, "last year's answers:", sum(pts[k] for k, x in v.items() if x is None), [k for k, x in v.items() if x is None])
