"""What the protocol's pipeline starts for each event: take the unread messages, print them, mark them read."""

import sqlite3
import sys
import time

db = sqlite3.connect(sys.argv[1], timeout=10)
db.execute("PRAGMA journal_mode=WAL")
rows = db.execute("SELECT id FROM messages WHERE to_session = 'a' AND read = 0 ORDER BY id").fetchall()
now = time.monotonic_ns()
for (row,) in rows:
    print(row, now, flush=True)
    db.execute("UPDATE messages SET read = 1 WHERE id = ?", (row,))
db.commit()
db.close()
