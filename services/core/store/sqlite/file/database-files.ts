import { readdirSync, readSync, type Stats, statSync } from 'node:fs'
import { type FileIdentity, identify, identityOf, isSameFile } from './database-path.ts'

/** Why the files under an open database are no longer the ones that were opened. */
export type FileDoubt = 'removed' | 'replaced' | 'overwritten' | 'log_removed' | 'log_replaced'

/** How far checkpoints have come, as the shared index of the log says. */
interface CheckpointState {
  readonly text: string
  /** A checkpoint writes into the main file now, or one ended in the middle of it. */
  readonly isUnderWay: boolean
}

/**
 * The head of the shared index in words of 32 bits, in the byte order of the machine, and what is read here of it: the salt of
 * the log, frames that are in the main file, and frames that a checkpoint has begun to bring there (sqlite.org/walformat.html).
 */
const INDEX = { words: 34, salt: 8, backfill: 24, attempted: 32 } as const

/**
 * The three files of an open database and the content of its main one, as they were when it was opened. With another log or
 * index under their names, processes no longer see each other's commits and locks; a main file that was written over is
 * mixed with the pages of a log that does not belong to it.
 *
 * Only a checkpoint writes into the main file, and it says so in the index before its first write and after its last: a main
 * file that changed while the index says that there was no checkpoint was written by something else. While one is under way
 * nothing can be told.
 */
export class DatabaseFiles {
  readonly main: FileIdentity
  readonly #path: string
  #log: FileIdentity | null = null
  #index: FileIdentity | null = null
  /** SQLite's own descriptor of the index: to open and close the file here would drop the locks that this process has on it. */
  #indexDescriptor: number | null = null
  #content = ''
  #checkpoint = ''
  readonly #head = new Uint32Array(INDEX.words)

  /** To be made after a read, which makes the log and its index. */
  constructor(path: string, main: FileIdentity) {
    this.main = main
    this.#path = path
    this.#findLog()
    this.#lookAtContent(this.#checkpointState(), statsOf(path))
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
    return this.#checkpointState()?.isUnderWay ?? false
  }

  /** What is wrong with the files at this instant. Costs three calls of stat(2) and one of pread(2) while nothing has changed. */
  look(): FileDoubt | null {
    const checkpoint = this.#checkpointState()
    const stats = statsOf(this.#path)
    if (stats === undefined) return 'removed'
    if (stats === null) return null // SQLite meets the same error, and tells of it
    if (!isSameFile(identityOf(stats), this.main)) return 'replaced'
    return this.#lookAtLog() ?? this.#lookAtContent(checkpoint, stats)
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

  #findLog(): void {
    this.#log = identify(`${this.#path}-wal`)
    this.#index = identify(`${this.#path}-shm`)
    this.#indexDescriptor = this.#index === null ? null : descriptorOf(this.#index)
  }

  /** `before` was read before the `stats` were taken, so they show all that the checkpoints did of which it tells. */
  #lookAtContent(before: CheckpointState | null, stats: Stats | undefined | null): FileDoubt | null {
    if (before === null || before.isUnderWay) return null
    const content = `${stats?.mtimeMs}.${stats?.size}`
    if (content !== this.#content) {
      if (before.text !== this.#checkpointState()?.text) return null // of a checkpoint that began meanwhile: the next look tells
      if (before.text === this.#checkpoint) return 'overwritten'
      this.#content = content
    }
    this.#checkpoint = before.text
    return null
  }

  #checkpointState(): CheckpointState | null {
    if (this.#indexDescriptor === null) return null
    const head = this.#head
    if (readSync(this.#indexDescriptor, head, { position: 0 }) < head.byteLength) return null
    const [backfill = 0, attempted = 0] = [head[INDEX.backfill], head[INDEX.attempted]]
    const salt = head.slice(INDEX.salt, INDEX.salt + 2).join('.')
    return { text: `${salt}.${backfill}.${attempted}`, isUnderWay: attempted > backfill }
  }
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
