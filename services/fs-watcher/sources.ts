import type { Message } from '#fleet/message.ts'
import { type SessionId, sideOf } from '#fleet/session.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import { Loop } from '#runtime/loop.ts'
import { watchFolder } from '#runtime/watch.ts'
import type { Inbox } from '#spool/inbox.ts'
import type { Store } from '#store/store.ts'
import type { Woken } from './woken.ts'

export interface SourceParts {
  readonly clock: Clock
  readonly log: Log
  readonly signal: AbortSignal
  /** Messages that are unread and that nobody was woken for. */
  onMessage(message: Message): void
  /** A look was finished: the source works. */
  onLook(): void
  /** Why it does not, or null. */
  onTrouble(why: string | null): void
}

/** Names that a conversation gives its agents may be new: so often they are read again for a session that is not known. */
const NAMES_EVERY_MS = 5_000

/**
 * Watches the message database: every message that S2's bridge, the Python bridge or anybody else commits there. It reads
 * and never writes. Settles when the signal aborts.
 */
export async function watchDatabase(
  store: Pick<Store, 'traffic' | 'conversations'>,
  woken: Woken,
  waiting: { readonly oldest: number },
  wakeFor: readonly string[],
  parts: SourceParts,
): Promise<void> {
  const names = new Names(store, parts.clock)
  for await (const batch of store.traffic(woken.floor, parts.signal)) {
    for (const message of batch) {
      if (message.delivery === 'acked' || woken.has(message.id)) continue
      if (await isWanted(message.to, wakeFor, names)) parts.onMessage(message)
    }
    await woken.raise(Math.min(batch.at(-1)?.id ?? 0, waiting.oldest - 1))
    parts.onLook()
  }
}

async function isWanted(session: SessionId, wakeFor: readonly string[], names: Names): Promise<boolean> {
  if (wakeFor.length === 0) return sideOf(session) === 'a'
  if (wakeFor.includes(session)) return true
  const agent = await names.agentOf(session)
  return agent !== undefined && wakeFor.includes(agent)
}

/** Which agent is behind a session, as the conversations say. */
class Names {
  readonly #store: Pick<Store, 'conversations'>
  readonly #clock: Clock
  #agents = new Map<SessionId, string>()
  #readAt = Number.NEGATIVE_INFINITY

  constructor(store: Pick<Store, 'conversations'>, clock: Clock) {
    this.#store = store
    this.#clock = clock
  }

  async agentOf(session: SessionId): Promise<string | undefined> {
    if (!this.#agents.has(session) && this.#readAt + NAMES_EVERY_MS <= this.#clock.now()) {
      this.#readAt = this.#clock.now()
      const conversations = await this.#store.conversations()
      this.#agents = new Map(
        conversations.flatMap(({ id, agents }) => [[`${id}/a`, agents.a] as const, [`${id}/b`, agents.b] as const]),
      )
    }
    return this.#agents.get(session)
  }
}

/** Watches the inbox of this host: each file that comes into `new`. Moves and writes nothing there. */
export async function watchInbox(
  inbox: Pick<Inbox, 'folder' | 'list' | 'read'>,
  woken: Woken,
  pollMs: number,
  parts: SourceParts,
): Promise<void> {
  const heard = new Set<number>()
  const step = async (): Promise<number> => {
    const ids = await inbox.list('new')
    const there = new Set(ids)
    woken.retain(there)
    for (const id of heard) if (!there.has(id)) heard.delete(id)
    for (const id of ids) {
      if (heard.has(id) || woken.has(id)) continue
      heard.add(id)
      const message = await inbox.read(id)
      if (message !== null) parts.onMessage(message)
    }
    parts.onTrouble(null)
    parts.onLook()
    return pollMs
  }
  let told = ''
  const onError = (error: unknown): number => {
    const why = error instanceof Error ? error.message : String(error)
    if (why !== told) parts.log.warn('the inbox cannot be looked at', { error })
    told = why
    parts.onTrouble(why)
    return Math.max(pollMs, 1_000)
  }
  const loop = new Loop({ clock: parts.clock, signal: parts.signal, step, onError })
  using _watch = watchFolder(inbox.folder('new'), { onEvents: () => loop.nudge(), onDoubt: () => loop.nudge() }, parts)
  await loop.done
}
