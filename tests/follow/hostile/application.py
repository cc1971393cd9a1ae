"""The other side of tests/follow/hostile.rs: processes that use a database through Python's own SQLite library.

    application.py write DATABASE SEED     a writer that does everything an application may do, until its stdin ends
    application.py judge DATABASE          takes the write lock and says what the database is, on demand
    application.py look DATABASE           reads the wal-index's count of commits, on demand

`look` never opens the database through SQLite: a process that did, and then opened and closed the -shm by itself, would drop its
own locks. For the same reason `judge` opens nothing by itself. Only Python's standard library is used.
"""

import json
import random
import sqlite3
import struct
import sys
import threading
import time

BUSY_SECONDS = 5.0


def connect(path):
    return sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, cached_statements=0)


class Writer:
    """Random transactions, checkpoints and manners, good and bad, from one seed."""

    def __init__(self, path, seed):
        self.path = path
        self.random = random.Random(seed)
        self.db = connect(path)
        self.counts = {"transactions": 0, "busy": 0, "vacuums": 0, "reopened": 0}
        self.truncates = []
        self.stop = threading.Event()

    def run(self):
        acts = [
            (30, self.insert), (20, self.update), (10, self.delete), (6, self.roll_back), (6, self.savepoint),
            (3, self.spill), (2, self.unwritten), (3, self.table), (2, self.vacuum), (1, self.auto_vacuum),
            (4, self.incremental_vacuum), (10, self.checkpoint), (5, self.reopen), (6, self.rest), (3, self.read),
        ]
        weights = [weight for weight, _ in acts]
        while not self.stop.is_set():
            (_, act), = self.random.choices(acts, weights)
            try:
                act()
                self.counts["transactions"] += 1
            except sqlite3.OperationalError as e:
                # Other writers are in the way, or the schema moved under us. Anything else is a finding.
                if not any(word in str(e) for word in ("locked", "busy", "schema has changed", "no such table")):
                    raise
                self.counts["busy"] += 1
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")
        self.db.close()
        print(json.dumps({"counts": self.counts, "truncates": self.truncates}), flush=True)

    def blob(self, most):
        return self.random.randbytes(self.random.randrange(most))

    def insert(self):
        self.db.execute("BEGIN IMMEDIATE")
        for _ in range(self.random.randrange(1, 8)):
            self.db.execute("INSERT INTO t(a, b) VALUES(?, ?)", (self.random.randrange(1000), self.blob(3000)))
        self.db.execute("COMMIT")

    def update(self):
        self.db.execute("UPDATE t SET a=a+1, b=? WHERE a % 50 = ?", (self.blob(1500), self.random.randrange(50)))

    def delete(self):
        few = "DELETE FROM t WHERE a BETWEEN ? AND ?"
        many, = self.db.execute("SELECT count(*) > 2000 FROM t").fetchone()
        low = self.random.randrange(1000)
        self.db.execute(few, (0, 1 << 40) if many else (low, low + 30))

    def roll_back(self):
        self.db.execute("PRAGMA cache_size=2000")
        self.db.execute("BEGIN")
        self.db.execute("UPDATE t SET b=? WHERE a < 500", (self.blob(2000),))
        self.db.execute("ROLLBACK")

    def savepoint(self):
        # Not with a small cache: when a savepoint is rolled back whose pages had spilled twice, SQLite 3.40 commits with wrong
        # checksums, and a crash loses the commit (mended later). The follower can't read such a WAL and scans, rightly.
        self.db.execute("PRAGMA cache_size=2000")
        self.db.execute("BEGIN IMMEDIATE")
        self.db.execute("INSERT INTO t(a, b) VALUES(1, 'kept')")
        self.db.execute("SAVEPOINT s")
        self.db.execute("DELETE FROM t WHERE a < 300")
        self.db.execute("ROLLBACK TO s" if self.random.random() < 0.7 else "RELEASE s")
        self.db.execute("COMMIT")

    def spill(self):
        # Far more than the cache holds: frames come to the WAL long before the commit, or before the rollback.
        self.db.execute("PRAGMA cache_size=8")
        self.db.execute("BEGIN IMMEDIATE")
        for _ in range(self.random.randrange(100, 700)):
            self.db.execute("INSERT INTO t(a, b) VALUES(?, randomblob(2500))", (self.random.randrange(1000),))
        self.db.execute("COMMIT" if self.random.random() < 0.6 else "ROLLBACK")
        self.db.execute("PRAGMA cache_size=2000")

    def unwritten(self):
        # Pages come and go in one transaction: the database grows by pages that nobody writes.
        self.db.execute("BEGIN IMMEDIATE")
        self.db.execute("INSERT INTO t(id, a, b) VALUES(-1, 0, zeroblob(?))", (self.random.randrange(200_000),))
        self.db.execute("DELETE FROM t WHERE id=-1")
        self.db.execute("COMMIT")

    def table(self):
        name = "extra%d" % self.random.randrange(4)
        self.db.execute("BEGIN IMMEDIATE")
        self.db.execute(f"DROP TABLE IF EXISTS {name}")
        if self.random.random() < 0.5:
            self.db.execute(f"CREATE TABLE {name} AS SELECT a, b FROM t LIMIT 50")
        self.db.execute("COMMIT")

    def vacuum(self):
        self.db.execute("VACUUM")
        self.counts["vacuums"] += 1

    def auto_vacuum(self):
        self.db.execute("PRAGMA auto_vacuum=%d" % self.random.randrange(3))
        self.vacuum()

    def incremental_vacuum(self):
        self.db.execute("PRAGMA incremental_vacuum(%d)" % self.random.randrange(1, 40)).fetchall()

    def checkpoint(self):
        mode = self.random.choice(["PASSIVE", "FULL", "RESTART", "TRUNCATE", "TRUNCATE"])
        began = time.monotonic()
        self.db.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()
        if mode == "TRUNCATE":
            self.truncates.append(round((time.monotonic() - began) * 1000, 3))

    def reopen(self):
        self.db.close()
        self.db = connect(self.path)
        self.db.execute("PRAGMA synchronous=%s" % self.random.choice(["OFF", "NORMAL", "FULL"]))
        self.db.execute("PRAGMA wal_autocheckpoint=%d" % self.random.choice([0, 10, 100, 1000]))
        self.counts["reopened"] += 1

    def rest(self):
        time.sleep(self.random.random() * 0.06)

    def read(self):
        # A reader that holds an older snapshot while others write.
        self.db.execute("BEGIN")
        self.db.execute("SELECT count(*) FROM t").fetchone()
        time.sleep(self.random.random() * 0.02)
        self.db.execute("COMMIT")


