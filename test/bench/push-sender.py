"""A foreign writer in the push bench: Python's sqlite3, WAL, FULL. Manners:

lasting  one connection for all messages
call     a connection for each message, and four commits through it: the message, the status, and two of the audit
bridge   as the Python bridge itself does it: three connections a message, to look, to write it, and to write the audit

Takes {"count", "gapMs"} a line, or "everyMs" instead of a gap, and answers [[id, monotonic ns when COMMIT had returned, ns
that COMMIT took], ...] a line. The clock is the one of process.hrtime in Node.
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


def utc():
    return datetime.now(timezone.utc).replace(tzinfo=None).isoformat()


def look(db):
    db.execute("SELECT * FROM conversations WHERE id = ?", (CONVERSATION,)).fetchone()


def send(db):
    cursor = db.execute(
        "INSERT INTO messages (conversation_id, from_session, to_session, message, metadata, timestamp)"
        " VALUES (?, 'b', 'a', ?, '{}', ?)",
        (CONVERSATION, TEXT, utc()),
    )
    began = time.monotonic_ns()
    db.commit()
    ended = time.monotonic_ns()
    return [cursor.lastrowid, str(ended), ended - began]


def note_status(db):
    db.execute("INSERT OR REPLACE INTO session_status VALUES (?, 'b', 'working', ?)", (CONVERSATION, utc()))
    db.commit()


def audit(db, action):
    db.execute(
        "INSERT INTO audit_log (conversation_id, session_id, action, details, timestamp) VALUES (?, 'b', ?, '{}', ?)",
        (CONVERSATION, action, utc()),
    )
    db.commit()


def through_connection(act):
    db = connect()
    answer = act(db)
    db.close()
    return answer


def call(db):
    look(db)
    sent = send(db)
    note_status(db)
    audit(db, "send")
    audit(db, "rate")
    return sent


def message():
    if MANNER == "call":
        return through_connection(call)
    if MANNER == "bridge":
        through_connection(look)
        sent = through_connection(send)
        through_connection(lambda db: audit(db, "send"))
        return sent
    return send(lasting)


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
if MANNER != "lasting":
    lasting.close()
say("ready")
for line in sys.stdin:
    order = json.loads(line)
    commits = []
    due = time.monotonic()
    for _ in range(order["count"]):
        due += order.get("everyMs", 0) / 1000
        gap = order["gapMs"] / 1000 * (0.5 + random.random()) if "gapMs" in order else due - time.monotonic()
        time.sleep(max(0, gap))
        commits.append(message())
    say(commits)
