import { advances, type Delivery, type Mark, type StoredMessage } from '#fleet/message.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { readAssignmentNews } from '#fleet/task-messages.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import { bridgeId, type Placed } from '#spool/inbox.ts'
import type { AckSender } from './ack-sender.ts'
import type { FoundMessages, ScannedInbox } from './inbox-scan.ts'
import type { InboxPort } from './spool-interfaces.ts'

export interface AckTrackerParts {
  readonly session: SessionId
  readonly inbox: Pick<InboxPort, 'forget'>
  readonly clock: Clock
  readonly log: Pick<Log, 'warn'>
  readonly acks: Pick<AckSender, 'queue' | 'repeatAck'>
}

/** A message in the inbox. */
interface TrackedMessage {
  /** How far the bridge knows it to have come. */
  confirmed: Delivery
  /** It gives a task or takes one away: the worker's own program reads these, whatever the agent does. */
  readonly isTaskNews: boolean
  /** In how many whole scans in a row it lay in no folder. */
  absences: number
}

/** How long a message that left the inbox is remembered: a scan or a delivery that began before may still name it. */
const FORGOTTEN_MS = 60_000
/** How often a message that somebody removes unread is brought again, before it is left until the next start. */
const REMOVALS_MAX = 3

const NOTHING: FoundMessages = { new: [], cur: [], dead: [], done: [] }

/** Reads off the inbox how far the messages of one session have come with the agent, and has the bridge told of it. */
export class AckTracker {
  readonly #parts: AckTrackerParts
  /** By the id in the inbox. */
  readonly #messages = new Map<number, TrackedMessage>()
  readonly #removals = new Map<number, number>()
  /** When messages left the inbox because their ack was confirmed, by the clock that never jumps. */
  readonly #forgottenAt = new Map<number, number>()

  constructor(parts: AckTrackerParts) {
    this.#parts = parts
  }

  /** Whether the message of this id in the inbox is one of this session's. */
  tracks(id: number): boolean {
    return this.#messages.has(id)
  }

  /** Whether it gives a task or takes one away. Of what an earlier process brought in nobody knows. */
  isTaskNews(id: number): boolean {
    return this.#messages.get(id)?.isTaskNews === true
  }

  /** The messages in the inbox, by their ids on the bridge. */
  bridgeIds(): ReadonlySet<number> {
    return new Set(this.#messages.keys().map(bridgeId))
  }

  /** Messages have been put into the inbox, each where `placed` says. */
  onPlaced(messages: readonly StoredMessage[], placed: readonly Placed[]): void {
    const { acks } = this.#parts
    for (const [index, { id, delivery, ...message }] of messages.entries()) {
      const place = placed[index]
      if (place === undefined) continue
      if (place.as === 'acked') {
        acks.repeatAck(id)
        continue
      }
      if (place.as === 'known' && this.#forgottenAt.has(place.id) && !this.#messages.has(place.id)) continue
      const confirmed = this.#messages.get(place.id)?.confirmed ?? delivery
      this.#messages.set(place.id, { confirmed, isTaskNews: readAssignmentNews(message) !== null, absences: 0 })
      if (advances(confirmed, 'delivered')) acks.queue(place.id, 'delivered')
    }
  }

  /** The bridge has kept these marks. */
  async onConfirmed(ids: readonly number[], mark: Mark): Promise<void> {
    for (const id of ids) {
      const message = this.#messages.get(id)
      if (message !== undefined && advances(message.confirmed, mark)) message.confirmed = mark
    }
    if (mark === 'acked') await this.#forget(ids)
  }

  /** Queues the marks that the folders of the inbox show and the bridge has not confirmed. */
  onScan({ at, sessions }: ScannedInbox): void {
    const found = sessions.get(this.#parts.session) ?? NOTHING
    this.#advance(found.new, 'delivered', at)
    this.#advance(found.cur, 'leased', at)
    this.#advance(found.dead, 'leased', at)
    this.#advance(found.done, 'acked', at)
  }

  /** Removes from the inbox what the bridge knows as acked, and notes what others have removed. Throws what the disk says. */
  async forgetAcked({ isWhole, sessions }: ScannedInbox): Promise<void> {
    const found = sessions.get(this.#parts.session) ?? NOTHING
    await this.#forget(found.done.filter((id) => this.#messages.get(id)?.confirmed === 'acked'))
    if (!isWhole) return
    this.#noteRemovals(new Set([...found.new, ...found.cur, ...found.dead, ...found.done]))
    const now = this.#parts.clock.now()
    for (const [id, since] of this.#forgottenAt) if (now - since > FORGOTTEN_MS) this.#forgottenAt.delete(id)
  }

  /** The bridge knows that these were given up, and they have left the inbox. */
  onGivenUp(ids: readonly number[]): void {
    for (const id of ids) this.#drop(id)
  }

  #advance(ids: readonly number[], mark: Mark, scannedAt: number): void {
    for (const id of ids) {
      const message = this.#messages.get(id) ?? this.#adopt(id, scannedAt)
      if (message !== null && advances(message.confirmed, mark)) this.#parts.acks.queue(id, mark)
    }
  }

  /** Tracks a message that an earlier process brought in; null when it has left the inbox since the scan. */
  #adopt(id: number, scannedAt: number): TrackedMessage | null {
    if ((this.#forgottenAt.get(id) ?? Number.NEGATIVE_INFINITY) >= scannedAt) return null
    const message: TrackedMessage = { confirmed: 'queued', isTaskNews: false, absences: 0 }
    this.#messages.set(id, message)
    return message
  }

  async #forget(ids: readonly number[]): Promise<void> {
    if (ids.length === 0) return
    await this.#parts.inbox.forget(ids)
    for (const id of ids) this.#drop(id)
  }

  #drop(id: number): void {
    this.#messages.delete(id)
    this.#removals.delete(id)
    this.#forgottenAt.set(id, this.#parts.clock.now())
  }

  /**
   * A message that lies in no folder though it was not acked has been removed by somebody. Only an ack ends a message, so it
   * counts as missing and is fetched again; but not for ever.
   */
  #noteRemovals(present: ReadonlySet<number>): void {
    const { log, session } = this.#parts
    for (const [id, message] of this.#messages) {
      message.absences = present.has(id) || message.confirmed === 'acked' ? 0 : message.absences + 1
      // One scan alone may miss a message that is moved back while the scan lasts.
      if (message.absences !== 2) continue
      const times = (this.#removals.get(id) ?? 0) + 1
      this.#removals.set(id, times)
      const isFetchedAgain = times <= REMOVALS_MAX
      if (isFetchedAgain) this.#messages.delete(id)
      log.warn('message removed from the inbox without an ack', { id, session, isFetchedAgain })
    }
  }
}
