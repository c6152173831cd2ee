import { parseSession, type SessionId } from '#fleet/session-id.ts'

const TEXT_MAX = 100

/** A session of the fleet; null for anything that is none. */
export function sessionIn(value: unknown): SessionId | null {
  try {
    if (typeof value !== 'string' || value.length > TEXT_MAX) return null
    parseSession(value)
    return value as SessionId
  } catch {
    return null
  }
}
