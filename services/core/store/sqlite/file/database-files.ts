import { closeSync, fstatSync, openSync, readdirSync, type Stats, statSync } from 'node:fs'
import { type FileIdentity, identify, identityOf, isSameFile } from './database-path.ts'
import { LogContent } from './log-content.ts'
import { isSameLog, type LogIndex, readLogIndex } from './log-index.ts'

/** Why the files under an open database are no longer the ones that were opened. */
export type FileDoubt =
  | 'removed'
  | 'replaced'
  | 'overwritten'
  | 'log_removed'
  | 'log_replaced'
  | 'log_overwritten'
  | 'set_back'

/** A log that differs from its index is compared so often while others begin it anew: a few microseconds each. */
const COMPARISONS_MAX = 8

/**
 * The three files of an open database and what is in them, as it was when it was opened and changes by commits and checkpoints
 * alone. With another log or index under their names, processes no longer see each other's commits and locks; a main file that
 * was written over is mixed with the pages of a log that does not belong to it; of a log that was written over, what was
 * committed last is gone, and what is committed next cannot be read by who opens it.
 *
 * Only a checkpoint writes into the main file, and it says so in the index before its first write and after its last: a main
 * file that changed while the index says that there was no checkpoint was written by something else. While one is under way
 * nothing can be told.
 */
export class DatabaseFiles implements Disposable {
  readonly main: FileIdentity
  readonly #path: string
  #log: FileIdentity | null = null
  #index: FileIdentity | null = null
  /** SQLite's own descriptor of the index: to open and close the file here would drop the locks that this process has on it. */
  #indexDescriptor: number | null = null
  /** A descriptor of its own: SQLite keeps no locks on the log, and closes those that it has as connections come and go. */
  #logDescriptor: number | null = null
  #logContent: LogContent | null = null
  readonly #keepsPages: boolean
  #content = ''
  #checkpoint = ''

  /** To be made after a read, which makes the log and its index. With `keepsPages` it has what the log had when others write over it. */
  constructor(path: string, main: FileIdentity, { keepsPages = false }: { readonly keepsPages?: boolean } = {}) {
    this.main = main
    this.#path = path
    this.#keepsPages = keepsPages
    this.#findLog()
    const index = this.#readIndex()
    this.#lookAtContent(index, statsOf(path))
    if (index !== null) this.#logContent?.takeIn(index)
  }

  [Symbol.dispose](): void {
    if (this.#logDescriptor !== null) closeSync(this.#logDescriptor)
    this.#logDescriptor = null
    this.#logContent = null
  }

  /** Null for a database that has no write-ahead log yet. */
  get log(): FileIdentity | null {
    return this.#log
  }

  get index(): FileIdentity | null {
    return this.#index
  }

  /** True while the index says that a checkpoint is under way: one that ended early leaves it so until the next one is done. */
  isCheckpointUnderWay(): boolean {
    return this.#readIndex()?.isCheckpointUnderWay ?? false
  }

  /** What was in the log, where it was to be kept; null where there is no log. */
  get logContent(): LogContent | null {
    return this.#logContent
  }

  /** What is wrong with the files at this instant. Costs three calls of stat(2) and three of pread(2) while nothing has changed. */
  look(): FileDoubt | null {
    const before = this.#readIndex()
    const stats = statsOf(this.#path)
    if (stats === undefined) return 'removed'
    if (stats === null) return null // SQLite meets the same error, and tells of it
    if (!isSameFile(identityOf(stats), this.main)) return 'replaced'
    return this.#lookAtLog() ?? this.#lookIntoLog(before) ?? this.#lookAtContent(before, stats)
  }

  #lookAtLog(): FileDoubt | null {
    if (this.#log === null || this.#index === null) {
      this.#findLog()
      return null
    }
    const log = identify(`${this.#path}-wal`)
    const index = identify(`${this.#path}-shm`)
    if (log === null || index === null) return 'log_removed'
    return isSameFile(log, this.#log) && isSameFile(index, this.#index) ? null : 'log_replaced'
  }

  /**
   * Others begin a log anew at any time, and say so in the index first: it differs from its index only where the index was the
   * same before and after, twice.
   */
  #lookIntoLog(before: LogIndex | null): FileDoubt | null {
    const content = this.#logContent
    let index = before
    for (let comparisons = 0, misses = 0; content !== null && index !== null; comparisons += 1) {
      const isSetBack = content.isSetBack(index)
      if (!isSetBack && content.takeIn(index)) return null
      const after = this.#readIndex()
      misses = after !== null && isSameLog(index, after) ? misses + 1 : 0
      if (misses === 2) return isSetBack ? 'set_back' : 'log_overwritten'
      if (comparisons === COMPARISONS_MAX) return null // others write without a pause: the next look tells
      index = after
    }
    return null
  }

  #findLog(): void {
    this.#log = identify(`${this.#path}-wal`)
    this.#index = identify(`${this.#path}-shm`)
    this.#indexDescriptor = this.#index === null ? null : descriptorOf(this.#index)
    if (this.#log === null || this.#indexDescriptor === null || this.#logContent !== null) return
    this.#logDescriptor = openLog(this.#path, this.#log)
    if (this.#logDescriptor === null) return
    this.#logContent = new LogContent(this.#logDescriptor, { keepsPages: this.#keepsPages })
  }

  /** `before` was read before the `stats` were taken, so they show all that the checkpoints did of which it tells. */
  #lookAtContent(before: LogIndex | null, stats: Stats | undefined | null): FileDoubt | null {
    if (before === null || before.isCheckpointUnderWay) return null
    const content = `${stats?.mtimeMs}.${stats?.size}`
    if (content !== this.#content) {
      if (before.checkpoint !== this.#readIndex()?.checkpoint) return null // of one that began meanwhile: the next look tells
      if (before.checkpoint === this.#checkpoint) return 'overwritten'
      this.#content = content
    }
    this.#checkpoint = before.checkpoint
    return null
  }

  #readIndex(): LogIndex | null {
    return this.#indexDescriptor === null ? null : readLogIndex(this.#indexDescriptor)
  }
}

/** A descriptor to read the log with; null where it has gone from its place, or may not be read. */
function openLog(path: string, log: FileIdentity): number | null {
  let descriptor: number
  try {
    descriptor = openSync(`${path}-wal`, 'r')
  } catch {
    return null
  }
  if (isSameFile(identityOf(fstatSync(descriptor)), log)) return descriptor
  closeSync(descriptor)
  return null
}

/** A descriptor of this process for a file that it has open, whatever its name is by now; null where that cannot be seen. */
export function descriptorOf(file: FileIdentity): number | null {
  const found = descriptors().find((each) => isSameFile(identify(`/proc/self/fd/${each}`), file))
  return found === undefined ? null : Number(found)
}

function descriptors(): string[] {
  try {
    return readdirSync('/proc/self/fd')
  } catch {
    return []
  }
}

/** Undefined where there is no file, null where that cannot be told. */
function statsOf(path: string): Stats | undefined | null {
  try {
    return statSync(path, { throwIfNoEntry: false })
  } catch {
    return null
  }
}
