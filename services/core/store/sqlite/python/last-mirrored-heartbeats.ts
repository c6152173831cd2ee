import type { SessionId } from '#fleet/session-id.ts'
import type { LivenessFile } from '../liveness/liveness-file.ts'

/** What stands in the Python bridge's table for one session, and how many times a foreign writer has changed it. */
export interface PythonHeartbeat {
  readonly text: string
  readonly seq: number
}

/** What was last read from, or written into, the Python bridge's table of heartbeats. */
export async function readHeartbeats(file: LivenessFile): Promise<Map<SessionId, PythonHeartbeat>> {
  const rows = await file.read((connection) =>
    connection.all<PythonHeartbeat & { session: SessionId }>('SELECT session, text, seq FROM heartbeats'),
  )
  return new Map(rows?.map(({ session, text, seq }) => [session, { text, seq }]))
}

export async function noteHeartbeats(
  file: LivenessFile,
  heartbeats: ReadonlyMap<SessionId, PythonHeartbeat>,
): Promise<void> {
  await file.write((connection) => {
    for (const [session, { text, seq }] of heartbeats) {
      connection.run('INSERT OR REPLACE INTO heartbeats (session, text, seq) VALUES (?, ?, ?)', session, text, seq)
    }
  })
}
