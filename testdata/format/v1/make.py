"""Made the golden repository, once, with the first release build that wrote format version 1.

    make.py PAGEKEEP DATABASES

PAGEKEEP is the program, DATABASES a folder for the databases (its path and this machine's name go into the repository). No
test runs this: a version that reads its own new repository proves nothing about the old ones. It refuses to replace what
is there, and stays so that anybody can see what the repository holds and why.

expected.json tells what every commit must restore to. Nothing in it comes from pagekeep but the keys of the page digests: the
bytes are those of the checkpointed database at the time of its backup.
"""

import contextlib
import json
import os
import shutil
import sqlite3
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from blake3 import blake3

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / "tests" / "reader"))
from pagekeep_reader import KEY_FILE, History, Repository, read_secret  # noqa: E402

REPOSITORY, KEY, PASSWORD, RECOVERY = (HERE / name for name in ("repository", "key", "password", "recovery-key"))


class Maker:
    def __init__(self, program: str, databases: Path) -> None:
        self.program, self.databases = program, databases
        self.state = Path(tempfile.mkdtemp())
        self.commits: dict[str, list[dict]] = {}

    def pagekeep(self, *arguments: object) -> dict:
        """Runs a command and answers the last line that it printed."""
        command = [self.program, "-r", REPOSITORY, "--key-file", KEY, "--state-dir", self.state, "--json", *arguments]
        done = subprocess.run([str(word) for word in command], check=False, stdout=subprocess.PIPE, text=True)
        if done.returncode not in (0, 4):
            sys.exit(f"{command} failed")
        return json.loads(done.stdout.splitlines()[-1])

    def forget(self) -> None:
        """A new machine: the next backup claims another term."""
        shutil.rmtree(self.state)

    def open(self, name: str) -> sqlite3.Connection:
        return sqlite3.connect(self.databases / f"{name}.db", isolation_level=None)

    def backup(self, name: str, kind: str, *options: str) -> None:
        """Backs up, and notes what the database is at this moment."""
        self.pagekeep("backup", self.databases / f"{name}.db", *options)
        commits = self.commits.setdefault(name, [])
        copy = self.databases / "copy.db"
        for suffix in ("", "-wal"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(self.databases / f"{name}.db{suffix}", f"{copy}{suffix}")
        with contextlib.closing(sqlite3.connect(copy)) as db:
            if db.execute("PRAGMA journal_mode").fetchone() == ("wal",):
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            page_size = db.execute("PRAGMA page_size").fetchone()[0]
        content = copy.read_bytes()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{copy}{suffix}").unlink(missing_ok=True)
        commits.append({"seq": len(commits) + 1, "kind": kind, "pages": len(content) // page_size,
                        "page_size": page_size, "content": content, "labels": []})

    def label(self, name: str, seq: int, label: str) -> None:
        self.pagekeep("label", f"{name}@seq:{seq}", label)
        self.commits[name][seq - 1]["labels"].append(label)

    def expected(self) -> dict:
        repository = Repository(REPOSITORY, read_secret(KEY_FILE, KEY))
        found = [History(repository, path.name) for path in (REPOSITORY / "histories").iterdir()]
        keys = {history.name: history.page_digest_key for history in found}
        for name, commits in self.commits.items():
            for commit in commits:
                content = commit.pop("content")
                commit["digest"] = database_digest(keys[name], content, commit["page_size"])
                commit["blake3"] = blake3(content).hexdigest()
        return {"histories": [{"name": name, "commits": self.commits[name]} for name in self.commits]}


def database_digest(key: bytes, content: bytes, page_size: int) -> str:
    total = 0
    for at in range(0, len(content), page_size):
        page = content[at : at + page_size] + struct.pack("<I", at // page_size + 1)
        total ^= int.from_bytes(blake3(page, key=key).digest(16))
    return total.to_bytes(16).hex()


def orders(make: Maker) -> None:
    """Small segments with their data inside, in WAL mode, written in two terms."""
    db = make.open("orders")
    db.execute("PRAGMA page_size=1024")
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("CREATE TABLE orders(id INTEGER PRIMARY KEY, item TEXT, price REAL)")
    items = [(f"item {number % 17}", number * 0.25) for number in range(600)]
    db.executemany("INSERT INTO orders(item, price) VALUES(?, ?)", items)
    make.backup("orders", "scan", "--label", "first")
    make.commits["orders"][0]["labels"].append("first")
    db.execute("UPDATE orders SET price = price + 1 WHERE id % 97 = 0")
    make.backup("orders", "wal")
    make.label("orders", 2, "before the sale")
    make.label("orders", 2, "Grüße")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    db.execute("CREATE INDEX by_item ON orders(item)")
    make.backup("orders", "scan", "--compression", "off")
    make.label("orders", 3, "mistake")
    make.pagekeep("label", "orders@seq:3", "mistake", "--remove")
    make.commits["orders"][2]["labels"].remove("mistake")
    make.pagekeep("verify", "orders", "--level", "data")
    make.pagekeep("verify", "orders@seq:2", "--level", "restore", "--assert", "SELECT count(*) = 600 FROM orders")
    make.pagekeep("verify", "orders@seq:2", "--level", "restore", "--assert", "SELECT count(*) = 0 FROM orders")
    make.forget()
    db.execute("INSERT INTO orders(item, price) VALUES('the last one', 1)")
    make.backup("orders", "scan")
    db.execute("DELETE FROM orders WHERE item = 'the last one'")
    make.backup("orders", "wal")
    db.close()


def archive(make: Maker) -> None:
    """More pages than an index block lists, so that there are parts; UTF-16; a size that goes down, up, and to other pages."""
    db = make.open("archive")
    for pragma in ("page_size=512", "auto_vacuum=FULL", "encoding='UTF-16le'", "synchronous=OFF"):
        db.execute(f"PRAGMA {pragma}")
    db.execute("CREATE TABLE notes(id INTEGER PRIMARY KEY, text TEXT)")

    def write(first: int, last: int, word: str) -> None:
        notes = [(number, f"{word} {number} " + word * 90) for number in range(first, last)]
        db.execute("BEGIN")
        db.executemany("INSERT OR REPLACE INTO notes VALUES(?, ?)", notes)
        db.execute("COMMIT")

    write(0, 2600, "alpha ")
    make.backup("archive", "scan")
    db.execute("DELETE FROM notes WHERE id >= 100")
    make.backup("archive", "scan")
    write(50, 2700, "beta ")
    make.backup("archive", "scan", "--label", "grown")
    make.commits["archive"][2]["labels"].append("grown")
    db.execute("DELETE FROM notes WHERE id >= 60")
    db.execute("PRAGMA page_size=2048")
    db.execute("VACUUM")
    make.backup("archive", "scan")
    write(0, 2, "gamma ")
    make.backup("archive", "scan")
    make.pagekeep("verify", "archive", "--level", "chain")
    db.close()


def main() -> None:
    program, databases = sys.argv[1], Path(sys.argv[2])
    if REPOSITORY.exists():
        sys.exit(f"{REPOSITORY} is there already, and is never made again")
    os.umask(0o077)
    databases.mkdir(parents=True)
    make = Maker(program, databases)
    RECOVERY.write_text(make.pagekeep("init")["recovery_key"] + "\n")
    PASSWORD.write_text("correct horse battery staple\n")
    make.pagekeep("key", "add", "--new-password-file", PASSWORD, "--label", "passphrase")
    orders(make)
    archive(make)
    (HERE / "expected.json").write_text(json.dumps(make.expected(), ensure_ascii=False, indent=1) + "\n", "utf-8")
    make.forget()
    shutil.rmtree(databases)


if __name__ == "__main__":
    main()
