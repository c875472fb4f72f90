"""tools/lint on small bad trees: each check finds what it is for, and lets pass what is right."""
import os
import shutil
import subprocess
import sys

from harness import ROOT, case, equal, run, temp_dir

PRESETS = """{ "version": 4, "configurePresets": [
  { "name": "release", "generator": "Ninja", "binaryDir": "${sourceDir}/build", "cacheVariables": { "CMAKE_C_COMPILER": "gcc" } },
  { "name": "clang", "generator": "Ninja", "binaryDir": "${sourceDir}/build-clang", "cacheVariables": { "CMAKE_C_COMPILER": "clang" } } ] }
"""
CMAKE = """cmake_minimum_required(VERSION 3.20)
project(small C)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
add_compile_options(-Wall -Wextra -Werror)
include_directories(${PROJECT_SOURCE_DIR})
file(GLOB_RECURSE sources core/*.c tools/*.c)
add_executable(small ${sources})
"""
MAIN = '/* main.c: calls what there is. */\n#include "core/half.h"\n\nint main(void) { return half(2); }\n'
HALF_H = """/** half.h: divides by two.
 *  Thread: any. */
#ifndef CORE_HALF_H
#define CORE_HALF_H

int half(int n);

#endif
"""
HALF_C = '/* half.c: see half.h. */\n#include "core/half.h"\n\nint half(int n) { return n / 2; }\n'
GOOD = {"CMakeLists.txt": CMAKE, "CMakePresets.json": PRESETS, "core/half.h": HALF_H, "core/half.c": HALF_C, "tools/main.c": MAIN,
        "core/README.md": "# core\n\n`half` is in `half.c`, declared in [half.h](half.h).\n", "tools/README.md": "# tools\n",
        "README.md": "# small\n\nSee [core](core/README.md).\n\n    build/small\n"}


def plant(files):
    """A folder with the good tree and these files instead (None: without it)."""
    root = temp_dir()
    for name in (".clang-format", ".clang-tidy"):
        shutil.copyfile(os.path.join(ROOT, name), os.path.join(root, name))
    for path, text in {**GOOD, **files}.items():
        if text is not None:
            full = os.path.join(root, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "w", encoding="utf-8") as f:
                f.write(text)
    return root


def lint_at(root, *args):
    """(exit code, output) of tools/lint on this folder."""
    done = subprocess.run([sys.executable, os.path.join(ROOT, "tools", "lint"), "--root", root, *args],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240)
    return done.returncode, done.stdout


def lint(files, *args):
    return lint_at(plant(files), *args)


def finds(check, files, *wanted):
    """The check fails the tree, and says each of these: a place and words of the message."""
    code, out = lint(files, check)
    equal(code, 1, out)
    for where, words in wanted:
        assert any(line.startswith(where + ":") and words in line for line in out.splitlines()), f"no {where}: {words}\n{out}"
    equal(out.splitlines()[-1], "0 passed, 1 failed", out)


def header(name, body, comment="Thread: any."):
    return f"/** {name}: something.\n *  {comment} */\n#ifndef H\n#define H\n\n{body}\n#endif\n"


@case("a tree that is right passes every check")
def _():
    code, out = lint({}, *INSTALLED)
    equal(code, 0, out)
    equal(out.splitlines()[-1], f"{len(INSTALLED)} passed, 0 failed", out)


@case("--list names the checks, an unknown one ends with 2")
def _():
    code, out = lint({}, "--list")
    equal((code, set(INSTALLED) <= set(out.split())), (0, True), out)
    code, out = lint({}, "spelling")
    equal(code, 2, out)
    assert "spelling" in out and "ceilings" in out, out


