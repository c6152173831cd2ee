import type { ClientSession } from '#agents/client-session.ts'
import { isClientAlive } from '#agents/wake/client-environment.ts'
import type { SessionId } from '#fleet/session-id.ts'

/** Which sessions of clients stand for a target. */
export interface SessionChoice {
  covers(session: SessionId): boolean
  /** Whether a session that names no session of the fleet is meant: where one agent alone works on this host. */
  readonly takesUnnamed: boolean
}

/** The session of a client to wake for a target: rather living than ended, rather idle than busy, heard of last; null: none. */
export function chooseSession(sessions: readonly ClientSession[], choice: SessionChoice): ClientSession | null {
  const meant = sessions.filter(({ session }) => (session === null ? choice.takesUnnamed : choice.covers(session)))
  return meant.toSorted((one, other) => rank(one) - rank(other) || other.heardAt - one.heardAt)[0] ?? null
}

function rank(session: ClientSession): number {
  const { state } = session.activity
  if (hasClientEnded(session)) return 3
  return state === 'idle' ? 0 : state === 'working' || state === 'overloaded' ? 1 : 2
}

/** Whether the process behind a session has ended, as it is seen here or was told. */
export function hasClientEnded(session: ClientSession): boolean {
  return session.process === null ? session.activity.state === 'gone' : !isClientAlive(session)
}
