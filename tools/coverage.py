"""Says how much of the product the tests ran: reads what a build of the preset `coverage` left behind (see tools/test --coverage).

Counts lines as gcov does, of our own sources only: nothing generated, nothing of the tests. Prints each folder, the files below the
bar, and fails when core, broker or dispatcher is below it. --lines FILE shows which lines of a file were never run.
"""
import argparse
import glob
import json
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDERS = ("core", "broker", "dispatcher", "executor", "schedules", "tools")
HELD = ("core", "broker", "dispatcher")
BAR_PERCENT = 85
AT_ONCE = 64  # notes files for each gcov


def read_counts(build):
    """{source: {line: how often}}; an inline function of a header is counted wherever it was compiled."""
    counts = {}
    notes = sorted(n for n in glob.glob(build + "/CMakeFiles/runnel*.dir/**/*.gcno", recursive=True) if not n.endswith(".pb-c.c.gcno"))
    for at in range(0, len(notes), AT_ONCE):
        done = subprocess.run(["gcov", "--json-format", "--stdout", *notes[at:at + AT_ONCE]], cwd=build, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, check=True, text=True)
        for text in filter(None, done.stdout.splitlines()):
            report = json.loads(text)
            for source in report["files"]:
                path = os.path.normpath(os.path.join(report["current_working_directory"], source["file"]))
                lines = counts.setdefault(os.path.relpath(path, ROOT), {})
                for line in source["lines"]:
                    lines[line["line_number"]] = max(lines.get(line["line_number"], 0), line["count"])
    # A source that is gone may have left its notes in the build folder.
    return {path: lines for path, lines in counts.items() if path.split("/")[0] in FOLDERS and os.path.exists(os.path.join(ROOT, path))}


def percent(lines):
    return 100 * sum(1 for c in lines if c) / len(lines) if lines else 100


def show_lines(counts, wanted):
    for path in sorted(p for p in counts if wanted in p):
        with open(os.path.join(ROOT, path), encoding="utf-8") as f:
            for number, text in enumerate(f, 1):
                if counts[path].get(number) == 0:
                    print(f"{path}:{number}: {text.rstrip()}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.path.join(ROOT, "build-coverage"))
    parser.add_argument("--lines", metavar="FILE", help="show the lines of files with this in their name that were not run")
    options = parser.parse_args()
    counts = read_counts(options.build)
    if not any(c for lines in counts.values() for c in lines.values()):
        sys.exit(f"{options.build} holds no counts: run tools/test --coverage")
    if options.lines:
        return show_lines(counts, options.lines)
    low, everything, below = [], [], 0
    print("lines that the tests ran")
    for folder in FOLDERS:
        lines = [c for path, ls in counts.items() if path.split("/")[0] == folder for c in ls.values()]
        everything += lines
        under = folder in HELD and percent(lines) < BAR_PERCENT
        below += under
        print(f"  {folder:<12}{percent(lines):5.1f} %   {sum(1 for c in lines if c):>6} of {len(lines):>6}{'   below the bar' if under else ''}")
    print(f"  {'in all':<12}{percent(everything):5.1f} %   {sum(1 for c in everything if c):>6} of {len(everything):>6}")
    low = sorted((percent(ls.values()), path) for path, ls in counts.items() if percent(ls.values()) < BAR_PERCENT)
    if low:
        print(f"files below {BAR_PERCENT} %:")
        print("\n".join(f"  {share:5.1f} %  {path}" for share, path in low))
    if below:
        print(f"coverage: core, broker and dispatcher must each reach {BAR_PERCENT} % (tools/coverage.py --lines FILE shows what was not run)")
    return 1 if below else 0


if __name__ == "__main__":
    sys.exit(main())
