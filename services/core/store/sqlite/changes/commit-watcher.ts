import { basename, dirname } from 'node:path'
import type { Clock } from '#runtime/clock.ts'
import { type FolderWatch, type Means, watchFolder } from '#runtime/folder-watch.ts'
import type { Log } from '#runtime/log.ts'

/** What is called when something may have been committed. Both write nothing: whoever hears himself never rests. */
export interface CommitListener {
  /** Delivers all rows that are new and visible, and answers how many; with none it must cost next to nothing. */
  read(): number
  /** True when nobody writes just now, so that all that was committed can be read. */
  quiet(): boolean
}

export interface CommitWatcherParts {
  readonly clock: Clock
  readonly log: Pick<Log, 'info' | 'warn'>
  /** The best means to hear of changes; inotify unless said. */
  readonly means?: Means
}

/** Nothing is noticed later than this, whatever was heard. */
const POLL_MS = 200
/** How long one nap before another look is asked to be; the kernel makes 0.1 ms of it. */
const NAP_MS = 0.05
/** Naps stop the event loop: all of one hint together at most so many, and so long. */
const NAPS_MAX = 18
const NAPS_MS_MAX = 2
/** Waits between looks at a commit that takes longer than naps may: on a slow disk, or of a writer who is not done yet. */
const LADDER_MS: readonly number[] = [...Array<number>(20).fill(1), 2, 4, 8, 16, 32, 64]
/** For so long after a ring the writer at work is taken for one that rings. */
const RINGER_MS = 1_000

/**
 * Calls `read` when a database may have news, until disposed. Three roads lead there:
 *
 * - The doorbell beside the database, which our own writers ring after each commit: all is visible, one read will do.
 * - The write-ahead log. A foreign writer's frames are written before its commit is published (write, sync, publish),
 *   so one read at the event misses most commits when each is synced: it is repeated after naps until nobody writes.
 * - A poll, always: an event is a hint, whoever lost it loses a fifth of a second.
 *
 * The database need not be there yet, and may be removed or replaced; `read` sees to the file that bears the name.
 * Errors of `read` are logged and do not end the hearing.
 */
export function watchCommits(path: string, ears: CommitListener, parts: CommitWatcherParts): Disposable {
  return new News(path, ears, parts)
}

class News implements Disposable {
  readonly #ears: CommitListener
  readonly #parts: CommitWatcherParts
  readonly #bell: string
  readonly #logs: ReadonlySet<string>
  readonly #watch: FolderWatch
  readonly #closing = new AbortController()
  #isOver = false
  /** Which wait of the ladder comes next. */
  #rung = 0
  #isClimbing = false
  #rangAt = Number.NEGATIVE_INFINITY
  #foundAt = Number.NEGATIVE_INFINITY
  #complaint = ''

  constructor(path: string, ears: CommitListener, parts: CommitWatcherParts) {
    const name = basename(path)
    this.#ears = ears
    this.#parts = parts
    this.#bell = `${name}-bell`
    this.#logs = new Set([name, `${name}-wal`, `${name}-journal`])
    this.#watch = watchFolder(
      dirname(path),
      { onEvents: (names) => this.#hear(names), onDoubt: () => this.#doubt() },
      parts,
    )
    void this.#poll()
  }

  [Symbol.dispose](): void {
    this.#isOver = true
    this.#closing.abort()
    this.#watch[Symbol.dispose]()
  }

  #hear(names: readonly string[]): void {
    const isRung = names.includes(this.#bell)
    const isWritten = names.some((name) => this.#logs.has(name))
    if (isRung) this.#ring()
    if (isWritten) this.#chase(isRung)
  }

  #ring(): void {
    this.#read()
    this.#rangAt = this.#parts.clock.now() // after the read: what it found is put down to who rang
  }

  #doubt(): void {
    this.#read()
    this.#climb()
  }

  /** Waits for the commit whose frames were just written, on the spot if it is a quick one. */
  #chase(isRung: boolean): void {
    if (this.#awaitsRing()) {
      if (!isRung || !this.#isSettled()) this.#climb()
      return
    }
    const { clock } = this.#parts
    const end = clock.now() + NAPS_MS_MAX
    for (let naps = 0; naps <= NAPS_MAX && clock.now() < end; naps += 1) {
      if (this.#isSettled()) return
      nap()
    }
    this.#climb()
  }

  /** True while the last news came with a ring: such a writer rings again, and would only be disturbed until then. */
  #awaitsRing(): boolean {
    return this.#rangAt >= this.#foundAt && this.#parts.clock.now() - this.#rangAt < RINGER_MS
  }

  /** True when nobody writes, and all is read that was written. */
  #isSettled(): boolean {
    const isQuiet = this.#isOver || this.#ears.quiet()
    if (isQuiet) this.#read()
    return isQuiet
  }

  /** Looks at growing distances until all is settled; begins anew when it is asked to while it does. */
  #climb(): void {
    this.#rung = 0
    if (!this.#isClimbing) void this.#climbUp()
  }

  async #climbUp(): Promise<void> {
    this.#isClimbing = true
    for (let waitMs = this.#nextWait(); waitMs !== undefined; waitMs = this.#nextWait()) {
      if (!(await this.#sleep(waitMs)) || this.#isSettled()) break
    }
    this.#isClimbing = false
  }

  #nextWait(): number | undefined {
    const waitMs = LADDER_MS[this.#rung]
    this.#rung += 1
    return waitMs
  }

  async #poll(): Promise<void> {
    do this.#read()
    while (await this.#sleep(POLL_MS))
  }

  /** Answers false when it is over. */
  #sleep(ms: number): Promise<boolean> {
    return this.#parts.clock.sleep(ms, this.#closing.signal).then(
      () => !this.#isOver,
      () => false,
    )
  }

  #read(): void {
    if (this.#isOver) return
    try {
      if (this.#ears.read() > 0) this.#foundAt = this.#parts.clock.now()
      this.#complaint = ''
    } catch (error) {
      this.#complain(error)
    }
  }

  /** Says what is wrong once, not at every poll. */
  #complain(error: unknown): void {
    if (String(error) === this.#complaint) return
    this.#complaint = String(error)
    this.#parts.log.warn('commits cannot be read; trying on', { error })
  }
}

const bed = new Int32Array(new SharedArrayBuffer(4))

/** Sleeps on the spot, event loop and all: a timer would take at least a millisecond. */
function nap(): void {
  Atomics.wait(bed, 0, 0, NAP_MS)
}
