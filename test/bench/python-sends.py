"""What it costs to send the way the Python bridge does: a connection for every step, WAL, synchronous FULL.

One call looks the token up, writes the message and commits, writes the audit entry and commits: three connections, two
commits. There is no network, no signature and no redaction here, so this is the way at its quickest. A reader stays
connected, as in a fleet: else every close would checkpoint.

    python-sends.py DATABASE TEXT_LENGTH   each line on stdin is a count; answers one line of JSON: milliseconds, latencies
"""

import hmac
import json
import secrets
import sqlite3
import sys
import time
from contextlib import closing
from datetime import datetime, timedelta, timezone

SCHEMA = """
CREATE TABLE conversations (id TEXT PRIMARY KEY, session_a_role TEXT NOT NULL, session_b_role TEXT NOT NULL,
  session_a_token TEXT NOT NULL, session_b_token TEXT NOT NULL, created_at TEXT NOT NULL, expires_at TEXT NOT NULL);
CREATE TABLE messages (id INTEGER PRIMARY KEY AUTOINCREMENT, conversation_id TEXT NOT NULL, from_session TEXT NOT NULL,
  to_session TEXT NOT NULL, message TEXT NOT NULL, metadata TEXT, timestamp TEXT NOT NULL, read INTEGER DEFAULT 0);
CREATE TABLE audit_log (id INTEGER PRIMARY KEY AUTOINCREMENT, conversation_id TEXT, session_id TEXT,
  action TEXT NOT NULL, details TEXT, timestamp TEXT NOT NULL);
"""

PATH, LENGTH = sys.argv[1], int(sys.argv[2])
CONVERSATION, TOKEN = "conv_" + secrets.token_hex(8), secrets.token_hex(32)


def utc(ahead=0):
    return (datetime.now(timezone.utc) + timedelta(hours=ahead)).replace(tzinfo=None).isoformat()


def connect():
    db = sqlite3.connect(PATH, timeout=10)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    return closing(db)


def check_token(token):
    with connect() as db:
        known, ends = db.execute(
            "SELECT session_a_token, expires_at FROM conversations WHERE id = ?", (CONVERSATION,)
        ).fetchone()
    if utc() > ends or not hmac.compare_digest(known, token):
        raise PermissionError


def send(text):
    check_token(TOKEN)
    metadata = json.dumps({"action_type": "info", "files_involved": []})
    with connect() as db:
        db.execute(
            "INSERT INTO messages (conversation_id, from_session, to_session, message, metadata, timestamp)"
            " VALUES (?, 'a', 'b', ?, ?, ?)",
            (CONVERSATION, text, metadata, utc()),
        )
        db.commit()
    with connect() as db:
        db.execute(
            "INSERT INTO audit_log (conversation_id, session_id, action, details, timestamp) VALUES (?, 'a', ?, ?, ?)",
            (CONVERSATION, "send_message", json.dumps({"to": "b", "message_length": len(text)}), utc()),
        )
        db.commit()


with connect() as reader:
    reader.executescript(SCHEMA)
    reader.execute(
        "INSERT INTO conversations VALUES (?, 'orchestrator', 'worker', ?, ?, ?, ?)",
        (CONVERSATION, TOKEN, secrets.token_hex(32), utc(), utc(3)),
    )
    reader.commit()
    reader.execute("SELECT count(*) FROM messages").fetchone()
    print("ready", flush=True)
    for line in sys.stdin:
        latencies = []
        start = time.perf_counter()
        for _ in range(int(line)):
            text = secrets.token_urlsafe(LENGTH)[:LENGTH]
            before = time.perf_counter()
            send(text)
            latencies.append((time.perf_counter() - before) * 1000)
        print(json.dumps([(time.perf_counter() - start) * 1000, latencies]), flush=True)
