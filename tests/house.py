#!/usr/bin/env python3
"""Counts what tells whether the house is in order, at one commit or several beside each other.

    python3 tests/house.py                  # the files as they are
    python3 tests/house.py c1fb4f4 HEAD .   # two commits and the files as they are

`tests/architecture.rs` demands what must be zero. This script shows how it became so. Names of
functions that only tests use, and what macros expand to, are not seen.
"""

import collections
import io
import re
import subprocess
import sys
import tarfile

TESTS = re.compile(r"(^|/)tests(/|\.rs$)|/simulation/")
LEVELS = ["error count machine simulated", "types", "progress disk chance", "format", "codec", "policy",
          "sqlite", "store", "repo", "capture", "ops", "keeper", "api", "daemon cli"]
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names.split()}


def sources(commit):
    """The Rust files of a commit, or of the folder that one stands in, by path."""
    if commit == ".":
        listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*.rs"], capture_output=True, text=True, check=True)
        return {path: open(path, encoding="utf-8").read() for path in listed.stdout.split()}
    packed = subprocess.run(["git", "archive", commit], capture_output=True, check=True).stdout
    found = {}
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for member in archive:
            if member.isfile() and member.name.endswith(".rs"):
                found[member.name] = archive.extractfile(member).read().decode()
    return found


def module(path):
    """`src/repo/chain/mod.rs` is `("repo", "chain")`."""
    parts = path[len("src/"):-len(".rs")].split("/")
    return tuple(parts[:-1] if parts[-1] in ("mod", "lib", "main") else parts)


def without_tests(text):
    text = re.sub(r"//[^\n]*", "", text)
    return text.split("#[cfg(test)]\nmod tests {")[0]


def paths(tree, prefix=""):
    """The paths of a `use` tree."""
    depth, part, parts = 0, "", []
    for char in tree + ",":
        depth += {"{": 1, "}": -1}.get(char, 0)
        if char == "," and depth == 0:
            parts.append(part.strip())
            part = ""
        else:
            part += char
    for part in filter(None, parts):
        if "{" in part:
            head, rest = part.split("{", 1)
            yield from paths(rest.rstrip()[:-1], prefix + head)
        else:
            yield prefix + part.split(" as ")[0].strip()


def arrows(files):
    """Which file of `src` names which, tests apart."""
    files = {path: text for path, text in files.items() if path.startswith("src/") and not TESTS.search(path)}
    modules = {module(path): path for path in files if path != "src/main.rs"}
    found = collections.defaultdict(set)
    for path, text in files.items():
        text, own = without_tests(text), module(path)
        children = {name[-1] for name in modules if name and name[:-1] == own}
        uses = [p for tree in re.findall(r"\buse\s+([^;]+);", text) for p in paths(tree)]
        inline = re.findall(r"\b(?:crate|super|self)(?:::\w+)+", re.sub(r"\buse\s+[^;]+;", "", text))
        for named in uses + inline:
            parts = named.split("::")
            if parts[0] == "crate":
                full = parts[1:]
            elif parts[0] in ("self", "super"):
                base = list(own)
                while parts and parts[0] in ("self", "super"):
                    base = base[:-1] if parts.pop(0) == "super" else base
                full = base + parts
            elif parts[0] in children:
                full = list(own) + parts
            else:
                continue
            to = next(modules[tuple(full[:n])] for n in range(len(full), -1, -1) if tuple(full[:n]) in modules)
            # A module's own file names its children to declare and re-export them.
            if to != path and module(path) != module(to)[:-1] and path != "src/lib.rs":
                found[path].add(to)
    return found


def circles(graph):
    """Sets of files that all reach each other (Tarjan's strongly connected components)."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = stack.index(node)
            if len(stack) - at > 1:
                found.append(stack[at:])
            del stack[at:]

    for node in list(graph):
        if node not in index:
            visit(node)
    return found


def upward(graph):
    """Imports of a module of a higher level."""
    def level(path):
        return LEVEL.get((module(path) or ("",))[0], -1)

    return sum(level(to) > level(path) >= 0 for path, tos in graph.items() for to in tos)


def count(files):
    own = {path: text for path, text in files.items() if path.startswith("src/")}
    product = {path: text for path, text in own.items() if not TESTS.search(path)}
    graph = arrows(files)
    found = circles(graph)
    types = collections.Counter(name for text in product.values() for name in
                                re.findall(r"(?m)^pub (?:struct|enum|trait) (\w+)", without_tests(text)))
    comments = [line for text in own.values() for line in text.splitlines() if line.lstrip().startswith("//")]
    prose = [line for line in comments if not re.match(r"\s*//[/!]? ?\|", line)]
    root = own.get("src/lib.rs", "")
    modules = re.findall(r"(?m)^pub mod (\w+);", root)
    return {
        "files in src": len(product),
        "lines in src": sum(text.count("\n") for text in product.values()),
        "files over 400 lines": sum(text.count("\n") > 400 for text in product.values()),
        "files over 600 lines": sum(text.count("\n") > 600 for text in product.values()),
        "circles of files": len(found),
        "files in circles": sum(map(len, found)),
        "imports of a higher level": upward(graph),
        "public modules": len([name for name in modules if name != "cli"]),
        "names of types used twice": sum(n > 1 for n in types.values()),
        "comment lines over 100 columns": sum(len(line) > 100 for line in prose),
        "comment lines over 120 columns": sum(len(line) > 120 for line in prose),
        "test binaries": sum(bool(re.fullmatch(r"tests/(\w+\.rs|\w+/main\.rs)", path)) for path in files),
    }


def main():
    sys.setrecursionlimit(10_000)
    commits = sys.argv[1:] or ["."]
    columns = [count(sources(commit)) for commit in commits]
    print(f"{'':32}" + "".join(f"{commit:>12}" for commit in commits))
    for name in columns[0]:
        print(f"{name:32}" + "".join(f"{column[name]:>12,}" for column in columns))


if __name__ == "__main__":
    main()
