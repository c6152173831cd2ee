import { advances, type Delivery, type Mark, type StoredMessage } from '#fleet/message.ts'
import type { SessionId } from '#fleet/session.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import { type InboxFolder, LANE, type Placed } from '#spool/inbox.ts'
import { DirectoryChange } from './directory-change.ts'
import type { InboxPort } from './ports.ts'

/** What the host's inbox needs of a session that it has messages for. */
export interface AckReceiver {
  owe(id: number, mark: Mark): void
  reaffirm(id: number): void
}

export interface AckTrackerParts {
  readonly inbox: InboxPort
  readonly clock: Clock
  readonly log: Log
  /** Undefined while there is no credential for it. */
  reader(session: SessionId): AckReceiver | undefined
}

/** A message in the inbox, and how far the bridge has been told it has come. */
interface Held {
  readonly session: SessionId
  told: Delivery
  /** In how many whole looks in a row it was on no shelf. */
  absences: number
}

/** How often all shelves are looked through, whatever a glance says. */
const WHOLE_MS = 5_000
const TIDY_MS = 60_000
/** How often a message that somebody removes unread is brought again, before it is left until the next start. */
const AGAIN_MAX = 3

/** Reads off the inbox how far messages have come with the agent, and sees to it that the bridge is told. */
export class AckTracker {
  readonly #parts: AckTrackerParts
  readonly #held = new Map<number, Held>()
  readonly #glances: Readonly<Record<'cur' | 'done', DirectoryChange>>
  readonly #removals = new Map<number, number>()
  /** Those that were let go lately, by when: who put them once more just before may say so only after it. */
  readonly #letGo = new Map<number, number>()
  #wholeAt = Number.NEGATIVE_INFINITY
  #tidyAt = Number.NEGATIVE_INFINITY
  #isRecovered = false

  constructor(parts: AckTrackerParts) {
    this.#parts = parts
    const { inbox, clock } = parts
    const glance = (shelf: InboxFolder): DirectoryChange =>
      new DirectoryChange(clock, inbox.version && (() => inbox.version?.(shelf) ?? ''))
    this.#glances = { cur: glance('cur'), done: glance('done') }
  }

  /** Whether a message, by its id on the bridge, lies here for this session. */
  holds(session: SessionId, id: number): boolean {
    for (let place = id; ; place += LANE) {
      const held = this.#held.get(place)
      if (held === undefined) return false
      if (held.session === session) return true
    }
  }

  /** Messages have been brought in. */
  onBrought(session: SessionId, messages: readonly StoredMessage[], placed: readonly Placed[]): void {
    const reader = this.#parts.reader(session)
    for (const [index, { id, delivery }] of messages.entries()) {
      const place = placed[index]
      if (place === undefined) continue
      if (place.as === 'acked') {
        reader?.reaffirm(id)
        continue
      }
      if (place.as === 'known' && this.#letGo.has(place.id) && !this.#held.has(place.id)) continue
      const told = this.#held.get(place.id)?.told ?? delivery
      this.#held.set(place.id, { session, told, absences: 0 })
      if (advances(told, 'delivered')) reader?.owe(place.id, 'delivered')
    }
  }

  /** The bridge has kept these marks. */
  async onTold(ids: readonly number[], mark: Mark): Promise<void> {
    for (const id of ids) {
      const held = this.#held.get(id)
      if (held !== undefined && advances(held.told, mark)) held.told = mark
    }
    if (mark === 'acked') await this.#forget(ids)
  }

  async look(): Promise<void> {
    const { inbox, clock } = this.#parts
    await this.#keepTidy()
    const isWhole = clock.now() - this.#wholeAt >= WHOLE_MS
    // In the direction that messages move in, so that none slips by.
    const fresh = isWhole ? await inbox.list('new') : []
    const current = this.#glances.cur.mayHaveChanged() || isWhole ? await inbox.list('cur') : []
    const done = this.#glances.done.mayHaveChanged() || isWhole ? await inbox.list('done') : []
    if (isWhole) this.#wholeAt = clock.now()
    await this.#reckon(fresh, 'delivered')
    await this.#reckon(current, 'leased')
    await this.#reckon(done, 'acked')
    await this.#forget(done.filter((id) => this.#held.get(id)?.told === 'acked'))
    if (isWhole) this.#missMissing(new Set([...fresh, ...current, ...done]))
  }

  /** There is somebody who was not there at the last look: the next one is whole. */
  lookAtAll(): void {
    this.#wholeAt = Number.NEGATIVE_INFINITY
  }

  async #keepTidy(): Promise<void> {
    const { inbox, clock } = this.#parts
    if (!this.#isRecovered) await inbox.recover()
    this.#isRecovered = true
    if (clock.now() - this.#tidyAt < TIDY_MS) return
    for (const [id, at] of this.#letGo) if (at < this.#tidyAt) this.#letGo.delete(id)
    this.#tidyAt = clock.now()
    await inbox.tidy()
  }

  async #reckon(ids: readonly number[], mark: Mark): Promise<void> {
    for (const id of ids) {
      const held = this.#held.get(id) ?? (await this.#learn(id))
      if (held !== null && advances(held.told, mark)) this.#parts.reader(held.session)?.owe(id, mark)
    }
  }

  /** A message that a former life brought in. */
  async #learn(id: number): Promise<Held | null> {
    const message = await this.#parts.inbox.inspect(id)
    // Meanwhile it may have been brought once more: what is known from the bridge counts.
    const known = this.#held.get(id)
    if (message === null || known !== undefined) return known ?? null
    const held: Held = { session: message.to, told: 'queued', absences: 0 }
    this.#held.set(id, held)
    return held
  }

  async #forget(ids: readonly number[]): Promise<void> {
    if (ids.length === 0) return
    await this.#parts.inbox.forget(ids)
    for (const id of ids) {
      this.#held.delete(id)
      this.#removals.delete(id)
      this.#letGo.set(id, this.#parts.clock.now())
    }
  }

  /**
   * A message that lies nowhere though it was not acked has been removed by somebody. Only an ack ends it, so it counts as not
   * here, and is asked for again; but not for ever.
   */
  #missMissing(present: ReadonlySet<number>): void {
    for (const [id, held] of this.#held) {
      held.absences = present.has(id) || held.told === 'acked' ? 0 : held.absences + 1
      // One look may miss a message that is put back while it lasts.
      if (held.absences !== 2) continue
      const times = (this.#removals.get(id) ?? 0) + 1
      this.#removals.set(id, times)
      const comesAgain = times <= AGAIN_MAX
      if (comesAgain) this.#held.delete(id)
      const { session } = held
      this.#parts.log.warn('a message was removed from the inbox without being acked', { id, session, comesAgain })
    }
  }
}
