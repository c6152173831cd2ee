import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import type { StoredMessage } from '#fleet/message.ts'
import {
  decideHandOut,
  LEASES_MAX,
  type MessageLease,
  oneLineHead,
  TAKER_MAX,
  tooManyLeases,
} from '#fleet/message-leases.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { readNamespacedProcess } from '#runtime/process-life.ts'
import { messageDigest } from './acked-ledger.ts'
import { bridgeId, type Inbox } from './inbox.ts'
import { isSameTaker, lifeOf, type MessageTaker } from './message-taker.ts'
import { parseObject } from './plain-file.ts'
import { SpoolFolders } from './spool-folders.ts'

/** A message of the inbox as it is handed to a reader. */
export interface HandedMessage extends StoredMessage {
  /** The how-manieth time it is, where it was handed out before. */
  readonly again?: number
}

/** Who has a message of the inbox, since when, and for the how-manieth time. */
export interface InboxLease extends MessageLease, MessageTaker {}

/** A message that somebody has in hand, for its bridge to be told. */
export interface MessageInHand {
  readonly id: number
  readonly to: SessionId
  readonly lease: InboxLease
}

/** A message that was handed out too often. */
export interface GivenUpMessage {
  readonly id: number
  readonly to: SessionId
  readonly why: string
}

export interface InboxLeasesParts {
  readonly inbox: Inbox
  /** How long a message stays with whoever took it and does not ack it, milliseconds. */
  readonly leaseMs: number
  /** Milliseconds since 1970. */
  wall(): number
  onFault(fault: string): void
}

/** Bytes of the largest note that is read. */
const NOTE_MAX = 4_096
/** A draft of a note that is older than this was left by a process that died. */
const DRAFT_AGE_MS = 60_000
/** Orphaned notes that are removed in one go. */
const CLEARED_MAX = 500

/**
 * Who took which message of the inbox: `inbox/leases/<id>.json` beside the messages, so that a reader of an earlier version, or one
 * that only moves files, is not disturbed. A note is no promise: what has none was taken by somebody when its file was moved.
 */
export class InboxLeases {
  readonly #parts: InboxLeasesParts
  readonly #folders: SpoolFolders<'leases' | 'cur'>

  constructor(state: string, parts: InboxLeasesParts) {
    this.#parts = parts
    this.#folders = new SpoolFolders(join(state, 'inbox'), parts.onFault)
  }

  /**
   * Hands out the oldest messages. What this taker took before is acked: it asks for more because it has seen that. What another took
   * and let lie, or died with, comes again. `wants` says which messages are the reader's.
   */
  async take(
    taker: MessageTaker,
    limit: number,
    wants: (message: StoredMessage) => boolean = () => true,
  ): Promise<HandedMessage[]> {
    const { inbox } = this.#parts
    const seen: number[] = []
    for (const { message, lease } of await this.#held('cur', wants)) {
      if (this.#hasSeen(taker, lease)) seen.push(message.id)
      else await this.#handBack(message, lease)
    }
    await inbox.ack(seen)
    const taken: HandedMessage[] = []
    for await (const [id, message] of inbox.readAll('new', await inbox.list('new'))) {
      if (taken.length >= limit) break
      if (message !== null && !wants(message)) continue
      const handed = await this.#takeOne(id, message, taker)
      if (handed !== null) taken.push(handed)
    }
    return taken
  }

  /** The messages that somebody has in hand, oldest first, with how often they were handed out. Changes nothing. */
  async inHand(limit: number): Promise<HandedMessage[]> {
    const held = await this.#held('cur', () => true)
    return held.slice(0, limit).map(({ message, lease: { times } }) => ({ ...message, ...againOf(times) }))
  }

  /**
   * Hands back what nobody will ack any more: its taker is dead, or let its lease run out and is not known to live. What was handed
   * out too often is given up. Answers what is in hand, and all that is given up.
   */
  async release(): Promise<{ readonly inHand: MessageInHand[]; readonly givenUp: GivenUpMessage[] }> {
    const inHand: MessageInHand[] = []
    for (const { message, lease } of await this.#held('cur', () => true)) {
      const isKept = lifeOf(lease) === 'alive' || !(await this.#handBack(message, lease))
      if (isKept) inHand.push({ id: message.id, to: message.to, lease })
    }
    const dead = await this.#held('dead', () => true)
    const givenUp = dead.map(({ message: { id, to }, lease }) => ({ id, to, why: tooManyLeases(lease) }))
    await this.#clearOrphans()
    return { inHand, givenUp }
  }

  /** Forgets messages that were given up, when their bridge knows. */
  async letGo(ids: readonly number[]): Promise<void> {
    await this.#parts.inbox.letGo(ids)
  }

  /** Whoever names itself is the same for as long as it lives; a stranger at a shell only until the lease runs out. */
  #hasSeen(taker: MessageTaker, lease: InboxLease): boolean {
    if (!isSameTaker(taker, lease)) return false
    return taker.process !== null || this.#decide(lease) === 'hold'
  }

  #decide(lease: InboxLease): 'give' | 'hold' | 'dead' {
    const { leaseMs, wall } = this.#parts
    return decideHandOut(lease, wall(), leaseMs, lifeOf(lease) === 'dead')
  }

