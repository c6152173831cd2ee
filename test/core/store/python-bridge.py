"""The Python bridge as DESIGN describes it, as far as the shared file goes: what it writes, and how it reads.

Started with the path of a database, it takes one JSON object a line ({"tool": ..., "arguments": {...}}) and answers one
JSON object a line. Every call opens a connection of its own, sets WAL, commits with synchronous FULL, and closes it.
"""

import hashlib
import hmac
import json
import secrets
import sqlite3
import sys
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone

TABLES = [
    "conversations(id TEXT PRIMARY KEY, session_a_role TEXT NOT NULL, session_b_role TEXT NOT NULL,"
    " session_a_token TEXT NOT NULL, session_b_token TEXT NOT NULL, created_at TEXT NOT NULL, expires_at TEXT NOT NULL)",
    "messages(id INTEGER PRIMARY KEY AUTOINCREMENT, conversation_id TEXT NOT NULL, from_session TEXT NOT NULL,"
    " to_session TEXT NOT NULL, message TEXT NOT NULL, metadata TEXT, timestamp TEXT NOT NULL, read INTEGER DEFAULT 0)",
    "session_status(conversation_id TEXT NOT NULL, session_id TEXT NOT NULL, status TEXT NOT NULL,"
    " last_heartbeat TEXT NOT NULL, PRIMARY KEY (conversation_id, session_id))",
    "audit_log(id INTEGER PRIMARY KEY AUTOINCREMENT, conversation_id TEXT, session_id TEXT, action TEXT NOT NULL,"
    " details TEXT, timestamp TEXT NOT NULL)",
]

KEY = secrets.token_bytes(32)


def now():
    return datetime.now(timezone.utc).replace(tzinfo=None)


def partner_of(session):
    return "b" if session == "a" else "a"


class Bridge:
    def __init__(self, path):
        self.path = path
        with self.connection() as db:
            for table in TABLES:
                db.execute("CREATE TABLE IF NOT EXISTS " + table)
            db.commit()

    @contextmanager
    def connection(self):
        db = sqlite3.connect(self.path, timeout=60)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            yield db
        finally:
            db.close()

    def log(self, conversation, session, action, details):
        with self.connection() as db:
            db.execute(
                "INSERT INTO audit_log (conversation_id, session_id, action, details, timestamp) VALUES (?, ?, ?, ?, ?)",
                (conversation, session, action, json.dumps(details), now().isoformat()),
            )
            db.commit()

    def verify(self, conversation, session, token):
        with self.connection() as db:
            row = db.execute(
                "SELECT session_a_token, session_b_token, expires_at FROM conversations WHERE id = ?", (conversation,)
            ).fetchone()
        if row is None or now() > datetime.fromisoformat(row[2]):
            raise PermissionError("no such conversation, or it has ended")
        if not hmac.compare_digest(row[0] if session == "a" else row[1], token):
            raise PermissionError("wrong token")

    def create_conversation(self, my_role, partner_role):
        conversation = "conv_" + secrets.token_hex(8)
        made = now()
        ends = made + timedelta(hours=3)
        tokens = [
            hmac.new(KEY, f"{conversation}:{side}:{made.isoformat()}".encode(), hashlib.sha256).hexdigest()
            for side in "ab"
        ]
        with self.connection() as db:
            db.execute(
                "INSERT INTO conversations VALUES (?, ?, ?, ?, ?, ?, ?)",
                (conversation, my_role, partner_role, *tokens, made.isoformat(), ends.isoformat()),
            )
            db.commit()
        self.log(conversation, None, "create_conversation", {"roles": [my_role, partner_role]})
        return {"conversation_id": conversation, "a": tokens[0], "b": tokens[1], "expires_at": ends.isoformat()}

    def send_to_partner(self, conversation_id, session_id, token, message, action_type="info", files_involved=()):
        self.verify(conversation_id, session_id, token)
        metadata = {"action_type": action_type, "files_involved": list(files_involved)}
        with self.connection() as db:
            made = db.execute(
                "INSERT INTO messages (conversation_id, from_session, to_session, message, metadata, timestamp)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (
                    conversation_id,
                    session_id,
                    partner_of(session_id),
                    message,
                    json.dumps(metadata),
                    now().isoformat(),
                ),
            )
            db.commit()
        self.log(conversation_id, session_id, "send_message", {"message_length": len(message)})
        return {"id": made.lastrowid}

    def check_messages(self, conversation_id, session_id, token):
        self.verify(conversation_id, session_id, token)
        with self.connection() as db:
            db.execute("BEGIN IMMEDIATE")
            rows = db.execute(
                "SELECT id, from_session, message, metadata, timestamp FROM messages"
                " WHERE conversation_id = ? AND to_session = ? AND read = 0 ORDER BY timestamp",
                (conversation_id, session_id),
            ).fetchall()
            db.executemany("UPDATE messages SET read = 1 WHERE id = ?", [(row[0],) for row in rows])
            db.commit()
        messages = []
        for id, sender, message, metadata, timestamp in rows:
            about = json.loads(metadata) if metadata else {}
            datetime.fromisoformat(timestamp)
            messages.append(
                {
                    "id": id,
                    "from": sender,
                    "message": message,
                    "action_type": about.get("action_type"),
                    "files": ", ".join(about.get("files_involved") or []),
                }
            )
        self.log(conversation_id, session_id, "get_messages", {"count": len(rows)})
        return {"messages": messages}

    def update_my_status(self, conversation_id, session_id, token, status):
        self.verify(conversation_id, session_id, token)
        with self.connection() as db:
            db.execute(
                "INSERT OR REPLACE INTO session_status VALUES (?, ?, ?, ?)",
                (conversation_id, session_id, status, now().isoformat()),
            )
            db.commit()
        return {}

    def check_partner_status(self, conversation_id, session_id, token):
        self.verify(conversation_id, session_id, token)
        with self.connection() as db:
            row = db.execute(
                "SELECT status, last_heartbeat FROM session_status WHERE conversation_id = ? AND session_id = ?",
                (conversation_id, partner_of(session_id)),
            ).fetchone()
        if row is None:
            return {"status": "unknown", "alive": False}
        age = (now() - datetime.fromisoformat(row[1])).total_seconds()
        return {"status": row[0], "alive": age < 120, "age": age}


def main():
    bridge = Bridge(sys.argv[1])
    print(json.dumps({"ready": sqlite3.sqlite_version}), flush=True)
    for line in sys.stdin:
        call = json.loads(line)
        try:
            answer = getattr(bridge, call["tool"])(**call["arguments"])
        except Exception as error:  # the caller judges what may fail
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


main()
