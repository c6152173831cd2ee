import { S2Error } from '#fleet/errors.ts'
import { Pauses } from '#runtime/backoff.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import { yieldToEvents } from '#runtime/yield-to-events.ts'
import type { SqliteConnection } from './connection.ts'
import { ForeignLock } from './foreign-lock.ts'
import { isOnReadOnlyDisk, readOnlyDisk } from './read-only-disk.ts'
import { isBusy, isDamage, isFull, refusalOf } from './sqlite-errors.ts'

export interface GroupCommitParts {
  readonly clock: Clock
  readonly chance: Chance
  /** How long a verb waits for a locked database before it is refused as `unavailable`, milliseconds. */
  readonly lockWaitMs: number
  /** Throws when the files of the database are not the ones that were opened; whoever finds that out tells of it. */
  demandFiles(): void
  /** A transaction begins: what was remembered of the database may be stale. Throws where nothing may be written into it. */
  onBegin(): void
  /** All is written that the transaction will commit. */
  onWritten(): void
  /** A transaction was undone: what was remembered of its content never was. */
  onRollback(): void
  /** Something was committed. Never throws. */
  onCommit(): void
  /** The storage failed: from now on writes are refused, and the program should start again. */
  onBroken(error: S2Error): void
}

interface Job {
  readonly verb: () => unknown
  readonly until: number
  readonly resolve: (value: unknown) => void
  readonly reject: (error: S2Error) => void
}

/** Verbs in one transaction, and milliseconds it may take: the rest waits for the next turn of the event loop. */
const GROUP_MAX = 512
const GROUP_MS = 8

/** Other processes count as writing for so long after they did, milliseconds. */
const OTHERS_MS = 2000
/** The longest pause that leaves them the lock, milliseconds. */
const REST_MAX_MS = 20

/** A verb that comes when the lock has been held for long waits for so long, milliseconds. */
const LATECOMER_MS = 250

/** Waits between tries while another process has the lock. */
const BUSY_WAITS = { firstMs: 2, mostMs: 40 }

/**
 * Group commit: all that is to be written in one turn of the event loop goes into one transaction, so that a hundred callers
 * share one wait for the disk. A verb is a function that reads first and then writes; it answers a value, or throws `S2Error`
 * before it wrote anything. It may run twice, so it has no effect but on the database. Answers and refusals are given after
 * the COMMIT: what they say is durable.
 */
export class GroupCommit {
  readonly #connection: SqliteConnection
  readonly #path: string
  readonly #parts: GroupCommitParts
  /** The lock, while another process has it. */
  readonly lock: ForeignLock
  #fullSince: number | null = null
  #queue: Job[] = []
  #working: Promise<void> | undefined
  #version: number | undefined
  #othersWroteAt = Number.NEGATIVE_INFINITY
  #restUntil = Number.NEGATIVE_INFINITY
  #broken: S2Error | undefined
  #closed: S2Error | undefined

  constructor(connection: SqliteConnection, path: string, parts: GroupCommitParts) {
    this.#connection = connection
    this.#path = path
    this.#parts = parts
    this.lock = new ForeignLock(path, parts.clock)
  }

  /** Since when the disk has been full at every commit, milliseconds since 1970; null where there was room at the last. */
  get fullSince(): number | null {
    return this.#fullSince
  }

  write<T>(verb: () => T): Promise<T> {
    const refusal = this.#broken ?? this.#closed
    if (refusal !== undefined) return Promise.reject(refusal)
    const { promise, resolve, reject } = Promise.withResolvers<unknown>()
    this.#queue.push({ verb, resolve, reject, until: this.#patienceEnd() })
    this.#working ??= this.#work()
    return promise as Promise<T>
  }

