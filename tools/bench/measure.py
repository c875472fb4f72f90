"""What a measurement gets to work with: rounds, sizes, an Area for its processes, samples, the cost of a request; and the list of all
measurements. A measurement is a function that is given a Bench and returns rows."""
import collections

from clients import Undici
from counting import Perf
from programs import Area, Missing, cpu_us

ALL = []
Measurement = collections.namedtuple("Measurement", "name about run")


def measurement(name, about):
    def register(fn):
        ALL.append(Measurement(name, about, fn))
        return fn
    return register


class Bench:
    def __init__(self, rounds, scale):
        self.rounds_wanted, self.scale = rounds, scale
        self.perf = Perf()
        self.notes, self.missing = [], []
        self.samples = collections.defaultdict(list)
        self.area = None

    def run(self, one):
        self.samples.clear()
        with Area() as self.area:
            return one.run(self)

    def rounds(self):
        return range(self.rounds_wanted)

    def turns(self, ways):
        """The items of `ways` for each round, beginning with another each time: none is always the one that comes after the other."""
        items = list(ways.items())
        for i in self.rounds():
            k = i % len(items)
            yield items[k:] + items[:k]

    def n(self, full, least=50):
        """How many, by the wanted size of the run."""
        return max(least, int(full * self.scale))

    def note(self, text):
        if text not in self.notes:
            self.notes.append(text)

    def optional(self, what, make):
        """make(), or None and a line below the table when it is not on this machine."""
        try:
            return make()
        except Missing as e:
            reason = f"{what} was not compared with: {e}"
            if reason not in self.missing:
                self.missing.append(reason)
            return None

    def undici(self):
        return self.optional("undici", lambda: Undici(self.area))

    def cost(self, name, pids, work, requests=None):
        """work()'s result; files CPU µs (and user instructions) a request of these processes under `name`."""
        before = cpu_us(*pids)
        result, instructions = self.perf.count(pids, work)
        per = requests or result["requests"]
        self.samples[name + " cpu"].append((cpu_us(*pids) - before) / per)
        if instructions:
            self.samples[name + " instructions"].append(instructions / per)
        return result