@case("ceilings: long functions, files and headers, too many parameters; a table is not a function")
def _():
    long_function = "int f(int n)\n{\n" + "    n++;\n" * 98 + "    return n;\n}\n"
    table = "static const int rows[] = {\n" + "    1,\n" * 150 + "};\n\nint f(int n) { return rows[n]; }\n"
    many = "static int g(int a, int b, int c, int d, int e, int (*f)(int x, int y), int h, int i) { return 0; }\n"
    finds("ceilings", {"core/a.c": long_function}, ("core/a.c:1", "f has 102 lines"))
    finds("ceilings", {"core/a.c": "\n" + many}, ("core/a.c:2", "g has 8 parameters"))
    finds("ceilings", {"core/a.c": "int x;\n" * 801}, ("core/a.c:1", "801 lines, at most 800"))
    finds("ceilings", {"core/a.h": "int x;\n" * 251}, ("core/a.h:1", "251 lines, at most 250"))
    finds("ceilings", {"core/a.c": ("static int f%d(void)\n{\n" + "    f();\n" * 55 + "}\n") % 1}, ("tools/checks/c_rules.py:1", "within 50 lines"))
    equal(lint({"core/a.c": table}, "ceilings")[0], 0)
    code, out = lint({"core/a.c": "int f(int n)\n{\n" + "    if (n) n++;\n" * 16 + "}\n"}, "ceilings", "--verbose")
    assert code == 0 and "core/a.c:1: note: f has 16 decisions" in out, out


@case("banned: by call, not by a word in a comment, a string or a longer name")
def _():
    for call in ("strcpy(a, b)", "sprintf(a, b)", "atoi(a)", "system(a)", "time(0)", "gettimeofday(a, 0)", "rand()", "usleep(1)", "localtime(a)",
                 "fork()", "setenv(a, b, 1)", "strerror(a)", "__builtin_strcpy(a, b)"):
        finds("banned", {"core/a.c": f"void f(void)\n{{\n    {call};\n}}\n"}, ("core/a.c:3", call.split("(")[0].replace("__builtin_", "") + "()"))
    fine = '/* strcpy(a, b) */\nvoid f(void) { puts("sprintf(a)"); my_atoi(a); x->time(0); daytime(1); }\n'
    equal(lint({"core/a.c": fine, "core/base/clock_real.c": "void f(void) { clock_gettime(0, 0); }\n"}, "banned")[0], 0)
    finds("banned", {"core/a.c": "int f(void) __attribute__((cold));\n"}, ("core/a.c:1", "core/compiler.h"))


@case("banned: memory that nobody asks for, a block that realloc loses, macros that return")
def _():
    finds("banned", {"core/a.c": "void f(char *s)\n{\n    char *p = strdup(s);\n    *p = 1;\n}\n"}, ("core/a.c:3", "strdup gave p"))
    finds("banned", {"core/a.c": "void f(void)\n{\n    p = realloc(p, 9);\n    if (!p)\n        return;\n}\n"}, ("core/a.c:3", "loses the block"))
    finds("banned", {"core/a.c": "#define TRY(x) \\\n    if (x) \\\n        return 1\n"}, ("core/a.c:1", "macro TRY hides a `return`"))
    fine = "int f(void)\n{\n    struct x *p = calloc(1, 9);\n    if (!p)\n        return -1;\n    if (!(p->name = strdup(s)))\n        return -1;\n    return 0;\n}\n"
    equal(lint({"core/a.c": fine}, "banned")[0], 0)


