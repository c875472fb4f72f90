"""The checks that other programs make: clang-format, clang-tidy, two compilers, and nm for what nobody calls."""
import concurrent.futures
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess

from c_rules import allowed, banned_table
from tree import Finding, Result, floor_of

JOBS = os.cpu_count() or 1
DIAGNOSTIC = re.compile(r"^(?P<path>[^\s:][^:\n]*):(?P<line>\d+):(?:\d+:)? (?:fatal )?(?:error|warning): (?P<text>.*)$", re.M)
# Who calls these is no object of ours: the loader, the fuzzer, the linker's --wrap.
CALLED_FROM_OUTSIDE = re.compile(r"^(main|LLVMFuzzer\w+|__wrap_\w+)$")
GCC, CLANG = ("release", "build"), ("clang", "build-clang")


class Missing(Exception):
    """A program that a check needs is not installed."""


def need(*names):
    for name in names:
        if not shutil.which(name):
            raise Missing(f"{name} is not installed: run `tools/setup checks`, then again")


def run(argv, cwd, text=None):
    return subprocess.run(argv, cwd=cwd, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")


def in_parallel(work, items):
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        return list(pool.map(work, items))


def relative(tree, path):
    path = os.path.normpath(path)
    return os.path.relpath(path, tree.root) if path.startswith(tree.root + os.sep) else path


def diagnostics(tree, output, folder):
    """The findings in what a compiler or clang-tidy printed; its paths are absolute or relative to `folder`."""
    for m in DIAGNOSTIC.finditer(output):
        text = m["text"].replace(",-warnings-as-errors]", "]")
        yield Finding(relative(tree, os.path.join(folder, m["path"])), int(m["line"]), text)


def unique(findings):
    return [f for _, f in sorted({str(f): f for f in findings}.items())]


def formatting(tree, options):
    need("clang-format")
    paths = tree.c_paths()
    r = Result(f"{len(paths)} files")
    if options.fix:
        run(["clang-format", "-i"] + paths, tree.root)
        return r
    chunks = [paths[i:i + 20] for i in range(0, len(paths), 20)]
    for done in in_parallel(lambda chunk: run(["clang-format", "--dry-run", "-Werror"] + chunk, tree.root), chunks):
        found = unique(diagnostics(tree, done.stdout, tree.root))
        seen = set()
        for f in found:
            if f.path not in seen:
                seen.add(f.path)
                r.find(f.path, f.line, "is not as .clang-format has it: tools/lint --fix format")
        if done.returncode and not found:
            r.find(".clang-format", 1, "clang-format failed: " + done.stdout.strip()[:300])
    return r


def build(tree, preset, folder):
    """(result, whether it was built): the preset's build, every warning in it an error."""
    need("cmake", "ninja")
    r = Result(f"cmake --preset {preset}")
    done = run(["cmake", "--preset", preset], tree.root)
    if done.returncode:
        r.find("CMakePresets.json", 1, f"cmake --preset {preset} failed: " + " ".join(done.stdout.split()[-60:]))
        return r, False
    done = run(["cmake", "--build", folder, "--", "-k", "0"], tree.root)
    if done.returncode:
        r.findings = unique(diagnostics(tree, done.stdout, tree.at(folder)))
        if not r.findings:
            r.find("CMakeLists.txt", 1, f"cmake --build {folder} failed: " + " ".join(done.stdout.split()[-60:]))
    r.what = f"{len(commands(tree, folder))} files, preset {preset}"
    return r, not done.returncode


def not_built(check):
    r = Result("not run")
    r.find("CMakeLists.txt", 1, f"needs a tree that builds: tools/lint {check} says what is wrong")
    return r


def commands(tree, folder):
    """What the build compiles, but for generated code: [(source, argv, object)]."""
    path = tree.at(folder + "/compile_commands.json")
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as f:
        rows = json.load(f)
    out = []
    for row in rows:
        argv, source = shlex.split(row["command"]), relative(tree, os.path.join(row["directory"], row["file"]))
        if source in tree.paths and "-o" in argv:
            out.append((source, argv, os.path.join(row["directory"], argv[argv.index("-o") + 1])))
    return out


def gcc(tree, options):
    need("gcc")
    return build(tree, *GCC)[0]


def clang(tree, options):
    need("clang")
    return build(tree, *CLANG)[0]


class Digests:
    """A hash of a source file with everything of ours that it includes, so that an answer is kept until one of them changes."""

    def __init__(self, tree, folder):
        self.roots, self.known = [tree.root, tree.at(folder + "/proto")], {}

    def of(self, path):
        seen, todo, total = set(), [path], hashlib.sha256()
        while todo:
            at = todo.pop()
            digest, included = self._one(at)
            total.update(digest)
            fresh = [i for i in included if i not in seen]
            seen.update(fresh)
            todo.extend(fresh)
        return total.hexdigest()

    def _one(self, path):
        if path not in self.known:
            with open(path, "rb") as f:
                data = f.read()
            names = [n.decode() for n in re.findall(rb'^[ \t]*#[ \t]*include[ \t]+"([^"]+)"', data, re.M)]
            found = [os.path.join(root, n) for n in names for root in self.roots if os.path.isfile(os.path.join(root, n))]
            self.known[path] = hashlib.sha256(path.encode() + b"\0" + data).digest(), found
        return self.known[path]


def tidy(tree, options):
    need("clang-tidy", "clang")
    if not build(tree, *CLANG)[1]:
        return not_built("clang")
    r = Result("")
    folder = CLANG[1]
    cache = tree.at(folder + "/lint-tidy")
    os.makedirs(cache, exist_ok=True)
    setup = run(["clang-tidy", "--version"], tree.root).stdout + tree.read(".clang-tidy")
    digests, rows = Digests(tree, folder), {source: argv for source, argv, _ in commands(tree, folder)}

    def ask(source):
        key = hashlib.sha256("\0".join([setup, *rows[source], digests.of(tree.at(source))]).encode()).hexdigest()
        kept = os.path.join(cache, source.replace("/", "+"))
        if os.path.exists(kept):
            with open(kept, encoding="utf-8") as f:
                head, _, output = f.read().partition("\n")
            if head == key:
                return output, False
        done = subprocess.run(["clang-tidy", "-p", folder, "--quiet", source], cwd=tree.root, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, errors="replace")
        output = done.stdout if done.returncode == 0 or DIAGNOSTIC.search(done.stdout) else f"{source}:1: error: clang-tidy: {done.stderr}"
        with open(kept + ".new", "w", encoding="utf-8") as f:
            f.write(key + "\n" + output)
        os.replace(kept + ".new", kept)
        return output, True

    answers = in_parallel(ask, sorted(rows))
    r.what = f"{len(rows)} files, {sum(fresh for _, fresh in answers)} read anew"
    r.findings = unique(f for output, _ in answers for f in diagnostics(tree, output, tree.root))
    return r


def symbols(objects):
    """{object: (defined, wanted)} by nm: the global functions and data of each object, and what it takes from others."""
    out = {o: (set(), set()) for o in objects}
    done = subprocess.run(["nm", "-A", "-P", "-g"] + objects, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for line in done.stdout.splitlines():
        path, _, rest = line.partition(": ")
        name, kind = rest.split()[:2]
        if path in out:
            out[path][1 if kind in "Uvw" else 0].add(name)
    return out


def unused(tree, options):
    need("nm", "cmake", "ninja")
    if not build(tree, *GCC)[1]:
        return not_built("gcc")
    r = Result("")
    sources = {o: source for source, _, o in commands(tree, GCC[1]) if os.path.exists(o)}
    table = symbols(sorted(sources))
    generated = [os.path.join(d, n) for d, _, names in os.walk(tree.at(GCC[1])) for n in names if n.endswith(".pb-c.c.o")]
    wanted, defined = {}, set().union(*(d for d, _ in symbols(generated).values()), set()) if generated else set()
    for o, (own, needs) in table.items():
        defined |= own
        for name in needs:
            wanted.setdefault(name, set()).add(o)
    total = 0
    for o, (own, _) in table.items():
        names = [n for n in own if not CALLED_FROM_OUTSIDE.match(n)]
        total += len(names)
        for name in sorted(names):
            if not wanted.get(name):
                r.find(sources[o], definition_line(tree, sources[o], name),
                       f"{name} is used by no other file: make it static, or delete it")
            elif not sources[o].startswith("tests/") and all(sources[u].startswith("tests/") for u in wanted[name]):
                r.note(sources[o], definition_line(tree, sources[o], name), f"{name} is used by tests only")
    never_defined(tree, r, defined)
    macros = unused_macros(tree, r)
    r.what = f"{total} functions and variables, {macros} macros"
    return r


def hidden(tree, options):
    """What `banned` reads over, since the text does not call it: by a macro, by a pointer. The objects name what they need all the same."""
    need("nm", "cmake", "ninja")
    if not build(tree, *GCC)[1]:
        return not_built("gcc")
    table = banned_table()
    sources = {o: source for source, _, o in commands(tree, GCC[1]) if os.path.exists(o) and floor_of(source)}
    r = Result(f"{len(sources)} objects, {len(table)} functions")
    for o, (_, needs) in symbols(sorted(sources)).items():
        for symbol in sorted(needs):
            name = re.sub(r"^__(\w+)_chk$", r"\1", symbol)
            if name in table and not allowed(sources[o], table[name][1]):
                f = tree.c_file(sources[o])
                m = re.search(r"\b" + name + r"\b", f.code)
                r.find(f.path, f.line_of(m.start()) if m else 1, f"{name}, by whatever name it is called here, {table[name][0]}")
    return r


def definition_line(tree, path, name):
    m = re.search(r"^[^\s#/*].*\b" + re.escape(name) + r"\b", tree.c_file(path).bare, re.M)
    return tree.c_file(path).line_of(m.start()) if m else 1


def never_defined(tree, r, defined):
    compiled = "".join(f.bare for f in tree.c_files() if f.path.endswith(".c"))
    for f in tree.headers():
        for line, name, head in f.prototypes():
            # A name that a build option adds or renames (--wrap) is defined in some source all the same.
            if name not in defined and not re.search(r"\b" + name + r"\s*\([^;{]*\)\s*\{", compiled):
                r.find(f.path, line, f"{name} is declared and defined nowhere: delete it")


def unused_macros(tree, r):
    """Macros of headers; the compilers themselves tell those of source files (-Wunused-macros)."""
    count, total = {}, 0
    for f in tree.c_files():
        for word in re.findall(r"\b[A-Za-z_]\w*\b", f.no_comments):
            count[word] = count.get(word, 0) + 1
    for f in tree.headers():
        for m in re.finditer(r"^[ \t]*#[ \t]*define[ \t]+(\w+)", f.code, re.M):
            total += 1
            if count[m.group(1)] == 1:
                r.find(f.path, f.line_of(m.start()), f"macro {m.group(1)} is used nowhere: delete it")
    return total
