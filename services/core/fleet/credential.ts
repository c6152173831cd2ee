import type { SessionId } from './session.ts'

/** What lets a session speak. */
export interface Credential {
  readonly session: SessionId
  readonly token: string
  /** The agent's name, e.g. `s2-worker-3`. */
  readonly agent: string
  readonly role: string
  readonly bridgeUrl: string
  /** Milliseconds since 1970. */
  readonly createdAt: number
  readonly expiresAt: number
}