@case("includes: up a floor, across it, a library without its adapter, what is not there, another folder's inside")
def _():
    here = {"dispatcher/x.h": "", "broker/x.h": "", "broker/x_int.h": "", "executor/x.h": "", "tests/x.h": ""}

    def include(path, line):
        return {**here, path: f"#include {line}\n"}
    finds("includes", include("core/a.c", '"broker/x.h"'), ("core/a.c:1", "core may use nothing above itself"))
    finds("includes", include("broker/a.c", '"executor/x.h"'), ("broker/a.c:1", "broker may use core"))
    finds("includes", include("executor/a.h", '"dispatcher/x.h"'), ("executor/a.h:1", "executor may use core"))
    finds("includes", include("tools/runnel/a.c", '"tests/x.h"'), ("tools/runnel/a.c:1", "may not need its tests"))
    finds("includes", include("dispatcher/a.c", '"broker/x_int.h"'), ("dispatcher/a.c:1", "inside of another folder"))
    finds("includes", include("core/a.c", '"core/none.h"'), ("core/a.c:1", "there is no such file"))
    finds("includes", include("broker/a.c", "<sqlite3.h>"), ("broker/a.c:1", "stays behind its adapter"))
    finds("includes", include("core/a.c", "<openssl/evp.h>"), ("core/a.c:1", "stays behind its adapter"))
    equal(lint(include("dispatcher/a.c", '"broker/x.h"'), "includes")[0], 0)


@case("headers: name and purpose, guard, and each section where it applies")
def _():
    finds("headers", {"core/a.h": "#ifndef A\n#define A\n#endif\n"}, ("core/a.h:1", "must begin with `/** a.h: "))
    finds("headers", {"core/a.h": "/** a.h: something.\n *  Thread: any. */\nint f(void);\n"}, ("core/a.h:1", "include guard"))
    finds("headers", {"core/a.h": header("a.h", "void f(int n);\n", "Owner: nobody.")}, ("core/a.h:1", "Thread: "))
    finds("headers", {"core/a.h": header("a.h", "struct a *a_new(void);\n")}, ("core/a.h:1", "Owner: "))
    finds("headers", {"core/a.h": header("a.h", "MUST_USE int f(struct err *e);\n")}, ("core/a.h:1", "Errors: "))
    finds("headers", {"core/a.h": header("a.h", "void f(int64_t due_ns);\n")}, ("core/a.h:1", "Units: "))
    finds("headers", {"core/a.h": header("a.h", "int f(struct err *e);\n", "Errors: all.")}, ("core/a.h:6", "declare it MUST_USE"))
    inside = header("a_int.h", "struct a *a_new(int64_t due_ns);\n", "For a.c.")
    equal(lint({"core/a_int.h": inside, "core/b.h": header("b.h", "#define B 1\n", "Rules: none.")}, "headers")[0], 0)


@case("scripts: what does not parse, what is imported in vain, a bare except")
def _():
    finds("scripts", {"tools/a.py": '"""A."""\nimport os\nimport sys\n\nprint(sys.argv)\n'}, ("tools/a.py:2", "imports os"))
    finds("scripts", {"tools/a.py": '"""A."""\ndef f(:\n'}, ("tools/a.py:2", "not Python 3"))
    finds("scripts", {"tools/a.py": "x = 1\n"}, ("tools/a.py:1", "docstring"))
    finds("scripts", {"tools/a.py": '"""A."""\ntry:\n    f()\nexcept:\n    pass\n'}, ("tools/a.py:4", "KeyboardInterrupt"))
    finds("scripts", {"tools/a.sh": "echo 1\nif true; then\n"}, ("tools/a.sh:3", "sh -n"))
    finds("scripts", {"tools/a": "#!/bin/sh\necho 1\n"}, ("tools/a:1", "chmod +x"))


@case("readmes: a folder without one, and names of what is not there")
def _():
    finds("readmes", {"core/README.md": None}, ("core:1", "has no README.md"), ("README.md:3", "links to core/README.md"))
    for text, words in (("[x](none.md)", "links to none.md"), ("`core/none.c`", "core/none.c"), ("`none.c`", "file none.c"),
                        ("`no_such_word`", "no_such_word"), ("    ./tools/none --x", "runs tools/none"), ("    build/none", "does not make")):
        finds("readmes", {"README.md": f"# small\n{text}\n"}, ("README.md:2", words))


@case("gcc: a warning is a finding with its place")
def _():
    finds("gcc", {"core/half.c": HALF_C.replace("return n / 2;", "int x; return n / 2;")}, ("core/half.c:4", "unused"))


