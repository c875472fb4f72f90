"""The files of the project and the C in them, as the checks see it: text without comments, functions, findings."""
import os
import re
import subprocess

FLOORS = ("core", "broker", "executor", "dispatcher", "schedules", "tools")
SKIPPED = re.compile(r"^(build|build-[^/]*|\.git)/|(^|/)__pycache__/")
# A comment, or a literal: what looks like code inside them is none.
QUIET = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.S)
DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n\\]|\\[^\n]|\\\n)*", re.M)
DECISION = re.compile(r"\b(?:if|for|while|case|[A-Z_]*EACH[A-Z_]*)\b|&&|\|\||\?")


class Finding:
    """What is wrong at one place, and what to do about it."""

    def __init__(self, path, line, message):
        self.path, self.line, self.message = path, line, message

    def __str__(self):
        return f"{self.path}:{self.line}: {self.message}"

    def __lt__(self, other):
        return (self.path, self.line, self.message) < (other.path, other.line, other.message)


class Result:
    """Of one check: findings fail it; notes are counted and shown by --verbose; `what` says what was looked at."""

    def __init__(self, what):
        self.what, self.findings, self.notes = what, [], []

    def find(self, path, line, message):
        self.findings.append(Finding(path, line, message))

    def note(self, path, line, message):
        self.notes.append(Finding(path, line, message))


class Function:
    """A function definition: where it is, how long (from its first line to its brace), its parameters and decisions."""

    def __init__(self, name, line, lines, params, complexity):
        self.name, self.line, self.lines, self.params, self.complexity = name, line, lines, params, complexity


class CFile:
    def __init__(self, path, text):
        self.path, self.text = path, text
        self.lines = text.count("\n")
        self.no_comments = QUIET.sub(lambda m: _spaces(m.group(0)) if m.group(0)[0] == "/" else m.group(0), text)
        self.code = QUIET.sub(lambda m: _spaces(m.group(0)), text)
        # The same without preprocessor lines: what the compiler itself reads.
        self.bare = DIRECTIVE.sub(lambda m: _spaces(m.group(0)), self.code)

    def line_of(self, offset):
        return self.text.count("\n", 0, offset) + 1

    def includes(self):
        """(line, path, is_local) of each #include."""
        for m in re.finditer(r"^[ \t]*#[ \t]*include[ \t]+([<\"])([^>\"]+)[>\"]", self.no_comments, re.M):
            yield self.line_of(m.start()), m.group(2), m.group(1) == '"'

    def top_level(self):
        """(offset of its first character, head, body or None) of each declaration and definition outside of braces."""
        text, start, i = self.bare, 0, 0
        while i < len(text):
            if text[i] == ";":
                yield from self._item(start, i, None)
                start = i + 1
            elif text[i] == "{":
                end = _closing(text, i)
                if _is_function_head(text[start:i]):
                    yield from self._item(start, i, text[i:end + 1])
                    start = end + 1
                i = end
            i += 1

    def _item(self, start, end, body):
        head = self.bare[start:end]
        first = start + len(head) - len(head.lstrip())
        if head.strip():
            yield first, head.strip(), body

    def functions(self):
        for offset, head, body in self.top_level():
            if body is not None:
                name, params = signature(head)
                lines = (head + body).count("\n") + self.bare.count("\n", offset + len(head), self.bare.find("{", offset + len(head))) + 1
                yield Function(name, self.line_of(offset), lines, len(params), 1 + len(DECISION.findall(body)))

    def prototypes(self):
        """(line, name, head) of each function that is declared and not defined here."""
        for offset, head, body in self.top_level():
            if body is None and "{" not in head and not head.startswith("typedef") and _is_function_head(head):
                yield self.line_of(offset), signature(head)[0], head


def _spaces(text):
    return re.sub(r"[^\n]", " ", text)


def _closing(text, at):
    """The offset of the bracket that closes the one at `at`; the end of the text when none does."""
    depth = 0
    for m in re.compile(r"[{}]").finditer(text, at):
        depth += 1 if m.group(0) == "{" else -1
        if depth == 0:
            return m.start()
    return len(text) - 1


def _groups(head):
    """(start, end) of the outermost pairs of round brackets."""
    depth, start, out = 0, 0, []
    for i, c in enumerate(head):
        if c == "(":
            if depth == 0:
                start = i
            depth += 1
        elif c == ")":
            depth -= 1
            if depth == 0:
                out.append((start, i))
    return out


def _is_function_head(head):
    head = head.strip()
    return head.endswith(")") and "=" not in head and re.search(r"\w\s*\(", head) is not None


def signature(head):
    """(name, parameters) of a function head. Attributes such as FMT(2, 3) stand before the name, so the last brackets count."""
    start, end = _groups(head)[-1]
    name = re.search(r"(\w+)\s*$", head[:start])
    inside, params, depth, last = head[start + 1:end], [], 0, 0
    for i, c in enumerate(inside):
        depth += (c in "([") - (c in ")]")
        if c == "," and depth == 0:
            params.append(inside[last:i].strip())
            last = i + 1
    params.append(inside[last:].strip())
    return name.group(1) if name else "?", [p for p in params if p not in ("", "void")]


class Tree:
    """The project under `root`: what git knows of it (and would add), or every file when there is no git."""

    def __init__(self, root):
        self.root = os.path.abspath(root)
        self.paths = sorted(p for p in self._list() if not SKIPPED.search(p) and os.path.isfile(self.at(p)))
        self._parsed = {}

    def _list(self):
        if os.path.exists(self.at(".git")):
            done = subprocess.run(["git", "-C", self.root, "ls-files", "-co", "--exclude-standard"], stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, text=True)
            if done.returncode == 0:
                return done.stdout.splitlines()
        return [os.path.relpath(os.path.join(folder, name), self.root) for folder, _, names in os.walk(self.root) for name in names]

    def at(self, path):
        return os.path.join(self.root, path)

    def read(self, path):
        with open(self.at(path), encoding="utf-8", errors="replace") as f:
            return f.read()

    def c_paths(self):
        return [p for p in self.paths if p.endswith((".c", ".h"))]

    def c_file(self, path):
        if path not in self._parsed:
            self._parsed[path] = CFile(path, self.read(path))
        return self._parsed[path]

    def c_files(self):
        return [self.c_file(p) for p in self.c_paths()]

    def headers(self):
        return [self.c_file(p) for p in self.c_paths() if p.endswith(".h")]


def floor_of(path):
    first = path.split("/", 1)[0]
    return first if first in FLOORS else None
