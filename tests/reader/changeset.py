#!/usr/bin/env python3
"""changeset.py apply|revert DATABASE CHANGESET

Applies a changeset to a database, or takes it back, with SQLite's own session extension. Triggers
are dropped first: they would write rows that the changeset has already. The first conflict ends it.
"""

import pathlib
import sys

import apsw


def main() -> None:
    deed, path, changeset = sys.argv[1:]
    changes = pathlib.Path(changeset).read_bytes()
    if deed == "revert":
        changes = apsw.Changeset.invert(changes)
    database = apsw.Connection(path)
    triggers = database.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall()
    for (name,) in triggers:
        database.execute('DROP TRIGGER "{}"'.format(name.replace('"', '""')))

    def conflict(reason: int, change: apsw.TableChange) -> int:
        print(f"conflict {apsw.mapping_session_conflict[reason]}: {change}", file=sys.stderr)
        return apsw.SQLITE_CHANGESET_ABORT

    apsw.Changeset.apply(changes, database, conflict=conflict)
    for change in apsw.Changeset.iter(changes):
        print(change.op, change.name)
    database.close()


main()
