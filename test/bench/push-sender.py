"""A foreign writer in the push bench: Python's sqlite3, WAL, FULL; one connection for all, or one for each call.

Takes {"count", "gapMs"} a line, answers [[id, monotonic ns when COMMIT had returned], ...] a line. The clock is the one
of process.hrtime in Node.
"""

import json
import random
import sqlite3
import sys
import time
from datetime import datetime, timezone

PATH, MANNER = sys.argv[1:3]
CONVERSATION = "conv_00000000000000be"
TEXT = "x" * 200
TABLES = """
CREATE TABLE IF NOT EXISTS conversations(id TEXT PRIMARY KEY, session_a_role TEXT NOT NULL, session_b_role TEXT NOT NULL,
  session_a_token TEXT NOT NULL, session_b_token TEXT NOT NULL, created_at TEXT NOT NULL, expires_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS messages(id INTEGER PRIMARY KEY AUTOINCREMENT, conversation_id TEXT NOT NULL,
  from_session TEXT NOT NULL, to_session TEXT NOT NULL, message TEXT NOT NULL, metadata TEXT, timestamp TEXT NOT NULL,
  read INTEGER DEFAULT 0);
CREATE TABLE IF NOT EXISTS session_status(conversation_id TEXT NOT NULL, session_id TEXT NOT NULL, status TEXT NOT NULL,
  last_heartbeat TEXT NOT NULL, PRIMARY KEY (conversation_id, session_id));
CREATE TABLE IF NOT EXISTS audit_log(id INTEGER PRIMARY KEY AUTOINCREMENT, conversation_id TEXT, session_id TEXT,
  action TEXT NOT NULL, details TEXT, timestamp TEXT NOT NULL);
"""


def connect():
    db = sqlite3.connect(PATH, timeout=10)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    return db


def send(db):
    cursor = db.execute(
        "INSERT INTO messages (conversation_id, from_session, to_session, message, metadata, timestamp)"
        " VALUES (?, 'b', 'a', ?, '{}', ?)",
        (CONVERSATION, TEXT, datetime.now(timezone.utc).replace(tzinfo=None).isoformat()),
    )
    db.commit()
    return [cursor.lastrowid, str(time.monotonic_ns())]


def say(what):
    print(json.dumps(what), flush=True)


lasting = connect()
lasting.executescript(TABLES)
lasting.execute(
    "INSERT OR IGNORE INTO conversations VALUES (?, 'orchestrator', 'tests', '', '', '2020-01-01T00:00:00.000000',"
    " '2099-01-01T00:00:00.000000')",
    (CONVERSATION,),
)
lasting.commit()
if MANNER == "call":
    lasting.close()
say("ready")
for line in sys.stdin:
    order = json.loads(line)
    commits = []
    for _ in range(order["count"]):
        time.sleep(random.random() * 2 * order["gapMs"] / 1000)
        if MANNER == "call":
            own = connect()
            commits.append(send(own))
            own.close()
        else:
            commits.append(send(lasting))
    say(commits)
