import { basename, dirname } from 'node:path'
import type { Clock } from '#runtime/clock.ts'
import { type FolderWatch, type Means, watchFolder } from '#runtime/folder-watch.ts'
import type { Log } from '#runtime/log.ts'
import { CommitTiming } from './commit-timing.ts'

/** What is called when something may have been committed. Neither may write: the watcher would hear its own writes for ever. */
export interface CommitListener {
  /** Takes in all new rows, and answers whether there were any; where there is none it must cost next to nothing. */
  read(): boolean
  /** The same, of the file that has the name now: another one may have taken its place. */
  look(): boolean
  /** True when nobody is writing, so that all that was committed can be read. */
  quiet(): boolean
  /** A commit is about to come: what the next read will need may be run once, in the time that is waited anyway. */
  warm(): void
}

export interface CommitWatcherParts {
  readonly clock: Clock
  readonly log: Pick<Log, 'info' | 'warn'>
  /** How changes of the folder are noticed; inotify unless said. */
  readonly means?: Means
  /** Waits with the event loop at a standstill: a timer would take at least a millisecond. */
  readonly nap?: (ms: number) => void
}

/** Every commit is noticed within this time, even where no event comes. */
const POLL_MS = 200
/** Naps in one turn of the event loop, which stands still meanwhile: for half a millisecond. */
const NAPS_A_TURN = 4
/** For so long what was run stays quick: after more the processor's caches belong to others. */
const WARM_MS = 5
/** For so long after the doorbell rang, a write is taken for one that the doorbell will announce. */
const RING_EXPECTED_MS = 1_000
/** A write for which the doorbell has not rung after so long was somebody else's. */
const RING_LATE_MS = 64

/**
 * Calls `read` when something may have been committed to a database, until disposed. It hears of commits in three ways:
 *
 * - The doorbell beside the database, which S2 rings after each commit: all is visible by then, and one read is enough.
 * - The write-ahead log. A foreign writer's frames are written before its commit is visible (write, sync, publish), so one
 *   read at the event misses most commits: reads are repeated, with short naps between, until nobody is writing. What a read
 *   finds is handed on before the next nap, while the writer may be at its next commit: the Python bridge makes several in
 *   one call.
 * - A poll, always: where an event is lost, its commit is noticed a fifth of a second later.
 *
 * The database need not exist yet, and may be removed or replaced: `look` is called at each poll, and when a file of the
 * database was made, moved or removed. Errors of `read` and `look` are logged and do not end the watch.
 */
export function watchCommits(path: string, listener: CommitListener, parts: CommitWatcherParts): Disposable {
  return new CommitWatcher(path, listener, parts)
}

class CommitWatcher implements Disposable {
  readonly #listener: CommitListener
  readonly #parts: CommitWatcherParts
  readonly #nap: (ms: number) => void
  readonly #bell: string
  readonly #logs: ReadonlySet<string>
  /** Whose coming and going may mean another database. */
  readonly #files: readonly string[]
  readonly #watch: FolderWatch
  readonly #timing = new CommitTiming()
  readonly #closing = new AbortController()
  #isOver = false
  /** When frames were heard of that cannot all be read yet; null where none are awaited. */
  #since: number | null = null
  #warmedAt = Number.NEGATIVE_INFINITY
  /** When frames were heard last. */
  #heardAt = Number.NEGATIVE_INFINITY
  /** How long the last commit took that was read, for what is learned of it later. */
  #took: { readonly ms: number; readonly sure: 'exactly' | 'at most' } | null = null
  /** The next step and its time; null where none comes. */
  #next: { readonly at: number } | null = null
  #rangAt = Number.NEGATIVE_INFINITY
  #foundAt = Number.NEGATIVE_INFINITY
  #lastError = ''

  constructor(path: string, listener: CommitListener, parts: CommitWatcherParts) {
    const name = basename(path)
    this.#listener = listener
    this.#parts = parts
    this.#nap = parts.nap ?? napInPlace
    this.#bell = `${name}-bell`
    this.#logs = new Set([name, `${name}-wal`, `${name}-journal`])
    this.#files = [name, `${name}-wal`, `${name}-shm`]
    this.#watch = watchFolder(
      dirname(path),
      { onEvents: (names, entries) => this.#onEvents(names, entries), onDoubt: () => this.#onDoubt() },
      parts,
    )
    void this.#poll()
  }

  [Symbol.dispose](): void {
    this.#isOver = true
    this.#closing.abort()
    this.#watch[Symbol.dispose]()
  }

