import { FOREIGN_INCARNATION } from '#fleet/beat.ts'
import type { SessionId } from '#fleet/session-id.ts'
import type { LivenessFile } from '../liveness/liveness-file.ts'

/**
 * What stands in the Python bridge's table for one session, and how often foreign writers did something there and in
 * messages. Null where nothing stands there, or nothing that can be read.
 */
export interface PythonHeartbeat {
  readonly text: string | null
  readonly status: string | null
  readonly seq: number
  /** How often that was more than a heartbeat. */
  readonly work: number
}

/** What was last read from, or written into, the Python bridge's table; the counts are those of the last beats made of them. */
export async function readHeartbeats(file: LivenessFile): Promise<Map<SessionId, PythonHeartbeat>> {
  const rows = await file.read((connection) =>
    connection.all<PythonHeartbeat & { session: SessionId }>(
      `SELECT session, text, status, coalesce(seq, 0) AS seq, coalesce(work, 0) AS work
        FROM heartbeats FULL JOIN (SELECT session, seq, work FROM beats WHERE incarnation = ?) USING (session)`,
      FOREIGN_INCARNATION,
    ),
  )
  return new Map(rows?.map(({ session, ...heartbeat }) => [session, heartbeat]))
}

/** Notes what stands in the table. */
export async function noteHeartbeats(
  file: LivenessFile,
  heartbeats: ReadonlyMap<SessionId, PythonHeartbeat>,
): Promise<void> {
  await file.write((connection) => {
    for (const [session, { text, status }] of heartbeats) {
      connection.run(
        'INSERT OR REPLACE INTO heartbeats (session, text, status) VALUES (?, ?, ?)',
        session,
        text,
        status,
      )
    }
  })
}
