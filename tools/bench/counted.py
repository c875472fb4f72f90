"""A Runnel server under valgrind's callgrind, asked by vgdb how many instructions it has executed since it was last asked."""
import glob
import os

from programs import Trouble, program, run, wait_for_rest
from servers import Runnel


class Counted:
    def __init__(self, area, *options):
        for name in ("valgrind", "vgdb"):
            program(name)  # Missing says what to install
        self.folder = area.sub("callgrind")
        self.prefix = os.path.join(self.folder, "vgdb")
        wrapper = [program("valgrind"), "--tool=callgrind", f"--callgrind-out-file={self.folder}/out", "--fair-sched=yes", f"--vgdb-prefix={self.prefix}", "--quiet"]
        self.server = Runnel(area, *options, wrapper=wrapper)
        self.vgdb, self.dumps = program("vgdb"), 0

    def settle(self):
        """Wait until the server is at rest, without asking it for anything."""
        wait_for_rest(self.server.pid)

    def since(self):
        """Instructions since the last call."""
        self.settle()
        run([self.vgdb, f"--vgdb-prefix={self.prefix}", f"--pid={self.server.pid}", "dump"], timeout=60)
        self.dumps += 1
        path = f"{self.folder}/out.{self.dumps}"
        if not os.path.exists(path):
            raise Trouble(f"callgrind wrote no {os.path.basename(path)}, but {[os.path.basename(p) for p in glob.glob(self.folder + '/out*')]}")
        with open(path, encoding="utf-8", errors="replace") as f:
            for line in f:
                if line.startswith(("summary:", "totals:")):
                    return int(line.split()[1])
        raise Trouble(f"{os.path.basename(path)} holds no total")