  /** Finds out whether another process has the lock, though nothing is to be written. Writes nothing. */
  probe(): void {
    if (this.#working !== undefined || this.#broken !== undefined || this.#closed !== undefined) return
    try {
      this.#connection.begin()
      this.#connection.rollback()
      this.lock.free()
    } catch (error) {
      if (isBusy(error)) this.lock.met() // what else may be wrong the next verb is told
    }
  }

  /** The time counts from when the lock was first met: who comes late is told at once what the others have waited for. */
  #patienceEnd(): number {
    const now = this.#parts.clock.now()
    return Math.max((this.lock.since ?? now) + this.#parts.lockWaitMs, now + LATECOMER_MS)
  }

  /** Takes nothing new; settles when everything asked for is answered. */
  async close(): Promise<void> {
    this.#closed = new S2Error('unavailable', `the store ${this.#path} is closed`)
    await this.#working
  }

  async #work(): Promise<void> {
    const pauses = new Pauses(BUSY_WAITS, this.#parts.chance)
    await this.#rest()
    while (this.#queue.length > 0) {
      const start = this.#parts.clock.now()
      if (this.#turn()) {
        pauses.succeeded()
        this.#restFor(start)
        await this.#rest()
        continue
      }
      this.#giveUpLate()
      if (this.#queue.length > 0) await pauses.wait(this.#parts.clock)
    }
    this.#working = undefined
  }

  /**
   * Leaves the lock free for as long as it was just held, while other processes write too: they try for it at growing
   * intervals, and might find it taken for seconds.
   */
  #restFor(start: number): void {
    const now = this.#parts.clock.now()
    try {
      const version = this.#connection.dataVersion()
      if (this.#version !== undefined && version !== this.#version) this.#othersWroteAt = now
      this.#version = version
    } catch {
      this.#othersWroteAt = now // locked even for reading: another process is at work
    }
    if (now - this.#othersWroteAt < OTHERS_MS) this.#restUntil = now + Math.min(now - start, REST_MAX_MS)
  }

  async #rest(): Promise<void> {
    do await yieldToEvents()
    while (this.#parts.clock.now() < this.#restUntil)
  }

  /** Writes what is queued in one transaction. Answers false, and does nothing, while another process has the lock. */
  #turn(): boolean {
    const group = this.#queue.splice(0, GROUP_MAX)
    if (this.#broken !== undefined) {
      refuse(group, this.#broken)
      return true
    }
    if (!this.#demandFiles(group)) return true
    try {
      this.#connection.begin()
    } catch (error) {
      if (!isBusy(error)) return this.#fail(group, error)
      this.lock.met()
      this.#queue.unshift(...group)
      return false
    }
    this.lock.free()
    return this.#commit(group)
  }

  #commit(group: readonly Job[]): boolean {
    const before = this.#connection.changes
    const answers: (() => void)[] = []
    try {
      this.#parts.onBegin()
      this.#runAll(group, answers)
      if (this.#connection.changes !== before) this.#parts.onWritten()
    } catch (error) {
      return this.#undo(group, error)
    }
    try {
      this.#connection.commit()
    } catch (error) {
      return this.#failCommit(group, error)
    }
    if (!this.#demandFilesStill(group)) return true
    for (const answer of answers) answer()
    if (this.#connection.changes === before) return true
    this.#fullSince = null
    this.#parts.onCommit()
    return true
  }

  /** Answers false, and refuses the group and all that comes, when the files are in doubt. */
  #demandFiles(group: readonly Job[]): boolean {
    try {
      this.#parts.demandFiles()
      return true
    } catch (error) {
      this.#broken = refusalOf(error, this.#path)
      refuse(group, this.#broken)
      return false
    }
  }

  /** The same after a commit: it may lie in a log that nobody will find. */
  #demandFilesStill(group: readonly Job[]): boolean {
    try {
      this.#parts.demandFiles()
      return true
    } catch (error) {
      this.#broken = refusalOf(error, this.#path)
      const outcome = `the files of ${this.#path} were changed by others during a commit; it may have happened`
      refuse(group, unknownOutcome(outcome, error))
      return false
    }
  }

  /** Runs verbs until the time of a group is used up; the rest goes back to the head of the queue. */
  #runAll(group: readonly Job[], answers: (() => void)[]): void {
    const end = this.#parts.clock.now() + GROUP_MS
    for (const [index, job] of group.entries()) {
      const before = this.#connection.changes
      try {
        const value = job.verb()
        answers.push(() => job.resolve(value))
      } catch (error) {
        const hasWritten = this.#connection.changes !== before
        if (!(error instanceof S2Error) || hasWritten) throw error
        answers.push(() => job.reject(error))
      }
      if (this.#parts.clock.now() >= end && index + 1 < group.length) {
        this.#queue.unshift(...group.slice(index + 1))
        return
      }
    }
  }

  /** Rolls back a group in which a verb failed in an unforeseen way, and lets each verb try alone. */
  #undo(group: readonly Job[], error: unknown): boolean {
    // a group that ran out of time has put its rest back into the queue already
    const own = group.filter((job) => !this.#queue.includes(job))
    try {
      this.#connection.rollback()
    } catch (cause) {
      return this.#fail(own, cause)
    } finally {
      this.#parts.onRollback()
    }
    if (own.length === 1 || isFull(error) || isDamage(error)) return this.#fail(own, error)
    for (const [index, job] of own.entries()) {
      if (this.#broken !== undefined) return this.#fail(own.slice(index), this.#broken)
      try {
        this.#connection.begin()
      } catch (busy) {
        if (!isBusy(busy)) this.#fail(own.slice(index), busy)
        else this.#queue.unshift(...own.slice(index))
        return !isBusy(busy)
      }
      this.#commit([job])
    }
    return true
  }

  /** Nothing of this group was written. */
  #fail(group: readonly Job[], error: unknown): boolean {
    if (isDamage(error) && !isFull(error) && !this.#demandFiles(group)) return true // others changed them: the disk is well
    const refusal = refusalOf(error, this.#path)
    if (isFull(error)) this.#fullSince ??= this.#parts.clock.wall()
    refuse(group, refusal)
    if (isDamage(error) && !isFull(error)) this.#break(error)
    return true
  }

  /**
   * A COMMIT threw. A lock or a full disk stops it before its last frame is written, so nothing happened; after any other
   * error it may be on the disk all the same (seen with a failing fsync), and only a restart finds out.
   */
  #failCommit(group: readonly Job[], error: unknown): boolean {
    try {
      this.#connection.rollback()
    } catch {
      // SQLite rolled it back, or the connection cannot be used any more: the store breaks below
    }
    this.#parts.onRollback()
    if (isBusy(error) || isCertainlyFull(error)) return this.#fail(group, error)
    if (!this.#demandFilesStill(group)) return true
    refuse(group, unknownOutcome(`the commit to ${this.#path} met an error; it may have happened`, error))
    this.#break(error)
    return true
  }

  #break(cause: unknown): void {
    if (this.#broken !== undefined) return
    this.#broken = isOnReadOnlyDisk(this.#path)
      ? readOnlyDisk(this.#path, cause)
      : new S2Error('unavailable', `the store ${this.#path} met an error of its disk and writes no more`, {
          next: 'start the program again: it then finds out what was kept',
          cause,
        })
    this.#parts.onBroken(this.#broken)
  }

  /** Refuses verbs that waited for the lock for too long. */
  #giveUpLate(): void {
    const now = this.#parts.clock.now()
    const late = this.#queue.filter(({ until }) => until <= now)
    if (late.length === 0) return
    this.#queue = this.#queue.filter(({ until }) => until > now)
    refuse(late, this.lock.refusal())
  }
}

function refuse(group: readonly Job[], error: S2Error): void {
  for (const { reject } of group) reject(error)
}

function unknownOutcome(message: string, cause: unknown): S2Error {
  return new S2Error('unknown_outcome', message, { next: 'ask again with the same key: nothing is done twice', cause })
}

function isCertainlyFull(error: unknown): boolean {
  return isFull(error) && !isDamage(error)
}
