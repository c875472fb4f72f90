"""The rules of the C code that are read from its text: ceilings, banned words, floors, the documentation of headers."""
import fnmatch
import os
import re

from tree import Result, floor_of, signature

FUNCTION_LINES_MAX, FUNCTION_LINES_WARN, FUNCTION_LINES_USUAL, USUAL_SHARE = 100, 60, 50, 0.95
SOURCE_LINES_MAX, HEADER_LINES_MAX = 800, 250
PARAMS_MAX, PARAMS_WARN, COMPLEXITY_WARN = 7, 5, 15

# names, what to do instead, and the only files that may call them.
BANNED = [
    ("strcpy strcat sprintf vsprintf gets stpcpy strncpy strncat",
     "writes without knowing the room, or without the final 0: use snprintf, struct buf or memcpy with a checked length", ()),
    ("strtok atoi atol atoll atof", "hides what is malformed: use strtol and its kin, or a parser with struct err", ()),
    ("alloca", "takes an unbounded piece of the stack: use a fixed array with a maximum, an arena or the heap", ()),
    ("system popen", "starts a shell: programs are started by the warden (tests: posix_spawn)", ()),
    ("__attribute__", "names an attribute of one compiler: use or add a macro of core/compiler.h", ("core/compiler.h", "tools/bench/util.h")),
    ("time gettimeofday clock_gettime clock ftime timespec_get",
     "reads a clock, so the simulator cannot run it: take `now` or an env (core/base/clock.h)",
     ("core/base/clock_real.c", "tests/support/support_dispatcher.c", "tests/unit/adapter_bench.h", "tests/unit/test_loop.c",
      "tests/fuzz/*.c", "tools/bench/*.c")),
    ("rand srand rand_r random srandom drand48 lrand48 mrand48",
     "is not repeatable from a seed of ours: use core/base/random.h", ()),
    ("getrandom getentropy", "is the kernel's randomness: seed by rng_seed_os (core/base/random.h)", ("core/base/random.c",)),
    ("RAND_bytes RAND_priv_bytes", "makes keys: use rsa_random", ("dispatcher/rsa.c",)),
    ("sleep usleep nanosleep clock_nanosleep",
     "sleeps: set a timer, or in a test wait for the condition", ("tools/runnel/cli_api.c", "tools/sample/sample.c", "tools/bench/*.c")),
    ("localtime gmtime ctime asctime mktime setlocale getpwnam getpwuid gethostbyname inet_ntoa",
     "answers from memory that all threads share: use the _r form or core/base/clock.h", ()),
    ("strerror", "may answer from memory that all threads share: use err_sys",
     ("tests/*", "tools/runnel/cli_local.c", "tools/sample/*", "tools/bench/*")),
    ("setenv putenv unsetenv", "changes what other threads are reading: pass it to the program that is started", ("tests/*",)),
    ("fork vfork", "copies the server's heap and threads: programs are started by the warden", ("executor/cgroup.c", "executor/warden_start.c", "tests/*")),
    ("signal", "leaves flags and masks to the system: use sigaction, or say here that the whole process ignores it",
     ("executor/warden.c", "tools/runnel/serve.c", "tools/sample/sample.c", "tests/*", "tools/bench/*.c")),
]
# An allocation and where its result goes; in the product it is looked at within so many lines.
ALLOCATION = re.compile(r"(\*?\.?\w+(?:(?:->|\.)\w+|\[[^\]]*\])*)\s*=\s*(?:[^=;{}]*[?:]\s*)?(malloc|calloc|realloc|reallocarray|strdup|strndup)\s*\(\s*([^,()]*)")
LOOKED_AT_LINES = 14
FLOW = re.compile(r"\b(return|goto|break|continue)\b")
# third-party headers: the library, and the only files of the product that may include it (a test may compare with any).
ADAPTERS = [
    ("sqlite3.h", ("core/store/store_sqlite*", "core/store/store_schema.c", "tools/bench/*")),
    ("curl/*", ("core/http/curl.h",)),
    ("ev.h", ("core/loop/loop.c",)),
    ("http_parser.h", ("core/http/h1.c",)),
    ("cjson/*", ("tools/runnel/cli_json.c",)),
    ("openssl/*", ("dispatcher/rsa.c", "tools/bench/*")),
    ("protobuf-c/*", ("core/rpc/*", "broker/*", "executor/*", "dispatcher/*")),
    ("cmocka.h", ()),
]
# floor -> what it may include besides itself.
BELOW = {
    "core": (),
    "broker": ("core",),
    "executor": ("core",),
    "dispatcher": ("core", "broker", "executor"),
    "schedules": ("core", "broker", "executor", "dispatcher"),
    "tools": ("core", "broker", "executor", "dispatcher", "schedules"),
}
SECTION = re.compile(r"^ \*  ([A-Z]\w*)(?: of [^:\n]*)?:", re.M)
LIFE = re.compile(r"_(new|free|ref|unref|init|fini|open|close|make|drop)$")


