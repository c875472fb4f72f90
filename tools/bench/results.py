"""Rows of the table: samples of a round each, their medians, the ratio, and whether a goal is met.

A ratio is the median of the rounds' own ratios: both sides of one round ran within seconds of each other on the same machine."""
import statistics

UNITS = {  # how a value is written
    "/s": lambda v: f"{v:,.0f}/s",
    "us": lambda v: f"{v:,.1f} µs" if v < 1000 else f"{v / 1000:,.2f} ms",
    "ms": lambda v: f"{v:,.2f} ms",
    "MB": lambda v: f"{v:,.1f} MB",
    "KB": lambda v: f"{v:,.2f} KB",
    "B": lambda v: f"{v:,.0f} B",
    "%": lambda v: f"{v:.2f} %",
    "instr": lambda v: f"{v:,.0f}",
}


class Goal:
    """`ratio` at least or at most, `value` at most, or `more` (ours minus the reference) at most."""

    def __init__(self, kind, limit, least=False):
        self.kind, self.limit, self.least = kind, limit, least

    def text(self, unit):
        sign = "≥" if self.least else "≤"
        if self.kind == "ratio":
            return f"{sign} {self.limit:g}"
        return f"{sign} {'+' if self.kind == 'more' else ''}{UNITS[unit](self.limit)}"


def ratio_at_least(limit): return Goal("ratio", limit, least=True)
def ratio_at_most(limit): return Goal("ratio", limit)
def at_most(limit): return Goal("value", limit)
def at_most_more(limit): return Goal("more", limit)


class Row:
    def __init__(self, name, unit, ours, against="", reference=None, goal=None):
        self.name, self.unit, self.against, self.goal = name, unit, against, goal
        self.ours, self.reference = list(ours), list(reference or [])

    @property
    def ours_median(self):
        return statistics.median(self.ours)

    @property
    def reference_median(self):
        return statistics.median(self.reference) if self.reference else None

    @property
    def ratio(self):
        pairs = [a / b for a, b in zip(self.ours, self.reference) if b]
        return statistics.median(pairs) if pairs else None

    @property
    def met(self):
        """None when there is no goal."""
        if not self.goal:
            return None
        value = {"ratio": lambda: self.ratio, "value": lambda: self.ours_median,
                 "more": lambda: statistics.median(a - b for a, b in zip(self.ours, self.reference))}[self.goal.kind]()
        if value is None:
            return False
        return value >= self.goal.limit if self.goal.least else value <= self.goal.limit

    def cells(self):
        show = UNITS[self.unit]
        return [self.name, show(self.ours_median), show(self.reference_median) if self.reference else "", self.against,
                f"{self.ratio:.2f}" if self.ratio is not None else "", self.goal.text(self.unit) if self.goal else "",
                "" if self.met is None else "met" if self.met else "missed"]

    def as_json(self):
        return {"name": self.name, "unit": self.unit, "ours": self.ours, "ours_median": self.ours_median, "against": self.against or None,
                "reference": self.reference or None, "reference_median": self.reference_median, "ratio": self.ratio,
                "goal": self.goal.text(self.unit) if self.goal else None, "met": self.met}


HEAD = ["what", "Runnel", "reference", "which is", "ratio", "goal", ""]
RIGHT = {1, 2, 4, 5}


def table(rows, head=None, right=None):
    """Lines of text, columns aligned."""
    head, right = head or HEAD, right or RIGHT
    cells = [head] + [r.cells() if isinstance(r, Row) else r for r in rows]
    width = [max(len(c[i]) for c in cells) for i in range(len(head))]
    lines = ["  ".join(c[i].rjust(width[i]) if i in right else c[i].ljust(width[i]) for i in range(len(head))).rstrip() for c in cells]
    return [lines[0], "-" * max(len(x) for x in lines), *lines[1:]]
