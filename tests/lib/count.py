#!/usr/bin/python3
"""Counts what a folder of reports tells: JUnit XML of cmocka and pytest, and lines "PASS|FAIL|SKIP name: why".

Prints the failures and skips by name and closes with "N passed, N failed[, N skipped]"; exits 1 when any failed
or nothing ran.
"""
import os
import sys
import xml.etree.ElementTree as ElementTree

WORST = ["PASS", "SKIP", "FAIL"]


def junit(path):
    """[(verdict, name, why)]; a test that fails in its body and again in its tear-down is one."""
    try:
        tree = ElementTree.parse(path)
    except (ElementTree.ParseError, OSError) as error:
        return [("FAIL", os.path.basename(path), "broken report: %s" % error)]
    found = {}
    for case in tree.iter("testcase"):
        name = "%s %s" % (case.get("classname") or os.path.basename(path)[:-4], case.get("name"))
        verdict, why = "PASS", ""
        for tag, meaning in (("skipped", "SKIP"), ("failure", "FAIL"), ("error", "FAIL")):
            for element in case.findall(tag):
                verdict, why = meaning, (element.get("message") or element.text or "").strip().split("\n")[0]
        if name not in found or WORST.index(verdict) > WORST.index(found[name][0]):
            found[name] = verdict, why
    return [(verdict, name, why) for name, (verdict, why) in found.items()]


def lines(path):
    found = []
    with open(path, errors="replace") as report:
        for line in report:
            verdict, _, rest = line.strip().partition(" ")
            if verdict in WORST:
                name, _, why = rest.partition(": ")
                found.append((verdict, name, why))
    return found


def main(folder):
    found = []
    for place, _, names in sorted(os.walk(folder)):
        for name in sorted(names):
            path = os.path.join(place, name)
            prefix = os.path.relpath(path, folder).rsplit(".", 1)[0]
            if name.endswith(".xml"):
                found += [(verdict, prefix + " " + case, why) for verdict, case, why in junit(path)]
            elif name.endswith(".lines"):
                found += lines(path)
    counts = {verdict: sum(1 for result in found if result[0] == verdict) for verdict in WORST}
    for wanted in ("SKIP", "FAIL"):
        for verdict, name, why in found:
            if verdict == wanted:
                print("%s %s%s" % (verdict, name, ": " + why[:200] if why else ""))
    summary = "%d passed, %d failed" % (counts["PASS"], counts["FAIL"])
    if counts["SKIP"]:
        summary += ", %d skipped" % counts["SKIP"]
    print(summary)
    return 1 if counts["FAIL"] or not counts["PASS"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
