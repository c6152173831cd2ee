import { type Clock, MicrosecondClock } from '#runtime/clock.ts'
import type { SqliteConnection } from '../file/connection.ts'
import { microsOfPythonTime, pythonTimeOfMicros } from '../python/python-format.ts'

/**
 * A foreign writer reads its clock before it waits for the lock that S2 holds meanwhile. Measured beside a bridge that sends
 * without a pause, its row sorted before an earlier one of S2 in 15 to 42 of 2,000; where S2 writes a time that is early by up
 * to this, in 0 or 1. Microseconds.
 */
const EARLY_MAX_US = 100_000
/** Others count as writing for so long after a message of theirs, microseconds. */
const OTHERS_US = 2_000_000
/** A time that is further ahead than this is forged, or the clock was set back: it draws none of ours with it. Microseconds. */
const AHEAD_MAX_US = 1_000_000
/** So many of the latest rows are looked at: two foreign writers may have committed against the order of their times. */
const LOOKED_AT = 20

const LATEST = `SELECT max(id) AS id, max(CASE WHEN timestamp < ? THEN timestamp END) AS timestamp
  FROM (SELECT id, timestamp FROM messages WHERE id > ? ORDER BY id DESC LIMIT ${LOOKED_AT})`

/** What is known of the times in the table. */
interface Known {
  /** The latest time, microseconds since 1970. */
  readonly stamp: number
  /** The highest id that was looked at. */
  readonly id: number
  /** When a message of another process was last met, microseconds since 1970. */
  readonly othersAt: number
}

/**
 * The times of the messages that are written here: one order by them, which the Python bridge's readers use, is the order of the
 * commits. While others write too, a time of ours comes right after the latest that is committed.
 */
export class MessageStamps {
  readonly #connection: SqliteConnection
  readonly #clock: MicrosecondClock
  /** As of the last commit. */
  #committed: Known = { stamp: 0, id: 0, othersAt: Number.NEGATIVE_INFINITY }
  /** As of the open transaction; null before its first message. */
  #pending: Known | null = null
  #begunAt = 0

  constructor(connection: SqliteConnection, clock: Clock) {
    this.#connection = connection
    this.#clock = new MicrosecondClock(clock)
  }

  /** A transaction has the lock; what one before wrote without a commit is forgotten. */
  begin(): void {
    this.#begunAt = this.#clock.wall()
    this.#pending = null
  }

  committed(): void {
    this.#committed = this.#pending ?? this.#committed
    this.#pending = null
  }

  /** The time of the next message, microseconds since 1970. */
  next(): number {
    const known = this.#pending ?? this.#look()
    const stamp = stampAfter(known, this.#begunAt)
    this.#pending = { ...known, stamp }
    return stamp
  }

  /** The message has this id. */
  wrote(id: number): void {
    if (this.#pending !== null) this.#pending = { ...this.#pending, id }
  }

  #look(): Known {
    const { stamp, id, othersAt } = this.#committed
    const limit = this.#begunAt + AHEAD_MAX_US
    const found = this.#connection.get<{ id: number | null; timestamp: unknown }>(LATEST, pythonTimeOfMicros(limit), id)
    const theirs = microsOfPythonTime(found?.timestamp) ?? 0
    return {
      stamp: Math.max(theirs, stamp < limit ? stamp : 0),
      id: found?.id ?? id,
      othersAt: found?.id == null ? othersAt : this.#begunAt,
    }
  }
}

/** The time after the latest one: right after it where that is true to the order, else that at which the transaction began. */
function stampAfter({ stamp, othersAt }: Known, begunAt: number): number {
  const earliest = begunAt - othersAt < OTHERS_US ? begunAt - EARLY_MAX_US : begunAt
  return stamp >= earliest ? stamp + 1 : begunAt
}
