import { statSync } from 'node:fs'
import type { StoreParts } from '../store.ts'
import { Doorbell } from './changes/doorbell.ts'
import type { NewMessageNotifier } from './changes/new-message-notifier.ts'
import { Checkpoints } from './file/checkpoints.ts'
import type { DatabasePath } from './file/database-path.ts'
import { GroupCommit } from './file/group-commit.ts'
import type { Tables, TablesSource } from './tables/tables.ts'

/** How long a verb waits for a database that another process has locked, milliseconds. */
export const LOCK_WAIT_MS = 5000

/** What a store that writes has beside its tables: the group commit, the doorbell that is rung after it, and checkpoints. */
export class DatabaseWriter implements Disposable {
  readonly tables: Tables
  readonly groupCommit: GroupCommit
  readonly #doorbell: Doorbell
  readonly #checkpoints: Checkpoints
  readonly #closing = new AbortController()

  constructor({ path, bell }: DatabasePath, parts: StoreParts, source: TablesSource, tail: NewMessageNotifier) {
    const { clock, chance, log } = parts
    const tables = source.demand()
    const doorbell = new Doorbell(bell, statSync(path).mode & 0o666)
    const checkpoints = new Checkpoints(tables.connection, path, {
      clock,
      signal: this.#closing.signal,
      isSure: () => source.look() === null,
      onError: (error) => log.warn('checkpoint failed: the log of the database grows', { path, error }),
    })
    this.tables = tables
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
      onBegin: () => tables.chain.forgetHead(),
      onRollback: () => {
        tables.chain.forgetHead()
        tables.conversations.forgetAll()
      },
      onCommit: () => {
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

  /** Makes the doorbell again where somebody removed it, and starts checkpoints where the log wants one. */
  tend(): void {
    this.#doorbell.mend()
    this.#checkpoints.start()
  }

  [Symbol.dispose](): void {
    this.#closing.abort()
    this.#doorbell[Symbol.dispose]()
  }
}
