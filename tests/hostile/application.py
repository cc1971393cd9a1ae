"""An application that does to a database whatever SQLite allows: writes, rolls back, vacuums, checkpoints in every mode, opens and closes.

    application.py DATABASE SEED

It goes on until its standard input ends. Then it prints a line of counts, and the microseconds that each TRUNCATE checkpoint
took. `hold` instead of a seed: takes the write lock for each line that it reads, says so, and lets go at the next.
"""

import random
import select
import sqlite3
import sys
import time


def connect(path):
    db = sqlite3.connect(path, timeout=5, isolation_level=None)
    db.execute("PRAGMA synchronous=OFF")
    return db


def hold(path):
    db = connect(path)
    for _ in sys.stdin:
        while True:
            try:
                db.execute("BEGIN IMMEDIATE")
                break
            except sqlite3.OperationalError:
                pass
        print("locked", flush=True)
        if not sys.stdin.readline():
            break
        db.execute("ROLLBACK")
        print("released", flush=True)


def insert(db, pick):
    db.execute("INSERT INTO t(x, y) VALUES(?, ?)", (pick.randbytes(pick.choice([10, 100, 900, 9000])), pick.randrange(1000)))


def update(db, pick):
    db.execute("UPDATE t SET x=? WHERE y=?", (pick.randbytes(pick.randrange(500)), pick.randrange(1000)))


def delete(db, pick):
    db.execute("DELETE FROM t WHERE y BETWEEN ?1 AND ?1+30", (pick.randrange(1000),))


def several(db, pick):
    db.execute("BEGIN IMMEDIATE")
    for _ in range(pick.randrange(1, 40)):
        pick.choice([insert, update, delete])(db, pick)
    db.execute(pick.choice(["COMMIT", "COMMIT", "ROLLBACK"]))


def savepoints(db, pick):
    db.execute("BEGIN IMMEDIATE")
    insert(db, pick)
    db.execute("SAVEPOINT s")
    insert(db, pick)
    db.execute("ROLLBACK TO s")
    db.execute("COMMIT")


def spill(db, pick):
    """More than the cache holds, so that frames reach the WAL before their commit, or their rollback."""
    db.execute("PRAGMA cache_size=10")
    db.execute("BEGIN IMMEDIATE")
    for _ in range(200):
        insert(db, pick)
    db.execute(pick.choice(["COMMIT", "ROLLBACK"]))


def come_and_go(db, pick):
    """Pages that are added and freed in one transaction are never written."""
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO t(x, y) VALUES(zeroblob(60000), -1)")
    db.execute("DELETE FROM t WHERE y=-1")
    db.execute("COMMIT")


def vacuum(db, pick):
    db.execute("PRAGMA auto_vacuum=%d" % pick.randrange(3))
    db.execute("VACUUM")


def shrink(db, pick):
    db.execute("DELETE FROM t WHERE id % 3 = 0")
    db.execute("PRAGMA incremental_vacuum(%d)" % pick.randrange(1, 50)).fetchall()


def table(db, pick):
    db.execute("CREATE TABLE IF NOT EXISTS u%d AS SELECT * FROM t LIMIT 20" % pick.randrange(5))
    db.execute("DROP TABLE IF EXISTS u%d" % pick.randrange(5))


def main():
    path, seed = sys.argv[1:]
    if seed == "hold":
        return hold(path)
    pick = random.Random(int(seed))
    work = [insert] * 30 + [update] * 20 + [delete] * 6 + [several] * 20 + [savepoints] * 3 + [spill] * 2
    work += [come_and_go] * 3 + [vacuum] + [shrink] * 2 + [table] * 2
    modes = ["PASSIVE", "FULL", "RESTART", "TRUNCATE"]
    db = connect(path)
    truncates, done, busy = [], 0, 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        try:
            kind = pick.random()
            if kind < 0.90:
                pick.choice(work)(db, pick)
            elif kind < 0.97:
                mode = pick.choice(modes)
                began = time.monotonic()
                db.execute("PRAGMA wal_checkpoint(%s)" % mode).fetchall()
                if mode == "TRUNCATE":
                    truncates.append(int((time.monotonic() - began) * 1e6))
            elif kind < 0.98:
                db.close()
                db = connect(path)
            else:
                time.sleep(pick.choice([0.001, 0.01, 0.06]))
            done += 1
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            busy += 1
            if db.in_transaction:
                db.execute("ROLLBACK")
        time.sleep(pick.choice([0, 0, 0, 0.001, 0.003]))
    db.close()
    print("done", done, "busy", busy)
    print("truncates", *truncates)


main()