def allowed(path, patterns):
    return any(fnmatch.fnmatch(path, p) for p in patterns)


def ceilings(tree, options):
    lengths, r = [], Result("functions")
    for f in tree.c_files():
        most = HEADER_LINES_MAX if f.path.endswith(".h") else SOURCE_LINES_MAX
        if f.lines > most:
            r.find(f.path, 1, f"{f.lines} lines, at most {most}: split it by purpose")
        for fn in f.functions():
            lengths.append(fn.lines)
            function_ceilings(r, f.path, fn)
    usual = sum(n <= FUNCTION_LINES_USUAL for n in lengths)
    if lengths and usual < USUAL_SHARE * len(lengths):
        r.find("tools/checks/c_rules.py", 1, f"only {100 * usual / len(lengths):.1f} % of the functions are within "
               f"{FUNCTION_LINES_USUAL} lines, {100 * USUAL_SHARE:.0f} % must be: --verbose names the long ones")
    r.what = f"{len(lengths)} functions" + (f", {100 * usual / len(lengths):.1f} % within {FUNCTION_LINES_USUAL} lines" if lengths else "")
    return r


def function_ceilings(r, path, fn):
    if fn.lines > FUNCTION_LINES_MAX:
        r.find(path, fn.line, f"{fn.name} has {fn.lines} lines, at most {FUNCTION_LINES_MAX}: split it, or move its table out")
    elif fn.lines > FUNCTION_LINES_WARN:
        r.note(path, fn.line, f"{fn.name} has {fn.lines} lines, better within {FUNCTION_LINES_WARN}")
    if fn.params > PARAMS_MAX:
        r.find(path, fn.line, f"{fn.name} has {fn.params} parameters, at most {PARAMS_MAX}: put what belongs together into a struct")
    elif fn.params > PARAMS_WARN:
        r.note(path, fn.line, f"{fn.name} has {fn.params} parameters, better within {PARAMS_WARN}")
    if fn.complexity > COMPLEXITY_WARN:
        r.note(path, fn.line, f"{fn.name} has {fn.complexity - 1} decisions (complexity {fn.complexity}), better within {COMPLEXITY_WARN}")


def banned_table():
    return {name: (why, files) for names, why, files in BANNED for name in names.split()}


def banned(tree, options):
    table = banned_table()
    call = re.compile(r"(?<![\w.>])(?:__builtin_)?(" + "|".join(table) + r")\s*\(")
    files = tree.c_files()
    r = Result(f"{len(files)} files, {len(table)} functions")
    for f in files:
        for m in call.finditer(f.code):
            why, where = table[m.group(1)]
            if not allowed(f.path, where):
                r.find(f.path, f.line_of(m.start()), f"{m.group(1)}() {why}")
        allocations(r, f)
        flow_macros(r, f)
    return r


def allocations(r, f):
    """In the product every allocation is looked at, and none replaces the block it was made from."""
    for m in ALLOCATION.finditer(f.bare):
        to, function, first = m.groups()
        line, to = f.line_of(m.start()), to.strip("*")
        if function.startswith("realloc") and first.strip() == to:
            r.find(f.path, line, f"{to} = {function}({to}, ...) loses the block when there is no memory: keep both")
        elif floor_of(f.path) and not looked_at(f.bare, m, to):
            r.find(f.path, line, f"nobody asks whether {function} gave {to} any memory: check it, and answer RESOURCE_EXHAUSTED")


def looked_at(code, m, to):
    after = "\n".join(code[m.end():].split("\n")[:LOOKED_AT_LINES])
    name = re.escape(to.lstrip("."))
    asked = r"!\s*(?:\w+(?:->|\.))?" + name + r"|\b" + name + r"\s*(?:\?|&&|\|\||==|!=)|(?:&&|\|\||return|\()\s*" + name + r"\s*[;?)&|]"
    return re.search(r"!\s*\(\s*$", code[:m.start()]) is not None or re.search(asked, after) is not None


