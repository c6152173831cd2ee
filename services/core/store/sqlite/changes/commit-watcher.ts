import { basename, dirname } from 'node:path'
import type { Clock } from '#runtime/clock.ts'
import { type FolderWatch, type Means, watchFolder } from '#runtime/folder-watch.ts'
import type { Log } from '#runtime/log.ts'

/** What is called when something may have been committed. Neither may write: the watcher would hear its own writes for ever. */
export interface CommitListener {
  /** Takes in all new rows, and answers how many there were; where there is none it must cost next to nothing. */
  read(): number
  /** True when nobody is writing, so that all that was committed can be read. */
  quiet(): boolean
}

export interface CommitWatcherParts {
  readonly clock: Clock
  readonly log: Pick<Log, 'info' | 'warn'>
  /** How changes of the folder are noticed; inotify unless said. */
  readonly means?: Means
}

/** Every commit is noticed within this time, even where no event comes. */
const POLL_MS = 200
/** One sleep between two reads; the kernel makes 0.1 ms of it. */
const SLEEP_MS = 0.05
/** These sleeps block the event loop: after one event at most so many of them, and so long in all. */
const SLEEPS_MAX = 18
const SLEEPS_MS_MAX = 2
/** Waits between reads for a commit that takes longer: on a slow disk, or by a writer that is not done yet. */
const RETRY_WAITS_MS: readonly number[] = [...Array<number>(20).fill(1), 2, 4, 8, 16, 32, 64]
/** For so long after the doorbell rang, a write is taken for one that the doorbell will announce. */
const RING_EXPECTED_MS = 1_000

/**
 * Calls `read` when something may have been committed to a database, until disposed. It hears of commits in three ways:
 *
 * - The doorbell beside the database, which S2 rings after each commit: all is visible by then, and one read is enough.
 * - The write-ahead log. A foreign writer's frames are written before its commit is visible (write, sync, publish), so one
 *   read at the event misses most commits: reads are repeated, with short sleeps between, until nobody is writing.
 * - A poll, always: where an event is lost, its commit is noticed a fifth of a second later.
 *
 * The database need not exist yet, and may be removed or replaced: `read` looks after the file of that name. Errors of
 * `read` are logged and do not end the watch.
 */
export function watchCommits(path: string, listener: CommitListener, parts: CommitWatcherParts): Disposable {
  return new CommitWatcher(path, listener, parts)
}

class CommitWatcher implements Disposable {
  readonly #listener: CommitListener
  readonly #parts: CommitWatcherParts
  readonly #bell: string
  readonly #logs: ReadonlySet<string>
  readonly #watch: FolderWatch
  readonly #closing = new AbortController()
  #isOver = false
  /** The next of `RETRY_WAITS_MS`. */
  #retryIndex = 0
  #isRetrying = false
  #rangAt = Number.NEGATIVE_INFINITY
  #foundAt = Number.NEGATIVE_INFINITY
  #lastError = ''

  constructor(path: string, listener: CommitListener, parts: CommitWatcherParts) {
    const name = basename(path)
    this.#listener = listener
    this.#parts = parts
    this.#bell = `${name}-bell`
    this.#logs = new Set([name, `${name}-wal`, `${name}-journal`])
    this.#watch = watchFolder(
      dirname(path),
      { onEvents: (names) => this.#onEvents(names), onDoubt: () => this.#onDoubt() },
      parts,
    )
    void this.#poll()
  }

  [Symbol.dispose](): void {
    this.#isOver = true
    this.#closing.abort()
    this.#watch[Symbol.dispose]()
  }

  #onEvents(names: readonly string[]): void {
    const isRung = names.includes(this.#bell)
    const isWritten = names.some((name) => this.#logs.has(name))
    if (isRung) this.#onRing()
    if (isWritten) this.#awaitCommit(isRung)
  }

  #onRing(): void {
    this.#read()
    this.#rangAt = this.#parts.clock.now() // after the read: what it found counts as announced by the doorbell
  }

  #onDoubt(): void {
    this.#read()
    this.#startRetries()
  }

  /** Reads until the commit whose frames were just written is visible: at once if it is quick, else by retries. */
  #awaitCommit(isRung: boolean): void {
    if (this.#awaitsRing()) {
      if (!isRung || !this.#isSettled()) this.#startRetries()
      return
    }
    const { clock } = this.#parts
    const end = clock.now() + SLEEPS_MS_MAX
    for (let sleeps = 0; sleeps <= SLEEPS_MAX && clock.now() < end; sleeps += 1) {
      if (this.#isSettled()) return
      sleepInPlace()
    }
    this.#startRetries()
  }

  /** True while the last rows came with a ring: that writer will ring again, and reads before that would only disturb it. */
  #awaitsRing(): boolean {
    return this.#rangAt >= this.#foundAt && this.#parts.clock.now() - this.#rangAt < RING_EXPECTED_MS
  }

  /** True when nobody is writing and all that was committed has been read. */
  #isSettled(): boolean {
    const isQuiet = this.#isOver || this.#listener.quiet()
    if (isQuiet) this.#read()
    return isQuiet
  }

  /** Repeats reads with growing waits until all is settled; asked again meanwhile, it starts with the shortest wait. */
  #startRetries(): void {
    this.#retryIndex = 0
    if (!this.#isRetrying) void this.#retryReads()
  }

  async #retryReads(): Promise<void> {
    this.#isRetrying = true
    for (let waitMs = this.#nextWait(); waitMs !== undefined; waitMs = this.#nextWait()) {
      if (!(await this.#sleep(waitMs)) || this.#isSettled()) break
    }
    this.#isRetrying = false
  }

  #nextWait(): number | undefined {
    const waitMs = RETRY_WAITS_MS[this.#retryIndex]
    this.#retryIndex += 1
    return waitMs
  }

  async #poll(): Promise<void> {
    do this.#read()
    while (await this.#sleep(POLL_MS))
  }

  /** Answers false when the watcher was disposed. */
  #sleep(ms: number): Promise<boolean> {
    return this.#parts.clock.sleep(ms, this.#closing.signal).then(
      () => !this.#isOver,
      () => false,
    )
  }

  #read(): void {
    if (this.#isOver) return
    try {
      if (this.#listener.read() > 0) this.#foundAt = this.#parts.clock.now()
      this.#lastError = ''
    } catch (error) {
      this.#tellOnce(error)
    }
  }

  /** Logs an error once, not at every poll. */
  #tellOnce(error: unknown): void {
    if (String(error) === this.#lastError) return
    this.#lastError = String(error)
    this.#parts.log.warn('commits unreadable, retrying', { error })
  }
}

const sleepCell = new Int32Array(new SharedArrayBuffer(4))

/** Sleeps and blocks the event loop: a timer would take at least a millisecond. */
function sleepInPlace(): void {
  Atomics.wait(sleepCell, 0, 0, SLEEP_MS)
}
