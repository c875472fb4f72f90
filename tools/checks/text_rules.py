"""The rules of what is not C: shell and Python scripts, and the READMEs."""
import ast
import fnmatch
import os
import re
import subprocess

from tree import Result

LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
SPAN = re.compile(r"`([^`\n]+)`")
FILE_NAME = re.compile(r"^[A-Za-z0-9*][\w*.-]*\.(c|h|py|proto|cmake|md|sh|txt|json)$")
IDENTIFIER = re.compile(r"^_*[a-z][a-z0-9]*(_[a-z0-9]+)+$")
PLACEHOLDER = re.compile(r"[A-Z]{3,}|…|<|>|\$|\.\.\.|~|^\.\.|https?:|://")
CODE = (".c", ".h", ".py", ".sh", ".proto", ".cmake", ".txt", ".json", ".mjs", ".js")


def shebang(tree, path):
    """The first line of a script, or "" """
    with open(tree.at(path), "rb") as f:
        start = f.read(100)
    return start.split(b"\n", 1)[0].decode(errors="replace") if start.startswith(b"#!") else ""


def scripts(tree, options):
    shell, python, r = 0, 0, Result("")
    for path in tree.paths:
        first = shebang(tree, path)
        if path.endswith(".py") or "python" in first:
            python += 1
            python_rules(tree, r, path)
        elif path.endswith(".sh") or re.search(r"\b(sh|bash|dash)\b", first):
            shell += 1
            done = subprocess.run(["sh", "-n", path], cwd=tree.root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if done.returncode:
                m = re.search(r":? *(?:line )?(\d+):\s*(.*)", done.stdout)
                r.find(path, int(m.group(1)) if m else 1, "sh -n: " + (m.group(2) if m else done.stdout.strip()))
        if first and not os.access(tree.at(path), os.X_OK):
            r.find(path, 1, "begins with #! and is not executable: chmod +x, or delete that line")
    r.what = f"{shell} shell, {python} Python"
    return r


def python_rules(tree, r, path):
    text = tree.read(path)
    try:
        module = ast.parse(text)
    except SyntaxError as e:
        r.find(path, e.lineno or 1, f"is not Python 3: {e.msg}")
        return
    if not ast.get_docstring(module):
        r.find(path, 1, "has no docstring: say in its first lines what it does")
    used = {n.id for n in ast.walk(module) if isinstance(n, ast.Name)}
    exported = [ast.literal_eval(n.value) for n in module.body if isinstance(n, ast.Assign)
                and any(isinstance(t, ast.Name) and t.id == "__all__" for t in n.targets)]
    used.update(name for names in exported for name in names)
    for node in ast.walk(module):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                name = (alias.asname or alias.name).split(".")[0]
                said = "#" in text.splitlines()[node.lineno - 1]
                if name not in used and name != "*" and not said and getattr(node, "module", None) != "__future__":
                    r.find(path, node.lineno, f"imports {name} and does not use it: delete the import, or say beside it what it is for")
        elif isinstance(node, ast.ExceptHandler) and node.type is None:
            r.find(path, node.lineno, "`except:` also takes KeyboardInterrupt: name the exception")


def readmes(tree, options):
    """Every folder with sources says what lives there, and what a README names is there."""
    folders = {os.path.dirname(p) for p in tree.paths if p.endswith(CODE[:6]) or shebang(tree, p)}
    r = Result(f"{len(folders)} folders")
    for folder in sorted(folders):
        if not folder.startswith(".") and os.path.join(folder, "README.md") not in tree.paths:
            r.find(folder or ".", 1, "has no README.md: say what lives here, and what may not")
    known = Known(tree)
    for path in tree.paths:
        if path.endswith(".md"):
            names_in(tree, r, path, known)
    return r


class Known:
    """What a README may name: paths, file names, words of the sources, programs of the build."""

    def __init__(self, tree):
        self.paths = set(tree.paths)
        self.folders = {"/".join(p.split("/")[:i]) for p in tree.paths for i in range(1, p.count("/") + 1)}
        self.names = {os.path.basename(p) for p in tree.paths}
        texts = {p: tree.read(p) for p in tree.paths if not p.endswith(".md") and (p.endswith(CODE) or shebang(tree, p))}
        self.words = {w for t in texts.values() for w in re.findall(r"\w+", t)}
        self.tools = "\n".join(t for p, t in texts.items() if not p.endswith((".c", ".h")) or p.startswith("tools/"))
        cmake = "\n".join(t for p, t in texts.items() if os.path.basename(p) == "CMakeLists.txt")
        self.programs = set(re.findall(r"add_executable\(([\w-]+)", cmake))
        # Those of tests are found by globbing and named after their source.
        self.programs |= {os.path.basename(p)[:-2] for p in self.paths if re.match(r"tests/.*\.c$", p)}

    def has(self, folder, path):
        path = path.rstrip("/")
        for base in ("", folder):
            full = os.path.normpath(os.path.join(base, path))
            if full in self.paths or full in self.folders:
                return True
            if "*" in full and any(fnmatch.fnmatch(p, full) for p in self.paths):
                return True
        return False


def names_in(tree, r, path, known):
    folder = os.path.dirname(path)
    for number, line in enumerate(tree.read(path).splitlines(), 1):
        for target in LINK.findall(line):
            if not re.match(r"\w+:", target) and not known.has(folder, target):
                r.find(path, number, f"links to {target}, which is not there")
        command = re.match(r"(?: {4,}|\$ )(?:\$ )?((?:\./)?(?:tools|build)/[\w/.-]+|python3 [\w/.-]+\.py)(.*)", line)
        if command:
            command_exists(r, path, number, known, folder, *command.groups())
        for span in SPAN.findall(line):
            span_exists(r, path, number, known, folder, span)


def command_exists(r, path, number, known, folder, program, rest):
    program = re.sub(r"^(\./|python3 )", "", program)
    if program.startswith("build/"):
        if os.path.basename(program) not in known.programs:
            r.find(path, number, f"runs {program}, which the build does not make")
    elif not known.has(folder, program):
        r.find(path, number, f"runs {program}, which is not there")
    else:
        for option in re.findall(r"(?<!\S)--[a-z][\w-]*", rest.split("  ")[0]):
            if option not in known.tools and option[2:] not in known.words:
                r.find(path, number, f"gives {program} the option {option}, which no script knows")


def span_exists(r, path, number, known, folder, span):
    first = span.split()[0] if span.split() else ""
    if PLACEHOLDER.search(first):
        return
    first = re.sub(r"^\./", "", first)
    top = first.split("/", 1)[0]
    if "/" in first and re.match(r"^[\w./*-]+$", first) and top in known.folders and not known.has(folder, first):
        r.find(path, number, f"names {first}, which is not there")
    elif FILE_NAME.match(first) and not any(fnmatch.fnmatch(n, first) for n in known.names) and not first.endswith((".pb-c.h", ".pb-c.c")):
        r.find(path, number, f"names the file {first}, which is not there")
    elif IDENTIFIER.match(first) and first not in known.words:
        r.find(path, number, f"names {first}, which no source knows")