def flow_macros(r, f):
    for m in re.finditer(r"^[ \t]*#[ \t]*define[ \t]+(\w+)((?:[^\n\\]|\\[^\n]|\\\n)*)", f.code, re.M):
        flow = FLOW.search(m.group(2))
        if flow and not re.search(r"\bstatic\b[^{]*\{", m.group(2)):  # a macro that defines whole functions may return in them
            r.find(f.path, f.line_of(m.start()), f"macro {m.group(1)} hides a `{flow.group(1)}`: write the control flow where it happens")


def includes(tree, options):
    files = tree.c_files()
    r = Result(f"{len(files)} files")
    for f in files:
        for line, path, local in f.includes():
            if local:
                floor_rule(tree, r, f.path, line, path)
            elif floor_of(f.path):
                adapter_rule(r, f.path, line, path)
    return r


def floor_rule(tree, r, where, line, path):
    mine, theirs = floor_of(where), floor_of(path)
    if mine and path.startswith("tests/"):
        r.find(where, line, f"includes {path}: the product may not need its tests")
    elif mine and theirs and theirs != mine and theirs not in BELOW[mine]:
        r.find(where, line, f"includes {path}: {mine} may use {', '.join(BELOW[mine]) or 'nothing above itself'}; "
               "turn the call around (a callback given from above), or move the code")
    elif path not in tree.paths and not path.endswith(".pb-c.h"):
        r.find(where, line, f"includes {path}: there is no such file; write the path from the top of the tree")
    elif os.path.basename(path).endswith("_int.h") and mine and theirs and os.path.dirname(path) != os.path.dirname(where):
        r.find(where, line, f"includes {path}, the inside of another folder: use its public header")


def adapter_rule(r, where, line, path):
    for pattern, files in ADAPTERS:
        if fnmatch.fnmatch(path, pattern) and not allowed(where, files):
            r.find(where, line, f"includes <{path}>: that library stays behind its adapter ({', '.join(files) or 'tests only'})")


def headers(tree, options):
    files = tree.headers()
    public = [f for f in files if floor_of(f.path) and not f.path.endswith("_int.h")]
    r = Result(f"{len(files)} headers, {len(public)} public")
    for f in files:
        name = os.path.basename(f.path)
        if not re.match(r"/\*\* " + re.escape(name) + r": \S", f.text):
            r.find(f.path, 1, f"must begin with `/** {name}: ` and what it is for")
        elif f in public:
            sections(r, f)
        guard = f.path.upper().replace("/", "_").replace(".", "_").replace("-", "_")
        if "#pragma once" not in f.code and not re.search(r"#ifndef \w+\n#define \w+", f.code):
            r.find(f.path, 1, f"has no include guard: #ifndef {guard}")
    return r


def sections(r, f):
    """What style.md asks of a public header, as far as its declarations show that it applies."""
    comment = f.text[:f.text.find("*/") + 2]
    said = set(SECTION.findall(comment)) | set(re.findall(r"^/\*\* \S+ .*?\b([A-Z]\w*):", comment))
    heads = [(name, head) for _, name, head in f.prototypes()]
    heads += [(fn_name, head) for _, head, body in f.top_level() if body is not None for fn_name in [signature(head)[0]]]
    calls = bool(heads) or re.search(r"\(\*\w+\)\s*\(", f.bare)
    wants = []
    if calls:
        wants.append(("Thread", "which thread may call it"))
    if any(LIFE.search(name) for name, _ in heads):
        wants.append(("Owner", "who frees what it makes"))
    if re.search(r"\bstruct err \*", f.bare) and os.path.basename(f.path) != "err.h":
        wants.append(("Errors", "which codes come back, and when"))
    if re.search(r"\w_(ns|us|ms)\b", f.bare):
        wants.append(("Units", "which clock its times belong to, or that they are durations"))
    for line, name, head in f.prototypes():
        if re.search(r"(^|\s)int \w+\(", head) and re.search(r"(?<!const )struct err \*\w*\)$", head) and "MUST_USE" not in head:
            r.find(f.path, line, f"{name} can fail: declare it MUST_USE")
    for word, meaning in wants:
        if word not in said:
            r.find(f.path, 1, f"its first comment lacks ` *  {word}: ` ({meaning})")