@case("unused: a function, a macro and a declaration that nobody needs")
def _():
    more = HALF_C + "\nint quarter(int n) { return half(half(n)); }\n"
    declared = HALF_H.replace("int half(int n);\n", "int half(int n);\nint quarter(int n);\nint third(int n);\n#define NOBODY 1\n")
    finds("unused", {"core/half.c": more, "core/half.h": declared}, ("core/half.c:6", "quarter is used by no other file"),
          ("core/half.h:8", "third is declared and defined nowhere"), ("core/half.h:9", "macro NOBODY"))


@case("hidden: a banned function behind a macro or a pointer; not in the file whose job it is")
def _():
    def copy(define, call):
        return HALF_C.replace("int half", f"#include <string.h>\n{define}\nint half").replace("return n / 2;", f"char b[9]; {call}(b, n ? \"1\" : \"2\"); return b[0] / 2;")
    finds("hidden", {"core/half.c": copy("#define COPY strcpy", "COPY")}, ("core/half.c:5", "strcpy, by whatever name"))
    finds("hidden", {"core/half.c": copy("static char *(*const copy)(char *, const char *) = strcpy;", "copy")}, ("core/half.c:5", "strcpy, by whatever name"))
    equal(lint({"core/half.c": copy("static char *(*const copy)(char *, const char *) = strcpy;", "copy")}, "banned")[0], 0, "what hidden is for")
    forks = "/* warden_start.c: starts. */\n#include <unistd.h>\n\nstatic int (*const start)(void) = fork;\nint half(int n) { return n ? start() : 0; }\n"
    cmake = CMAKE.replace("core/*.c", "executor/*.c core/none*.c")
    equal(lint({"core/half.c": None, "executor/warden_start.c": forks, "executor/README.md": "# executor\n", "CMakeLists.txt": cmake}, "hidden")[0], 0)


INSTALLED = ["ceilings", "banned", "includes", "headers", "scripts", "readmes", "gcc", "unused", "hidden"]
MISSING = [p for p in ("clang", "clang-format", "clang-tidy") if not shutil.which(p)]
if MISSING:
    print(f"skip the checks by clang: {', '.join(MISSING)} not installed (tools/setup checks)")
else:
    INSTALLED += ["format", "clang", "tidy"]

    @case("format: a file that clang-format would change; --fix changes it")
    def _():
        finds("format", {"core/half.c": HALF_C.replace("n / 2", "n/2")}, ("core/half.c:4", "--fix"))
        equal(lint({"core/half.c": HALF_C.replace("n / 2", "n/2")}, "format", "--fix")[0], 0)

    @case("clang: what gcc does not see")
    def _():
        finds("clang", {"core/half.c": HALF_C.replace("return n / 2;", "n = n; return n / 2;")}, ("core/half.c:4", "self-assign"))

    @case("tidy: a null pointer that is followed; an answer is kept until a header changes")
    def _():
        bad = HALF_C.replace("return n / 2;", "\n    int *p = n ? &n : 0;\n    return *p / 2;\n")
        finds("tidy", {"core/half.c": bad}, ("core/half.c:6", "NullDereference"))
        root = plant({})
        for anew in (2, 0):
            code, out = lint_at(root, "tidy")
            assert code == 0 and f"2 files, {anew} read anew" in out, out
        with open(os.path.join(root, "core", "half.h"), "a", encoding="utf-8") as f:
            f.write("static inline int zero(int *p) { return p ? 0 : *p; }\n")
        code, out = lint_at(root, "tidy")
        assert code == 1 and "2 files, 2 read anew" in out and "core/half.h:9: " in out, out

    @case("tidy: is not said to pass when nothing was built")
    def _():
        finds("tidy", {"core/half.c": "int half(int n) { return }\n"}, ("CMakeLists.txt:1", "tools/lint clang says"))

run()
