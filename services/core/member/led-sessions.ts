import { FOREIGN_INCARNATION } from '#fleet/beat.ts'
import type { Conversation } from '#fleet/conversation.ts'
import { ALIVE_MS } from '#fleet/said-status.ts'
import { isObserver, type SessionId, sessionId } from '#fleet/session-id.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Store } from '#store/store.ts'

/** The orchestrator's ends of the conversations that a bridge keeps, those among them that another host serves. */
export async function ledSessions(store: Pick<Store, 'conversations'>): Promise<SessionId[]> {
  return (await store.conversations()).filter(isLed).map(({ id }) => sessionId(id, 'a'))
}

/** An orchestrator that another bridge made has no name, and reads its mail by that bridge. */
function isLed({ id, agents }: Conversation): boolean {
  return !isObserver(id) && agents.a !== sessionId(id, 'a')
}

/** Those for which no keepalive of another host beats, which would bring their mail there. */
export async function servedHere(
  sessions: readonly SessionId[],
  store: Pick<Store, 'pulses' | 'lastStatus'>,
  clock: Pick<Clock, 'wall'>,
): Promise<SessionId[]> {
  if (sessions.length === 0) return []
  const { pulses } = await store.pulses(0)
  const beaten = new Set(
    pulses.filter(({ incarnation }) => incarnation !== FOREIGN_INCARNATION).map((pulse) => pulse.session),
  )
  const elsewhere = new Set<SessionId>()
  for (const each of sessions.filter((session) => beaten.has(session))) {
    const last = await store.lastStatus(each)
    if (last !== null && clock.wall() - last.heardAt < ALIVE_MS) elsewhere.add(each)
  }
  return sessions.filter((each) => !elsewhere.has(each))
}
