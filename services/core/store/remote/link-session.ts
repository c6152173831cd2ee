import type { StoredMessage } from '#fleet/message.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { checkJoinedProof, type JoinedSession, type SocketGreeting } from '#fleet/signature.ts'
import { Pauses } from '#runtime/backoff.ts'
import type { Chance } from '#runtime/clock.ts'
import { TAKEN_EVERY } from './frames.ts'
import { MailBuffer } from './mail-buffer.ts'

const REJOIN = { firstMs: 500, mostMs: 30_000 }

/** One session on the link of a host: whether it has joined, by which token, and who reads its mail. It sends nothing itself. */
export class LinkSession {
  readonly session: SessionId
  /** Whether it beats on this link; else it is here for its readers alone. */
  beats = false
  #state: 'left' | 'joining' | 'joined' = 'left'
  /** The token that it joined with, or was refused with. */
  #token: string | null = null
  /** The cursor from which it asked for mail when it joined last. */
  #after: number | null = null
  readonly #buffers = new Set<MailBuffer>()
  /** Messages taken by the readers since the bridge was last told so. */
  #taken = 0
  readonly #rejoins: Pauses
  /** No new join before this, by the monotonic clock. */
  #retryAt = 0

  constructor(session: SessionId, chance: Chance) {
    this.session = session
    this.#rejoins = new Pauses(REJOIN, chance)
  }

  get isJoined(): boolean {
    return this.#state === 'joined'
  }

  /** Whether the bridge counts it as joined, or is about to. */
  get isThere(): boolean {
    return this.#state !== 'left'
  }

  get hasReaders(): boolean {
    return this.#buffers.size > 0
  }

  /** The cursor of its mail: that of the reader that is least far. Null when nobody reads. */
  get cursor(): number | null {
    return this.hasReaders ? Math.min(...[...this.#buffers].map(({ cursor }) => cursor)) : null
  }

  /** Whether its last join was with this token, let in or not. */
  hasTried(token: string | undefined): boolean {
    return this.#token === token
  }

  /** Whether it waits to join, and need wait no longer. */
  isDue(now: number): boolean {
    return this.#state === 'left' && now >= this.#retryAt
  }

  addReader(after: number): MailBuffer {
    const buffer = new MailBuffer(after)
    this.#buffers.add(buffer)
    return buffer
  }

  /** Answers whether this was one of its readers. */
  removeReader(buffer: MailBuffer): boolean {
    return this.#buffers.delete(buffer)
  }

  wakeReaders(): void {
    for (const buffer of this.#buffers) buffer.wake()
  }

  /** A join is sent, from the readers' cursor; answers what it says. */
  joins(token: string): JoinedSession {
    this.#state = 'joining'
    this.#token = token
    this.#after = this.cursor
    this.#taken = 0
    return { session: this.session, after: this.#after }
  }

  leaves(): void {
    this.#state = 'left'
  }

  /** Takes the bridge's answer to its join; answers false where it is none, or proves nothing. */
  accept(joined: JoinedSession, proof: string, greeting: SocketGreeting): boolean {
    // An answer to an earlier join: mail from that cursor would hide the messages between the two.
    if (this.#state !== 'joining' || this.#token === null || joined.after !== this.#after) return false
    // A bridge may know the token of one session and not that of another, whose mail it must not bring.
    if (!checkJoinedProof(proof, this.#token, greeting, joined)) return false
    this.#state = 'joined'
    this.#rejoins.succeeded()
    this.wakeReaders()
    return true
  }

  /** Takes a refusal. `isFirst`: it was let in the last time. `isNews`: it was there until now. */
  refuse(now: number): { readonly isFirst: boolean; readonly isNews: boolean } {
    const isFirst = this.#rejoins.failures === 0
    const isNews = this.isThere
    this.#state = 'left'
    this.#retryAt = now + this.#rejoins.failed()
    this.wakeReaders()
    return { isFirst, isNews }
  }

  put(message: StoredMessage): void {
    for (const buffer of this.#buffers) buffer.put(message)
  }

  /** Counts messages that its readers have dealt with; answers whether the bridge must be told. */
  mustTellTaken(count: number): boolean {
    this.#taken += count
    if (this.#taken < TAKEN_EVERY || !this.isJoined) return false
    this.#taken = 0
    return true
  }
}
