"""Schedules against npm's cron-parser: the same firings, but for the differences that schedules/README.md lists and explains.

Runs where node and npm are installed; the package goes to the build folder. Asks around clock changes and in plain UTC.
"""
import collections
import datetime
import json
import os
import re
import shutil
import subprocess
import zoneinfo

from harness import BUILD, HERE, ROOT, RUNNEL, SLOW, case, cases, run

VERSION = "5.10.6"
FOLDER = os.path.join(BUILD, "cron-parser")
COUNT = 40
# A zone, and an instant two days before its clocks change (in UTC: any).
PLACES = [("UTC", "2026-01-01T00:00:00Z"), ("Europe/Berlin", "2026-03-27T12:00:00Z"), ("Europe/Berlin", "2026-10-23T12:00:00Z"),
          ("America/Santiago", "2026-09-04T12:00:00Z")]
# What cron-parser refuses, by the field that it stumbles over; the reason is in the README.
REFUSED = {
    "ranges over the end": r"min\(\d+\) > max",
    "L-3 and W": r"L-\d+ |NaN-|got value: (?:LW|\d+W)",
    "# in a list": r"`#` and `,` special characters are incompatible",
    "a value twice": r"duplicate values",
    "@midnight": r'cannot resolve alias "mid"',
    "English": r'cannot resolve alias "(?:day|mon|sun|fri)"|got value: (?:\d(?:st|nd)|first|every|1,4il)|too many fields',
}
HOUR = datetime.timedelta(hours=1)


def prepare():
    """None when cron-parser is there, else why not."""
    for program in ("node", "npm"):
        if not shutil.which(program):
            return f"{program} is not installed"
    package = os.path.join(FOLDER, "node_modules", "cron-parser", "package.json")
    if os.path.exists(package):
        with open(package, encoding="utf-8") as f:
            if json.load(f)["version"] == VERSION:
                return None
    os.makedirs(FOLDER, exist_ok=True)
    with open(os.path.join(FOLDER, "package.json"), "w", encoding="ascii") as f:
        json.dump({"private": True}, f)
    done = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", "cron-parser@" + VERSION], cwd=FOLDER,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    return "npm install failed: " + (done.stdout.strip().splitlines() or ["no message"])[-1] if done.returncode else None


def schedules():
    with open(os.path.join(ROOT, "tests", "unit", "cron_schedules.h"), encoding="ascii") as f:
        return re.findall(r'^\s*\{"([^"]*)"', f.read(), re.M)


def ours(question):
    done = subprocess.run([RUNNEL, "scheduler", "explain", question["schedule"], "--time-zone=" + question["zone"], "--from=" + question["from"],
                           f"--count={COUNT}", "--format=json"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, (question, done.stdout)
    return [datetime.datetime.fromisoformat(t) for t in json.loads(done.stdout)["next"]]


def kind_of_days(schedule):
    """The kinds that lie in the day fields, wherever the clocks are."""
    fields = schedule.split()[-3:]
    day, weekday = fields[0], fields[2]
    if re.match(r"\d/", weekday):
        return "1/2 in days of the week counts Sunday as 7"
    if (day.startswith("*/") and weekday not in "*?") or (weekday.startswith("*/") and day not in "*?"):
        return "only * alone leaves the days to the other field"
    return None


def compare(question, mine, answer):
    """The kinds of the differences; fails for one that is not known."""
    if "error" in answer:
        kind = next((k for k, pattern in REFUSED.items() if re.search(pattern, answer["error"])), None)
        if not kind and "loop limit" in answer["error"] and question["zone"] == "America/Santiago":
            kind = "no midnight"
        assert kind, (question, answer)
        return {kind}
    theirs = [datetime.datetime.fromisoformat(t.replace("Z", "+00:00")) for t in answer["next"]]
    until = min(mine[-1], theirs[-1])
    mine, theirs = ({t for t in times if t <= until} for times in (mine, theirs))
    if mine == theirs:
        return set()
    if kind_of_days(question["schedule"]):
        return {kind_of_days(question["schedule"])}
    zone, kinds = zoneinfo.ZoneInfo(question["zone"]), set()
    utc = lambda t: t.astimezone(datetime.timezone.utc)
    offset = lambda t: utc(t).astimezone(zone).utcoffset()
    for t in mine - theirs:
        gap = offset(t) > offset(utc(t) - datetime.timedelta(seconds=1))
        again = utc(t).astimezone(zone).fold == 1
        assert gap or again, (question, "only ours", t)
        kinds.add("the first instant after the gap" if gap else "both times in the fold")
    for t in theirs - mine:
        assert offset(t) > offset(utc(t) - HOUR), (question, "only theirs", t)
        kinds.add("the first instant after the gap")
    return kinds


@case("the firings of cron-parser, but for what is explained")
def _():
    some = schedules()[::5] if SLOW > 1 else schedules()
    questions = [{"schedule": s, "zone": z, "from": f, "count": COUNT} for s in some for z, f in PLACES]
    done = subprocess.run(["node", os.path.join(HERE, "cron_parser.mjs"), FOLDER], input=json.dumps(questions), stdout=subprocess.PIPE, text=True,
                          check=True, timeout=300)
    found, same = collections.Counter(), 0
    for question, answer in zip(questions, json.loads(done.stdout), strict=True):
        kinds = compare(question, ours(question), answer)
        found.update(kinds)
        same += not kinds
    print(f"     {len(questions)} questions, {same} answered alike; differences: {dict(found)}")
    assert same > len(questions) * 0.6, "too few are alike"
    with open(os.path.join(ROOT, "schedules", "README.md"), encoding="utf-8") as f:
        readme = " ".join(f.read().split())
    for kind in found:
        assert kind in readme, f"schedules/README.md does not explain: {kind}"


REASON = prepare()
if REASON:
    print("skip: " + REASON)
    cases.clear()
run()