  /** Answers whether the message is in nobody's hand any more. */
  async #handBack({ id }: StoredMessage, lease: InboxLease): Promise<boolean> {
    const decision = this.#decide(lease)
    if (decision === 'hold') return false
    if (decision === 'give') return await this.#parts.inbox.handBack(id)
    return await this.#parts.inbox.giveUp(id)
  }

  async #takeOne(id: number, known: StoredMessage | null, taker: MessageTaker): Promise<HandedMessage | null> {
    const { inbox } = this.#parts
    const earlier = known === null ? null : this.#noted(known)
    if (earlier !== null && taker.process !== null && isSameTaker(taker, earlier)) {
      await inbox.ack([id]) // it was handed back, and its taker has seen it
      return null
    }
    if (earlier !== null && earlier.times >= LEASES_MAX) {
      await inbox.giveUp(id)
      return null
    }
    const message = await inbox.takeOne(id)
    if (message === null) return null
    const times = (earlier?.times ?? 0) + 1
    await this.#note(message, { ...taker, at: this.#parts.wall(), times })
    return { ...message, ...againOf(times) }
  }

  async #held(
    folder: 'cur' | 'dead',
    wants: (message: StoredMessage) => boolean,
  ): Promise<{ readonly message: StoredMessage; readonly lease: InboxLease }[]> {
    const { inbox } = this.#parts
    const held: { readonly message: StoredMessage; readonly lease: InboxLease }[] = []
    for await (const [id, message] of inbox.readAll(folder, await inbox.list(folder)))
      if (message !== null && wants(message)) held.push({ message, lease: this.#noted(message) ?? this.#unnoted(id) })
    return held
  }

  /** Whoever took it left no note: an earlier version, or a program that moved the file. */
  #unnoted(id: number): InboxLease {
    using cur = this.#folders.holdIfThere('cur')
    const at = cur?.lstat(fileOf(id))?.ctimeMs ?? this.#parts.wall()
    return { by: null, process: null, at, times: 1 }
  }

  #noted(message: StoredMessage): InboxLease | null {
    try {
      using leases = this.#folders.holdIfThere('leases')
      const text = leases?.readSync(fileOf(message.id), NOTE_MAX) ?? null
      return text === null ? null : parseNote(text, digestOf(message))
    } catch {
      return null
    }
  }

  /** Where it cannot be written the message is handed out all the same: it then counts as taken by somebody. */
  async #note(message: StoredMessage, { by, process, at, times }: InboxLease): Promise<void> {
    const name = by === null ? null : oneLineHead(by, TAKER_MAX)
    const content = `${JSON.stringify({ of: digestOf(message), by: name, process, at, times })}\n`
    try {
      await this.#folders.ensure(['leases'])
      using leases = this.#folders.hold('leases')
      const draft = `.${randomBytes(8).toString('hex')}`
      leases.write(draft, content)
      try {
        leases.move(draft, leases, fileOf(message.id))
      } catch (error) {
        leases.tryUnlink(draft)
        throw error
      }
    } catch (error) {
      this.#parts.onFault(`who took message ${message.id} could not be noted (${(error as Error).message})`)
    }
  }

  async #clearOrphans(): Promise<void> {
    const { inbox } = this.#parts
    using leases = this.#folders.holdIfThere('leases')
    if (leases === null) return
    const names = await leases.names() // before the messages: one that is taken meanwhile has its note
    const present = new Set<string>()
    for (const folder of ['new', 'cur', 'dead'] as const)
      for (const id of await inbox.list(folder)) present.add(fileOf(id))
    const isOld = (name: string): boolean =>
      Math.abs(this.#parts.wall() - (leases.lstat(name)?.mtimeMs ?? 0)) > DRAFT_AGE_MS
    const orphans = names.filter((name) => (name.startsWith('.') ? isOld(name) : !present.has(name)))
    for (const name of orphans.slice(0, CLEARED_MAX)) await this.#folders.clear(leases, name)
  }
}

function againOf(times: number): { readonly again?: number } {
  return times > 1 ? { again: times } : {}
}

function fileOf(id: number): string {
  return `${id}.json`
}

/** A note is of one message, and of no later one that gets its number. */
function digestOf(message: StoredMessage): number {
  return messageDigest({ ...message, id: bridgeId(message.id) })
}

/** Anybody of the host may write here: what is no note of this message is none. */
function parseNote(text: string, digest: number): InboxLease | null {
  const { of, by, process, at, times } = parseObject(text)
  if (of !== digest || typeof at !== 'number' || !Number.isSafeInteger(times) || (times as number) < 1) return null
  return { by: typeof by === 'string' ? by : null, process: readNamespacedProcess(process), at, times: times as number }
}
