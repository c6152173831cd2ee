import { statSync } from 'node:fs'
import { S2Error } from '#fleet/errors.ts'
import type { StoreTrouble } from '#fleet/store-trouble.ts'
import type { Clock } from '#runtime/clock.ts'
import { formatDuration } from '#runtime/duration.ts'
import type { StoreParts } from '../store.ts'
import { Doorbell } from './changes/doorbell.ts'
import type { NewMessageNotifier } from './changes/new-message-notifier.ts'
import { Checkpoints } from './file/checkpoints.ts'
import type { DatabasePath } from './file/database-path.ts'
import { GroupCommit } from './file/group-commit.ts'
import { modeBeside } from './file/shared-rights.ts'
import { fullDisk } from './file/sqlite-errors.ts'
import { HistoryGuard } from './history/history-guard.ts'
import type { Tables, TablesSource } from './tables/tables.ts'

/** How long a verb waits for a database that another process has locked, milliseconds. */
export const LOCK_WAIT_MS = 5000
/** A database to which nothing was written for so long is written to, to see that it can be, milliseconds. */
const TRIED_EVERY_MS = 15_000
/** The same while its disk is full. */
const TRIED_AGAIN_MS = 1_000

/** What a store that writes has beside its tables: the group commit, the doorbell that is rung after it, and checkpoints. */
export class DatabaseWriter implements Disposable {
  readonly tables: Tables
  readonly groupCommit: GroupCommit
  readonly history: HistoryGuard
  readonly #path: string
  readonly #clock: Clock
  #triedAt: number
  readonly #doorbell: Doorbell
  readonly #checkpoints: Checkpoints
  readonly #closing = new AbortController()

  constructor({ path, bell }: DatabasePath, parts: StoreParts, source: TablesSource, tail: NewMessageNotifier) {
    const { clock, chance, log } = parts
    const tables = source.demand()
    const doorbell = new Doorbell(bell, modeBeside(statSync(path).mode))
    const checkpoints = new Checkpoints(tables.connection, path, {
      clock,
      signal: this.#closing.signal,
      isSure: () => source.look() === null,
      onError: (error) => log.warn('checkpoint failed: the log of the database grows', { path, error }),
    })
    const history = new HistoryGuard(path, tables, parts)
    this.tables = tables
    this.history = history
    this.#path = path
    this.#clock = clock
    this.#triedAt = clock.now()
    this.#doorbell = doorbell
    this.#checkpoints = checkpoints
    this.groupCommit = new GroupCommit(tables.connection, path, {
      clock,
      chance,
      lockWaitMs: LOCK_WAIT_MS,
      demandFiles: () => {
        const refusal = source.look()
        if (refusal !== null) throw refusal
      },
      onBegin: () => {
        tables.chain.forgetHead()
        tables.messages.begin()
        history.demand()
      },
      onWritten: () => history.note(),
      onRollback: () => {
        tables.chain.forgetHead()
        tables.conversations.forgetAll()
      },
      onCommit: () => {
        tables.messages.committed()
        history.committed()
        this.#triedAt = clock.now()
        doorbell.ring()
        tail.read()
        checkpoints.start()
      },
      onBroken: (error) => {
        if (source.look() !== null) return // the error comes of files that others changed, and that is told
        log.error('store broken', { error })
        parts.onBroken?.(error)
      },
    })
  }

  /**
   * Makes the doorbell again where somebody removed it, starts checkpoints where the log wants one, and finds out whether the
   * database can be written to, though nobody asks for it.
   */
  tend(): void {
    this.#doorbell.mend()
    this.#checkpoints.start()
    this.groupCommit.probe()
    this.#tryWriting()
    this.#lookAtHistory()
  }

  /** What is in the log and no checkpoint has moved into the file yet, bytes; null where nobody can say. */
  unmovedLogBytes(): number | null {
    return this.#checkpoints.unmovedBytes()
  }

  /** The database cannot be written to at present. */
  get isHindered(): boolean {
    return this.groupCommit.lock.since !== null || this.groupCommit.fullSince !== null
  }

  /** What has kept the database from being written to for longer than verbs wait; null where nothing does. */
  trouble(): StoreTrouble | null {
    const { lock, fullSince } = this.groupCommit
    const wall = Math.round(this.#clock.wall())
    if (lock.heldMs >= LOCK_WAIT_MS) {
      const { who, next } = lock.holder()
      const message = `the database ${this.#path} has been locked for more than ${formatDuration(LOCK_WAIT_MS)} by ${who}`
      return { kind: 'locked', message, next, since: wall - Math.round(lock.heldMs) }
    }
    if (fullSince === null) return null
    const next = 'free some space: reading goes on, and writing starts again by itself'
    return { kind: 'full', message: fullDisk(this.#path).message, next, since: Math.round(fullSince) }
  }

  /** A commit tells what no other act would: that the disk is full, or has become read-only. */
  #tryWriting(): void {
    const { lock, fullSince } = this.groupCommit
    const everyMs = fullSince === null ? TRIED_EVERY_MS : TRIED_AGAIN_MS
    const now = this.#clock.now()
    if (lock.since !== null || now - this.#triedAt < everyMs) return
    this.#triedAt = now
    const at = Math.floor(this.#clock.wall())
    const { connection } = this.tables
    const tried = this.groupCommit.write(() =>
      connection.run("INSERT OR REPLACE INTO s2_cursors (name, at) VALUES ('tried', ?)", at),
    )
    tried.catch(() => undefined) // `trouble` tells it
  }

  /** Where the ids of messages began anew, the next transaction raises them: it comes at once. */
  #lookAtHistory(): void {
    const found = this.history.look()
    if (found instanceof S2Error) throw found
    if (found === 'ids') this.groupCommit.write(() => undefined).catch(() => undefined) // the next round tries again
  }

  [Symbol.dispose](): void {
    this.#closing.abort()
    this.#doorbell[Symbol.dispose]()
  }
}
