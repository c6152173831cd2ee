import type { SessionId } from '#fleet/session-id.ts'
import { RetryLoop, type RetryLoopParts } from '#runtime/retry-loop.ts'
import { bridgeId } from '#spool/inbox.ts'
import type { GivenUpMessage, InboxLeases, MessageInHand } from '#spool/inbox-leases.ts'
import type { Store } from '#store/store.ts'
import { unlessOver } from './error-class.ts'

export interface LeaseReporterParts extends Omit<RetryLoopParts, 'step'> {
  readonly leases: Pick<InboxLeases, 'release' | 'letGo'>
  /** The store that hears a session from this host; null while none does. */
  storeOf(session: SessionId): Pick<Store, 'noteLeases' | 'giveUpMessages'> | null
  /** The bridge knows that these were given up, and they have left the inbox. */
  onGivenUp(session: SessionId, ids: readonly number[]): void
}

const LOOK_MS = 10_000
/** Messages told of in one request. */
const TOLD_MAX = 500

/**
 * Takes messages of this host out of hands that will not ack them any more, and tells the bridge who has which, and what was given
 * up: their senders and people hear of it from there.
 */
export class LeaseReporter {
  readonly #parts: LeaseReporterParts
  readonly #loop: RetryLoop
  /** How often the bridge knows each message to have been handed out. */
  #told: ReadonlyMap<number, number> = new Map()

  constructor(parts: LeaseReporterParts) {
    this.#parts = parts
    this.#loop = new RetryLoop({ ...parts, step: () => this.#look() })
  }

  get done(): Promise<void> {
    return this.#loop.done
  }

  async #look(): Promise<number> {
    const { inHand, givenUp } = await this.#parts.leases.release()
    this.#told = new Map(inHand.flatMap(({ id }) => this.#entry(id)))
    const news = inHand.filter(({ id, lease }) => this.#told.get(id) !== lease.times).slice(0, TOLD_MAX)
    for (const [session, some] of Map.groupBy(news, ({ to }) => to)) await this.#note(session, some)
    const dead = givenUp.slice(0, TOLD_MAX)
    for (const [session, some] of Map.groupBy(dead, ({ to }) => to)) await this.#giveUp(session, some)
    return LOOK_MS
  }

  #entry(id: number): [number, number][] {
    const times = this.#told.get(id)
    return times === undefined ? [] : [[id, times]]
  }

  async #note(session: SessionId, messages: readonly MessageInHand[]): Promise<void> {
    const store = this.#parts.storeOf(session)
    if (store === null) return
    const notes = messages.map(({ id, lease: { by, at, times } }) => ({ id: bridgeId(id), by, at, times }))
    await unlessOver(store.noteLeases(session, notes))
    this.#told = new Map([...this.#told, ...messages.map(({ id, lease }) => [id, lease.times] as const)])
  }

  async #giveUp(session: SessionId, messages: readonly GivenUpMessage[]): Promise<void> {
    const { storeOf, leases, onGivenUp } = this.#parts
    const store = storeOf(session)
    if (store === null) return
    for (const [why, some] of Map.groupBy(messages, (message) => message.why)) {
      const ids = some.map(({ id }) => id)
      await unlessOver(store.giveUpMessages(session, ids.map(bridgeId), why))
      await leases.letGo(ids)
      onGivenUp(session, ids)
    }
  }
}
