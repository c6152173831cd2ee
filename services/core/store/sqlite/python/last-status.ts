import type { LastStatus } from '#fleet/said-status.ts'
import { conversationOf, type SessionId, sideOf } from '#fleet/session-id.ts'
import type { SqliteConnection } from '../file/connection.ts'
import { fromPythonTime } from './python-format.ts'

/** Characters of a status that are looked at: a foreign writer may have written any. */
const STATUS_MAX = 100
const SELECT = 'SELECT status, last_heartbeat FROM session_status WHERE conversation_id = ? AND session_id = ?'

/** What stands in the Python bridge's table of one session; null where nothing does, or nothing that can be read. */
export function lastStatusIn(connection: Pick<SqliteConnection, 'get'>, session: SessionId): LastStatus | null {
  const row = connection.get<Record<'status' | 'last_heartbeat', unknown>>(
    SELECT,
    conversationOf(session),
    sideOf(session),
  )
  const heardAt = fromPythonTime(row?.last_heartbeat)
  if (typeof row?.status !== 'string' || heardAt === null) return null
  return { status: row.status.slice(0, STATUS_MAX), heardAt }
}
