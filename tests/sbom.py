#!/usr/bin/env python3
"""Turns what `cargo metadata` prints into a list of what a binary is made of: CycloneDX 1.5, as JSON.

    cargo metadata --locked --format-version 1 --filter-platform TARGET | python3 tests/sbom.py VERSION TARGET

It has what is linked into the binary with default features: normal dependencies, and theirs. What
only builds or tests it is left out, and so is what only writes code while it is built (derive macros).
"""

import json
import sys


def linked(metadata):
    """The ids of the root package and of all that is linked into it."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    macros = {package["id"] for package in metadata["packages"]
              if any("proc-macro" in target["kind"] for target in package["targets"])}
    found, waiting = [], [metadata["resolve"]["root"]]
    while waiting:
        package = waiting.pop()
        if package in found or package in macros:
            continue
        found.append(package)
        for dependency in nodes[package]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                waiting.append(dependency["pkg"])
    return found


def main():
    version, target = sys.argv[1:]
    metadata = json.load(sys.stdin)
    packages = {package["id"]: package for package in metadata["packages"]}
    root, *others = linked(metadata)
    components = []
    for package in sorted((packages[other] for other in others), key=lambda p: (p["name"], p["version"])):
        component = {
            "type": "library",
            "name": package["name"],
            "version": package["version"],
            "purl": f"pkg:cargo/{package['name']}@{package['version']}",
        }
        if package["license"]:
            component["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
        components.append(component)
    about = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "name": packages[root]["name"],
                "version": version,
                "purl": f"pkg:cargo/{packages[root]['name']}@{version}",
                "properties": [{"name": "target", "value": target}],
            }
        },
        "components": components,
    }
    json.dump(about, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