  #onEvents(names: readonly string[], entries: ReadonlySet<string>): void {
    const isFound = entries.size > 0 && this.#files.some((name) => entries.has(name)) && this.#look()
    const isRung = names.includes(this.#bell) && this.#onRing()
    if (!names.some((name) => this.#logs.has(name))) return
    this.#heardAt = this.#parts.clock.now()
    if (!this.#awaitsRing()) this.#onWritten(isFound || isRung)
    else if (this.#next === null) this.#awaitRing()
  }

  /** Reads, should the doorbell not ring: the write was somebody else's then. */
  #awaitRing(): void {
    this.#stepAfter(RING_LATE_MS, () => {
      // not between a write and its own ring: then the writer would be taken for one that does not ring
      const isRecent = this.#parts.clock.now() - this.#heardAt < RING_LATE_MS / 2
      if (isRecent && this.#awaitsRing()) this.#awaitRing()
      else this.#step()
    })
  }

  #onDoubt(): void {
    this.#heardAt = this.#parts.clock.now()
    this.#onWritten(this.#look())
  }

  #onRing(): boolean {
    const isFound = this.#read()
    this.#rangAt = this.#parts.clock.now() // after the read: what it found counts as announced by the doorbell
    return isFound
  }

  /** True while the last rows came with a ring: that writer will ring again, and reads before that would only disturb it. */
  #awaitsRing(): boolean {
    return this.#rangAt >= this.#foundAt && this.#parts.clock.now() - this.#rangAt < RING_EXPECTED_MS
  }

  /** Frames were written, or may have been: reads until all can be read, from the next turn on where rows are to be handed on. */
  #onWritten(hasRows: boolean): void {
    const now = this.#heardAt
    this.#since ??= now
    const waitMs = this.#timing.waitMs(now - this.#since, 0) ?? 0
    if (this.#next !== null && now + waitMs >= this.#next.at - 1) return // only a wait that grew in silence is cut short
    if (hasRows) this.#stepSoon()
    else this.#step()
  }

  #step(after: 'timer' | 'event' = 'event'): void {
    this.#next = null
    this.#learn()
    const waitMs = this.#readOn(after)
    if (waitMs === null) this.#since = null
    else if (waitMs >= 1) this.#stepAfter(waitMs)
    else this.#stepSoon()
  }

  /**
   * Reads, a few times with naps between. Answers how long to wait before it goes on: no time for the next turn of the event
   * loop, null where nothing is awaited any more.
   */
  #readOn(after: 'timer' | 'event'): number | null {
    for (let naps = 0; naps < NAPS_A_TURN; naps += 1) {
      if (this.#read()) return this.#handOn(naps === 0 && after === 'timer' ? 'at most' : 'exactly')
      if (this.#since === null || this.#isOver) return null
      if (naps === 0 && this.#listener.quiet()) {
        if (this.#read()) this.#handOn('exactly') // committed between the read and the look at the lock
        return null
      }
      const now = this.#parts.clock.now()
      const waitMs = this.#timing.waitMs(now - this.#since, now - this.#heardAt)
      if (waitMs === null || waitMs >= 1) return waitMs
      if (now - this.#warmedAt >= WARM_MS) this.#warm(now)
      else this.#nap(waitMs)
    }
    return 0
  }

  #warm(now: number): void {
    this.#warmedAt = now
    this.#listener.warm()
  }

  /** Ends the turn, because rows are handed on in promises, which a nap would hold up. Another commit may follow. */
  #handOn(sure: 'exactly' | 'at most'): number {
    if (this.#since !== null) {
      this.#took = { ms: this.#foundAt - this.#since, sure }
      this.#since = this.#foundAt
    }
    return 0
  }

  /** Learns once the rows were handed on. */
  #learn(): void {
    if (this.#took !== null) this.#timing.learn(this.#took.ms, this.#took.sure)
    this.#took = null
  }

  #stepSoon(): void {
    const next = { at: this.#parts.clock.now() }
    this.#next = next
    setImmediate(() => {
      if (this.#next === next && !this.#isOver) this.#step()
    })
  }

  #stepAfter(ms: number, step: () => void = () => this.#step('timer')): void {
    const next = { at: this.#parts.clock.now() + ms }
    this.#next = next
    void this.#sleep(ms).then((isOn) => {
      if (isOn && this.#next === next) step()
    })
  }

  async #poll(): Promise<void> {
    do this.#look()
    while (await this.#sleep(POLL_MS))
  }

  /** Answers false when the watcher was disposed. */
  #sleep(ms: number): Promise<boolean> {
    return this.#parts.clock.sleep(ms, this.#closing.signal).then(
      () => !this.#isOver,
      () => false,
    )
  }

  /** Answers whether it found rows. */
  #read(): boolean {
    return this.#take(() => this.#listener.read())
  }

  #look(): boolean {
    return this.#take(() => this.#listener.look())
  }

  #take(read: () => boolean): boolean {
    if (this.#isOver) return false
    try {
      const isFound = read()
      if (isFound) this.#foundAt = this.#parts.clock.now()
      this.#lastError = ''
      return isFound
    } catch (error) {
      this.#tellOnce(error)
      return false
    }
  }

  /** Logs an error once, not at every poll. */
  #tellOnce(error: unknown): void {
    if (String(error) === this.#lastError) return
    this.#lastError = String(error)
    this.#parts.log.warn('commits unreadable, retrying', { error })
  }
}

const napCell = new Int32Array(new SharedArrayBuffer(4))

function napInPlace(ms: number): void {
  Atomics.wait(napCell, 0, 0, ms)
}
