"""User instructions by `perf stat`, where the machine and its settings allow it; else None everywhere, and one line says so."""
import shutil
import signal
import subprocess

EVENT = "instructions:u"


def parse(text):
    """The count in the output of `perf stat -x,`; None where it says <not supported> or <not counted>."""
    for line in text.splitlines():
        fields = line.split(",")
        if len(fields) > 2 and fields[2].startswith("instructions"):
            return int(fields[0]) if fields[0].isdigit() else None
    return None


class Perf:
    def __init__(self):
        self.path = shutil.which("perf")
        self.why = None if self.path else "perf is not installed (tools/setup bench)"
        if self.path:
            done = subprocess.run([self.path, "stat", "-x,", "-e", EVENT, "true"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, text=True, timeout=30)
            if not parse(done.stderr):
                self.why = "this machine has no instruction counters for us (perf stat says so); tools/bench/run --gate counts by valgrind"

    def count(self, pids, work):
        """work()'s result, and the user instructions of these processes meanwhile (None where that is not to be had)."""
        if self.why:
            return work(), None
        args = [self.path, "stat", "-x,", "-e", EVENT, "-p", ",".join(map(str, pids))]
        perf = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            result = work()
        finally:
            perf.send_signal(signal.SIGINT)
            _, text = perf.communicate(timeout=30)
        return result, parse(text)
