import type { SessionId } from '#fleet/session-id.ts'
import type { Clock } from '#runtime/clock.ts'
import type { InboxFolder } from '#spool/inbox.ts'
import { FolderChangeCheck } from './folder-change-check.ts'
import type { InboxPort } from './spool-interfaces.ts'

/** The ids of one session's messages, by the folder of the inbox that they lie in. */
export type FoundMessages = Readonly<Record<InboxFolder, number[]>>

/** What one scan of the inbox found. */
export interface ScannedInbox {
  /** When the scan began, by the clock that never jumps. */
  readonly at: number
  /** True when every folder was read. Otherwise only those that had changed were, and `new` was not. */
  readonly isWhole: boolean
  readonly sessions: ReadonlyMap<SessionId, FoundMessages>
}

export interface InboxScanParts {
  readonly inbox: Pick<InboxPort, 'version' | 'list' | 'readAll' | 'inspect' | 'recover' | 'tidy'>
  readonly clock: Clock
  /** The session that tracks a message already, mostly the guessed one; undefined: only the message itself says whose it is. */
  trackedBy(id: number, guess: SessionId | undefined): SessionId | undefined
}

/** How often every folder is read, whether it seems to have changed or not. */
const WHOLE_MS = 5_000
const TIDY_MS = 60_000

/** Reads the folders of the host's inbox, and sorts what lies there by the sessions it is for. */
export class InboxScan {
  readonly #parts: InboxScanParts
  readonly #changes: Readonly<Record<'cur' | 'done', FolderChangeCheck>>
  /** The session of each message that was found by the last scans. */
  readonly #readers = new Map<number, SessionId>()
  #wholeAt = Number.NEGATIVE_INFINITY
  #tidyAt = Number.NEGATIVE_INFINITY
  #isRecovered = false

  constructor(parts: InboxScanParts) {
    this.#parts = parts
    const { inbox, clock } = parts
    const changeOf = (folder: InboxFolder): FolderChangeCheck =>
      new FolderChangeCheck(clock, inbox.version && (() => inbox.version?.(folder) ?? ''))
    this.#changes = { cur: changeOf('cur'), done: changeOf('done') }
  }

  async scan(): Promise<ScannedInbox> {
    const { clock } = this.#parts
    await this.#keepTidy()
    const at = clock.now()
    const isWhole = at - this.#wholeAt >= WHOLE_MS
    const listed = await this.#list(isWhole)
    if (isWhole) this.#wholeAt = clock.now()
    const sessions = new Map<SessionId, FoundMessages>()
    for (const folder of ['new', 'cur', 'dead', 'done'] as const) {
      await this.#readReaders(folder, listed[folder])
      for (const id of listed[folder]) {
        const session = await this.#readerOf(id)
        if (session === null) continue
        const found = sessions.get(session) ?? { new: [], cur: [], dead: [], done: [] }
        found[folder].push(id)
        sessions.set(session, found)
      }
    }
    if (isWhole) this.#forgetAbsent(new Set(Object.values(listed).flat()))
    return { at, isWhole, sessions }
  }

  /** Makes the next scan read every folder: a session has joined, whose messages may lie there unseen. */
  reset(): void {
    this.#wholeAt = Number.NEGATIVE_INFINITY
  }

  /** Reads the folders in the direction that messages move in, so that none is missed while it moves. */
  async #list(isWhole: boolean): Promise<Readonly<Record<InboxFolder, readonly number[]>>> {
    const { inbox } = this.#parts
    const { cur, done } = this.#changes
    return {
      new: isWhole ? await inbox.list('new') : [],
      cur: cur.mayHaveChanged() || isWhole ? await inbox.list('cur') : [],
      dead: isWhole ? await inbox.list('dead') : [],
      done: done.mayHaveChanged() || isWhole ? await inbox.list('done') : [],
    }
  }

  /** Learns whose the unknown messages of a folder are, all in one go: after a start they are all that lie there. */
  async #readReaders(folder: InboxFolder, ids: readonly number[]): Promise<void> {
    const { inbox, trackedBy } = this.#parts
    const unknown = ids.filter((id) => !this.#readers.has(id) && trackedBy(id, undefined) === undefined)
    if (unknown.length === 0 || inbox.readAll === undefined) return
    for await (const [id, message] of inbox.readAll(folder, unknown)) {
      if (message !== null) this.#readers.set(id, message.to)
    }
  }

  async #readerOf(id: number): Promise<SessionId | null> {
    const seen = this.#readers.get(id)
    const reader = this.#parts.trackedBy(id, seen) ?? seen ?? (await this.#parts.inbox.inspect(id))?.to ?? null
    if (reader !== null) this.#readers.set(id, reader)
    return reader
  }

  #forgetAbsent(present: ReadonlySet<number>): void {
    for (const id of this.#readers.keys()) if (!present.has(id)) this.#readers.delete(id)
  }

  async #keepTidy(): Promise<void> {
    const { inbox, clock } = this.#parts
    if (!this.#isRecovered) await inbox.recover()
    this.#isRecovered = true
    if (clock.now() - this.#tidyAt < TIDY_MS) return
    this.#tidyAt = clock.now()
    await inbox.tidy()
  }
}
