import type { StoredMessage } from '#fleet/message.ts'
import { type SessionId, sideOf } from '#fleet/session-id.ts'
import { readTaskMessage } from '#fleet/task-messages.ts'
import type { Clock } from '#runtime/clock.ts'
import { type Means, watchFolder } from '#runtime/folder-watch.ts'
import type { Log } from '#runtime/log.ts'
import { Loop } from '#runtime/loop.ts'
import { readCredentials } from '#spool/credentials.ts'
import type { Inbox } from '#spool/inbox.ts'
import {
  type MailPreview,
  type MailSource,
  type MailSourceEvents,
  previewOf,
  textlessPreview,
  type UnreadMail,
  unreadMailOf,
  type WakeTarget,
} from './mail-source.ts'

export interface InboxSourceParts extends MailSourceEvents {
  readonly clock: Clock
  readonly log: Pick<Log, 'info' | 'warn'>
  readonly signal: AbortSignal
  readonly inbox: Pick<Inbox, 'folder' | 'list' | 'readAll' | 'version'>
  /** The state folder, whose credentials name the agents of this host. */
  readonly state: string
  readonly pollMs: number
  /** The best means to hear of changes; inotify unless said. */
  readonly means?: Means
}

/** How often the folder is listed even if its version says that nothing changed. */
const LIST_EVERY_MS = 5_000
const FAILED_MS = 1_000

interface InboxMail extends UnreadMail {
  readonly preview: MailPreview
}

/** The inbox of a worker's host: the messages that keepalive has brought and nobody has taken yet. */
export class InboxSource implements MailSource {
  readonly #parts: InboxSourceParts
  /** What lies in `new`; null: a file that is no message. */
  readonly #mail = new Map<number, InboxMail | null>()
  #agents = new Map<SessionId, WakeTarget>()
  #version = ''
  #listedAt = Number.NEGATIVE_INFINITY
  /** One listing after the other, so that no file is read twice. */
  #listing: Promise<unknown> = Promise.resolve()

  constructor(parts: InboxSourceParts) {
    this.#parts = parts
  }

  async watch(): Promise<void> {
    const { clock, signal, inbox, pollMs, onLook, onTrouble } = this.#parts
    let isHinted = true
    const loop = new Loop({
      clock,
      signal,
      step: async () => {
        const isForced = isHinted || clock.now() - this.#listedAt >= LIST_EVERY_MS
        isHinted = false
        await this.#look(isForced)
        onLook()
        return pollMs
      },
      onError: (error) => {
        isHinted = true
        onTrouble(error)
        return FAILED_MS
      },
    })
    const hint = (): void => {
      isHinted = true
      loop.nudge()
    }
    using _watch = watchFolder(inbox.folder('new'), { onEvents: hint, onDoubt: hint }, this.#parts)
    await loop.done
  }

  async unread(target: WakeTarget): Promise<readonly UnreadMail[]> {
    await this.#list()
    return [...this.#mail.values()].filter((each) => each !== null).filter(({ to }) => this.#knownTarget(to) === target)
  }

  async previews(mail: readonly UnreadMail[]): Promise<readonly MailPreview[]> {
    return mail.map((each) => this.#mail.get(each.id)?.preview ?? textlessPreview(each))
  }

  covers(target: WakeTarget, session: SessionId): boolean {
    return this.#knownTarget(session) === target
  }

  /** On the host of a worker the other end is its orchestrator, which it writes to by that word. */
  nameOf(session: SessionId): string | null {
    const known = this.#agents.get(session) ?? session
    if (known !== session) return known
    return sideOf(session) === 'a' ? 'orchestrator' : null
  }

  async #look(isForced: boolean): Promise<void> {
    const version = this.#parts.inbox.version('new')
    if (!isForced && version === this.#version) return
    this.#version = version // read before the listing: a message that comes meanwhile changes it again
    await this.#list()
  }

  /** Reads what lies there now, and hints at the targets of new messages. */
  async #list(): Promise<void> {
    const listing = this.#listing.then(() => this.#listNow())
    this.#listing = listing.catch(() => undefined)
    await listing
  }

  async #listNow(): Promise<void> {
    const { inbox, clock, onHint, onTask } = this.#parts
    const ids = await inbox.list('new')
    this.#listedAt = clock.now()
    const there = new Set(ids)
    for (const id of this.#mail.keys()) if (!there.has(id)) this.#mail.delete(id)
    const unknown = ids.filter((id) => !this.#mail.has(id))
    for await (const [id, message] of inbox.readAll('new', unknown)) {
      if (message !== null && !this.#agents.has(message.to)) await this.#readNames(message.to)
      this.#mail.set(id, message === null ? null : mailOf({ ...message, id }))
      if (message === null) continue
      onHint(this.#knownTarget(message.to))
      const said = readTaskMessage(message.text)
      if (said?.type === 'task_assignment' || said?.type === 'task_revoked') onTask?.(message.to, said)
    }
  }

  /** Two conversations of one agent are one target; a session without a credential is a target of its own. */
  async #readNames(asked: SessionId): Promise<void> {
    const { credentials } = await readCredentials(this.#parts.state)
    for (const { session, agent } of credentials) this.#agents.set(session, agent)
    if (!this.#agents.has(asked)) this.#agents.set(asked, asked)
  }

  async targetOf(session: SessionId): Promise<WakeTarget> {
    if (!this.#agents.has(session)) await this.#readNames(session)
    return this.#knownTarget(session)
  }

  #knownTarget(session: SessionId): WakeTarget {
    return this.#agents.get(session) ?? session
  }
}

function mailOf(message: Omit<StoredMessage, 'delivery'>): InboxMail {
  return { ...unreadMailOf(message, message.to), preview: previewOf(message) }
}
