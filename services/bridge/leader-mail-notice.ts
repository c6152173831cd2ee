import { LEADER_MAIL_FRESH_MS, LEADER_MAIL_MAX, publishLeaderMail, wantsLeaderMail } from '#agents/leader-mail.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { ledSessions, servedHere } from '#member/led-sessions.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Store } from '#store/store.ts'

export interface LeaderMailParts {
  readonly state: string
  readonly clock: Pick<Clock, 'now' | 'wall'>
  readonly store: Pick<Store, 'conversations' | 'newest' | 'waiting' | 'pulses' | 'lastStatus'>
  /** A word that no other draft in the folder has. */
  unique(): string
}

const LOOK_MS = 250
/** The same where nobody reads it. */
const ASLEEP_MS = 5_000
/** However many conversations there are, looking takes no more than this part of the time. */
const BUSY_PART = 20
/** Conversations end, and messages are marked as unread again: so often all are looked at. */
const ALL_MS = 60_000

/**
 * Keeps in the state folder what waits for the orchestrator on this host, which has no inbox here: its hooks tell of it, and must
 * not wait for a database.
 */
export class LeaderMailNotice {
  readonly #parts: LeaderMailParts
  #newest = -1
  #lookedAtAll = Number.NEGATIVE_INFINITY
  /** The sessions that had mail at the last look. */
  #sessions: readonly SessionId[] = []
  #published: { readonly ids: string; readonly at: number } = { ids: '[]', at: 0 }

  constructor(parts: LeaderMailParts) {
    this.#parts = parts
  }

  /** Answers milliseconds until it is wanted again. Throws what the store or the disk says. */
  async look(): Promise<number> {
    const { state, clock } = this.#parts
    if (!wantsLeaderMail(state)) return ASLEEP_MS
    const began = clock.now()
    this.#publish(await this.#ids())
    return Math.max(LOOK_MS, (clock.now() - began) * BUSY_PART)
  }

  async #ids(): Promise<number[]> {
    const { store, clock } = this.#parts
    const newest = await store.newest()
    const isAll = newest !== this.#newest || clock.now() - this.#lookedAtAll > ALL_MS
    const found = await this.#waiting(isAll ? await ledSessions(store) : this.#sessions)
    if (isAll) {
      const here = await servedHere([...found.keys()], store, clock)
      for (const each of found.keys()) if (!here.includes(each)) found.delete(each)
      this.#newest = newest
      this.#lookedAtAll = clock.now()
    }
    this.#sessions = [...found.keys()]
    const ids = [...found.values()].flat()
    return ids.sort((one, other) => one - other).slice(0, LEADER_MAIL_MAX)
  }

  /** What nobody has in hand, by the sessions that have such mail. */
  async #waiting(sessions: readonly SessionId[]): Promise<Map<SessionId, number[]>> {
    const found = new Map<SessionId, number[]>()
    for (const session of sessions) {
      const waiting = await this.#parts.store.waiting(session, 0, LEADER_MAIL_MAX)
      const ids = waiting.filter(({ delivery }) => delivery === 'queued').map(({ id }) => id)
      if (ids.length > 0) found.set(session, ids)
    }
    return found
  }

  #publish(found: readonly number[]): void {
    const { state, clock, unique } = this.#parts
    const ids = JSON.stringify(found)
    const isFresh = found.length === 0 || clock.now() - this.#published.at < LEADER_MAIL_FRESH_MS
    if (ids === this.#published.ids && isFresh) return
    publishLeaderMail(state, { at: clock.wall(), ids: found }, unique())
    this.#published = { ids, at: clock.now() }
  }
}
