"""Checks the test vectors of docs/format.md with the independent reader, and each value by the document's formula.

    check_vectors.py VECTORS

VECTORS is testdata/format/v1/vectors.json; what it holds, its "about" says.
"""

import json
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any

from argon2.low_level import Type, hash_secret_raw
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from pagekeep_reader import KEY_FILE, PASSPHRASE, RECOVERY_KEY, Damage, History, Repository, check, read_secret

SECRETS = {"passphrase": PASSPHRASE, "key_file": KEY_FILE, "recovery_key": RECOVERY_KEY}


def unhex(text: str) -> bytes:
    return bytes.fromhex(text)


def check_derived(name: str, given: dict[str, str]) -> bytes:
    """Checks a derivation wherever one is given, and answers its value."""
    value = unhex(given["value"])
    derived = blake3(unhex(given["material"]), derive_key_context=given["context"]).digest(length=len(value))
    check(derived == value, name, f"derive_key({given['context']})")
    return value


def check_seal(name: str, seal: dict[str, Any]) -> None:
    key = check_derived(name, seal["key"])
    associated = [unhex(component) for component in seal["associated_data"]]
    check(AESSIV(key).encrypt(unhex(seal["plain"]), associated) == unhex(seal["sealed"]), name, "seal")


def check_object(found: dict[str, Any]) -> None:
    name, data = found["name"], unhex(found["bytes"])
    check(data[:6] == b"PGKP" + bytes([found["kind"], 1]), name, "header")
    if "seal" in found:
        check_seal(name, found["seal"])
        front = unhex(found["seal"]["associated_data"][0] + found["seal"]["sealed"])
        check(data.startswith(front), name, "is not its associated data and its seal")
    if "commitment" in found:
        check(check_derived(name, found["commitment"]) in data, name, "commitment")
    if "digest" in found:
        check(blake3(front).digest() == unhex(found["digest"]), name, "digest of the segment")


def check_data(found: dict[str, Any], objects: dict[str, bytes]) -> None:
    check_seal(found["in"], found["seal"])
    check(unhex(found["seal"]["sealed"]) in objects[found["in"]], found["in"], f"has no such {found['what']}")


def check_secrets(secrets: dict[str, Any]) -> None:
    passphrase, argon2id = secrets["passphrase"], secrets["passphrase"]["argon2id"]
    costs = argon2id["passes"], argon2id["memory_kib"], argon2id["lanes"]
    stretched = hash_secret_raw(passphrase["text"].encode(), unhex(argon2id["salt"]), *costs, hash_len=32, type=Type.ID,
                                version=argon2id["version"])
    check(stretched == unhex(passphrase["secret"]), "passphrase", "Argon2id")
    check_derived("recovery key", secrets["recovery_key"]["checksum"])


def check_digests(vectors: dict[str, Any]) -> None:
    key, digests = unhex(vectors["page_digest_key"]), {}
    for page in vectors["page_digests"]:
        content = unhex(page["content"])
        digests[page["page"], content] = digest = unhex(page["digest"])
        computed = blake3(content + struct.pack("<I", page["page"]), key=key).digest()[:16]
        check(computed == digest, f"page {page['page']}", "digest")
    for database in vectors["databases"]:
        content, total = unhex(database["bytes"]), 0
        for number, at in enumerate(range(0, len(content), 512), 1):
            total ^= int.from_bytes(digests[number, content[at : at + 512]], "little")
        check(total.to_bytes(16, "little") == unhex(database["digest"]), f"database {database['seq']}", "digest")


def check_restores(vectors: dict[str, Any], objects: dict[str, bytes], seqs: list[int], folder: Path) -> None:
    """Each secret opens the repository that the objects are, and the commits with these seqs come back, no others."""
    root = folder / "repository"
    for name, data in objects.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    for option, kind in SECRETS.items():
        (folder / option).write_text(vectors["secrets"][option]["text"], "utf-8")
        secret = read_secret(kind, folder / option)
        if kind != PASSPHRASE:
            check(secret.value == unhex(vectors["secrets"][option]["secret"]), option, "spells another secret")
        repository = Repository(root, secret)
        for history_id in repository.store.list("histories", "[0-9a-f]{32}"):
            history = History(repository, history_id)
            history.check_records()
            check([commit.seq for _, commit in history.commits()] == seqs, history_id, "has other commits")
            check(dict(history.labels()) == {2: ["before the sale"]}, history_id, "has other labels")
            for seq in seqs:
                target = folder / f"{option}-{seq}.db"
                history.restore(seq, target)
                check(target.read_bytes() == unhex(vectors["databases"][seq - 1]["bytes"]), str(target), "differs")


def run(vectors: dict[str, Any]) -> None:
    objects = {found["name"]: unhex(found["bytes"]) for found in vectors["objects"]}
    for found in vectors["objects"]:
        check_object(found)
    for found in vectors["data"]:
        check_data(found, objects)
    check_secrets(vectors["secrets"])
    check_digests(vectors)
    for reading in vectors["readings"]:
        some = {name: data for name, data in objects.items() if name not in reading["without"]}
        with tempfile.TemporaryDirectory() as folder:
            check_restores(vectors, some, reading["commits"], Path(folder))


def main() -> int:
    try:
        run(json.loads(Path(sys.argv[1]).read_text("utf-8")))
    except Damage as error:
        print(f"check_vectors: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
