import { isSessionId, type SessionId } from '#fleet/session-id.ts'

/** A session of the fleet; null for anything that is none. */
export function sessionIn(value: unknown): SessionId | null {
  return typeof value === 'string' && isSessionId(value) ? value : null
}
