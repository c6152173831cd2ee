import { S2Error } from '#fleet/errors.ts'
import type { StoreParts } from '../store.ts'
import { type Held, isOfLogAlone, keepHeld, type PutBackLog } from './backup/held-copy.ts'
import type { SqliteConnection } from './file/connection.ts'
import type { DatabaseFiles, FileDoubt } from './file/database-files.ts'

/** Questions look at the files at most this often, milliseconds; writes look each time. */
const GLANCE_MS = 100

/**
 * Ends the use of a database whose files are in doubt: it is refused from then on, nothing is written or checkpointed, what the
 * connection holds is kept, and then the program is told to end. A reader goes on with whatever file has the name: only what
 * others did to the log or the content of its own one concerns it.
 */
export class FileGuard implements Disposable {
  readonly files: DatabaseFiles
  readonly #path: string
  readonly #connection: SqliteConnection
  readonly #parts: StoreParts
  readonly #mode: 'write' | 'read'
  #doubt: FileDoubt | null = null
  #refusal: S2Error | null = null
  #keeping: Promise<void> = Promise.resolve()
  #glancedAt = Number.NEGATIVE_INFINITY
  /** The log, where it was put back: it is to lie there until this process has ended. */
  #putBack: PutBackLog | null = null
  #isAbandoned = false
  #isOver = false

  constructor(
    path: string,
    files: DatabaseFiles,
    connection: SqliteConnection,
    parts: StoreParts,
    mode: 'write' | 'read',
  ) {
    this.#path = path
    this.files = files
    this.#connection = connection
    this.#parts = parts
    this.#mode = mode
  }

  /** What the last look found; costs nothing. */
  get refusal(): S2Error | null {
    return this.#refusal
  }

  /** Looks at the files now. Answers why the database can be used no more; null while it can. */
  look(): S2Error | null {
    if (this.#refusal !== null || this.#isOver) return this.#refusal
    const doubt = this.files.look()
    if (doubt === null || (this.#mode === 'read' && isOfName(doubt))) return null
    this.#suspect(doubt)
    this.#refusal = new S2Error('unavailable', happened(this.#path, doubt), {
      next: 'wait until S2 has kept what it held',
    })
    this.#keeping = this.#keep(doubt)
    return this.#refusal
  }

  /** The same from a look that may be a moment old. */
  glance(): S2Error | null {
    const now = this.#parts.clock.now()
    if (now - this.#glancedAt < GLANCE_MS) return this.#refusal
    this.#glancedAt = now
    return this.look()
  }

  /** Looks for the last time, and waits until what was held is kept. */
  async settle(): Promise<void> {
    this.look()
    await this.#keeping
    if (this.#putBack === null) return
    if (this.#putBack.stay()) {
      this.#parts.log.info('log of the database in its place, nothing is lost', { path: this.#path })
    } else {
      this.#putBack = null
      this.#tell('log_replaced', await this.#hold('log_replaced'))
    }
  }

  [Symbol.dispose](): void {
    this.#isOver = true
    if (this.#doubt === null) this.#suspect(this.files.look())
    this.files[Symbol.dispose]()
    if (this.#isAbandoned) return
    if (this.#connection.hasMetDamage) this.#connection.abandon()
    else this.#connection[Symbol.dispose]()
  }

  /** SQLite itself checkpoints and removes nothing at the close of a database whose name belongs to another file by now. */
  #suspect(doubt: FileDoubt | null): void {
    this.#doubt = doubt
    if (doubt === null || isOfName(doubt)) return
    this.#isAbandoned = true
    this.#connection.abandon()
  }

  async #keep(doubt: FileDoubt): Promise<void> {
    this.#parts.log.error('database files changed by others', { path: this.#path, doubt })
    await null // a transaction of the group commit may be open at this instant
    const held = await this.#hold(doubt)
    this.#putBack = held === 'kept by writers' ? null : held.putBack
    if (this.#putBack !== null) process.prependOnceListener('exit', () => this.#putBack?.stay())
    this.#parts.onBroken?.(this.#tell(doubt, held))
  }

  /** A reader keeps no pages, and whoever writes the database has what was in its log. */
  async #hold(doubt: FileDoubt): Promise<Held | 'kept by writers'> {
    if (this.#mode === 'read' && isOfLogAlone(doubt)) return 'kept by writers'
    return await keepHeld(this.#path, doubt, this.files, this.#connection, this.#parts.clock)
  }

  #tell(doubt: FileDoubt, held: Held | 'kept by writers'): S2Error {
    const error = held === 'kept by writers' ? outcomeOfReader(this.#path, doubt) : outcome(this.#path, doubt, held)
    this.#refusal = error
    this.#parts.log.error('store broken', { error, next: error.next })
    return error
  }
}

/** The file is as it was, and the name belongs to another one or to none. */
function isOfName(doubt: FileDoubt): boolean {
  return doubt === 'removed' || doubt === 'replaced'
}

function happened(path: string, doubt: FileDoubt): string {
  const what = {
    removed: `${path} was removed`,
    replaced: `another file took the place of ${path}`,
    overwritten: `${path} was written over`,
    log_removed: `${path}-wal or ${path}-shm was removed`,
    log_replaced: `another log took the place of ${path}-wal`,
    log_overwritten: `${path}-wal was written over`,
    set_back: `an earlier state of ${path} was put in its place`,
  }
  return `${what[doubt]} while S2 had it open`
}

function outcomeOfReader(path: string, doubt: FileDoubt): S2Error {
  return new S2Error(
    'unavailable',
    `${happened(path, doubt)}; what was in its log is kept by the programs that write it`,
    {
      next: `look for ${path}.held-* beside it: s2 import shows what is missing; S2 is to be started again`,
    },
  )
}

function outcome(path: string, doubt: FileDoubt, { putBack, copy, log, fault }: Held): S2Error {
  if (putBack !== null) {
    return new S2Error('unavailable', `${happened(path, doubt)}; the log was put back into its place`, {
      next: 'leave -wal and -shm to the programs that have the database open; S2 is to be started again',
    })
  }
  if (copy === null) {
    const kept =
      log === null ? 'nothing of what it held could be kept' : `of what it held only its log is kept, in ${log}`
    return new S2Error('unavailable', `${happened(path, doubt)}; ${kept}: ${fault}`, {
      next: 'put a backup in its place: s2 restore --latest; what was sent since then is to be sent again',
    })
  }
  if (fault !== null) {
    const what = `what S2 held is in ${copy}, which is not whole (${fault}), and its log in ${log}`
    return new S2Error('unavailable', `${happened(path, doubt)}; ${what}`, {
      next: `to go back, stop all programs and s2 restore --latest; else go on, and look in ${copy} for what is missing`,
    })
  }
  return new S2Error('unavailable', `${happened(path, doubt)}; what S2 held is in ${copy}`, {
    next: NEXT[doubt](path, copy),
  })
}

const NEXT: Readonly<Record<FileDoubt, (path: string, copy: string) => string>> = {
  removed: (path, copy) => `mv ${copy} ${path} puts it back; to begin with nothing, move ${copy} away`,
  replaced: keepOrGoBack,
  overwritten: keepOrGoBack,
  log_removed: bringBack,
  log_replaced: bringBack,
  log_overwritten: bringBack,
  set_back: bringBack,
}

function bringBack(path: string, copy: string): string {
  return `s2 import ${copy} shows what is missing in ${path}, and with --yes brings it back; then move ${copy} away`
}

function keepOrGoBack(path: string, copy: string): string {
  return `to keep ${path} as it is now, ${bringBack(path, copy)}; to go back, stop all programs and s2 restore ${copy}`
}
