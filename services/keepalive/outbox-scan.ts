import type { SessionId } from '#fleet/session-id.ts'
import type { Clock } from '#runtime/clock.ts'
import { speakerOf } from '#spool/outbox.ts'
import { FolderChangeCheck } from './folder-change-check.ts'
import type { OutboxPort } from './spool-interfaces.ts'

type ScannedOutbox = Pick<OutboxPort, 'version' | 'names' | 'read' | 'tidy'>

const TIDY_MS = 60_000

/** Reads the names in the host's outbox, and sorts them by the sessions whose items they are. */
export class OutboxScan {
  readonly #outbox: ScannedOutbox
  readonly #clock: Clock
  readonly #change: FolderChangeCheck
  /** The session of each item that waits, by the item's name. */
  #senders: ReadonlyMap<string, SessionId> = new Map()
  #tidyAt = Number.NEGATIVE_INFINITY

  constructor(outbox: ScannedOutbox, clock: Clock) {
    this.#outbox = outbox
    this.#clock = clock
    this.#change = new FolderChangeCheck(clock, outbox.version && (() => outbox.version?.() ?? ''))
  }

  /** How many items waited when the outbox was read last. */
  get size(): number {
    return this.#senders.size
  }

  /** The names that wait for each session, in order; null where the outbox has not changed since it was read last. */
  async scan(): Promise<ReadonlyMap<SessionId, readonly string[]> | null> {
    await this.#keepTidy()
    if (!this.#change.mayHaveChanged()) return null
    try {
      return await this.#read()
    } catch (error) {
      this.#change.reset()
      throw error
    }
  }

  /** Makes the next scan read the outbox, changed or not. */
  reset(): void {
    this.#change.reset()
  }

  async #read(): Promise<ReadonlyMap<SessionId, readonly string[]>> {
    const senders = new Map<string, SessionId>()
    const waiting = new Map<SessionId, string[]>()
    for (const name of await this.#outbox.names()) {
      const sender = this.#senders.get(name) ?? (await this.#senderOf(name))
      if (sender === null) continue
      senders.set(name, sender)
      const names = waiting.get(sender)
      if (names === undefined) waiting.set(sender, [name])
      else names.push(name)
    }
    this.#senders = senders
    return waiting
  }

  /** What cannot be tidied now is left for the next minute: it holds nothing up meanwhile. */
  async #keepTidy(): Promise<void> {
    if (this.#clock.now() - this.#tidyAt < TIDY_MS) return
    this.#tidyAt = this.#clock.now()
    await this.#outbox.tidy(this.#clock.wall())
  }

  async #senderOf(name: string): Promise<SessionId | null> {
    const item = await this.#outbox.read(name)
    return item === null ? null : speakerOf(item)
  }
}