def write(path, seed):
    writer = Writer(path, seed)

    def wait_for_the_end():
        sys.stdin.read()
        writer.stop.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    writer.run()


def judge(path):
    """`lock` takes the write lock; `image FILE` writes what a reader sees now, page by page; `free` lists the pages of the freelist;
    `unlock` lets go."""
    db = None
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command == "lock":
            # A connection of its own each time, so that no cache answers for the database.
            db = sqlite3.connect(path, timeout=60, isolation_level=None)
            db.execute("BEGIN IMMEDIATE")
            print("locked", flush=True)
        elif command == "image":
            image = db.serialize()
            with open(argument, "wb") as out:
                out.write(image)
            print(json.dumps(free_pages(image)), flush=True)
        elif command == "unlock":
            db.execute("ROLLBACK")
            db.close()
            print("unlocked", flush=True)


def free_pages(image):
    """The leaves of the freelist: pages whose content means nothing."""
    if not image:
        return []
    size, = struct.unpack_from(">H", image, 16)
    size = 65536 if size == 1 else size
    trunk, = struct.unpack_from(">I", image, 32)
    leaves = []
    while trunk:
        at = (trunk - 1) * size
        following, count = struct.unpack_from(">II", image, at)
        leaves += struct.unpack_from(f">{count}I", image, at + 8)
        trunk = following
    return leaves


def look(path):
    for _ in sys.stdin:
        while True:
            with open(path + "-shm", "rb") as shm:
                head = shm.read(96)
            if head[:48] == head[48:]:
                break
        print(struct.unpack_from("=I", head, 8)[0], flush=True)


if __name__ == "__main__":
    roles = {"write": lambda path, seed: write(path, int(seed)), "judge": judge, "look": look}
    roles[sys.argv[1]](*sys.argv[2:])
