import { randomBytes } from 'node:crypto'
import { AskingWorkers } from '#fleet/asking-workers.ts'
import { type Beat, type Contest, FOREIGN_INCARNATION, type ObservedBeat, type ObservedBeats } from '#fleet/beat.ts'
import { type ClientActivity, readClientActivity } from '#fleet/client-activity.ts'
import { S2Error } from '#fleet/errors.ts'
import type { SessionId } from '#fleet/session-id.ts'
import type { Speakers } from '#fleet/speakers.ts'
import type { StoreTrouble } from '#fleet/store-trouble.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import { yieldToEvents } from '#runtime/yield-to-events.ts'
import type { SqliteConnection } from '../file/connection.ts'
import type { PythonReaders } from '../python/python-readers.ts'
import type { LivenessFile } from './liveness-file.ts'

/** Beats wait at most this long in memory, milliseconds. */
const FLUSH_MS = 50
/** Rows of beats written or read in one go; in between the event loop turns. */
const BATCH = 2000
/** A host of ours beats for a session where it did within this time, milliseconds. */
const HOST_BEATS_MS = 15_000

/** The latest beat of a session, kept as one object that changes: a large fleet beats too often for new ones. */
type LatestBeat = { -readonly [K in keyof Omit<Beat, 'activity'>]: Beat[K] } & {
  activity: ClientActivity | undefined
  /** When it was taken, by the monotonic clock. */
  at: number
  /** What foreign writers did for the session while a host of ours beat for it: part of `work`. */
  foreignWork: number
  /** How often its worker began to ask for tasks, and had none to take: part of `work`. */
  asked: number
}

export interface BeatsParts {
  readonly clock: Clock
  readonly log: Log
  readonly speakers: Speakers
  /** Hears who speaks for each session. */
  readonly pythonReaders: Pick<PythonReaders, 'note' | 'forget'>
  /** Whether the session belongs to a live conversation. */
  isKnown(session: SessionId): boolean
}

/**
 * Beats are taken into memory and written to their file in groups. A power loss may take the last second of them, which
 * the next beats make good.
 */
export class Beats implements AsyncDisposable {
  readonly #file: LivenessFile
  readonly #parts: BeatsParts
  readonly #latest = new Map<SessionId, LatestBeat>()
  readonly #unwritten = new Set<LatestBeat>()
  readonly #asking = new AskingWorkers()
  /** Sets the ticks of this process apart from those of another that collects beats. */
  readonly #collector = randomBytes(6).toString('hex')
  readonly #closing = new AbortController()
  #ticks = 0
  #flushing: Promise<void> | undefined
  #writing: Promise<void> = Promise.resolve()
  #isFailing = false

  constructor(file: LivenessFile, parts: BeatsParts) {
    this.#file = file
    this.#parts = parts
    file.onReopen(() => {
      for (const beat of this.#latest.values()) this.#unwritten.add(beat)
    })
  }

  /**
   * Takes beats into memory. An older beat of the same incarnation changes nothing; unknown sessions are passed over. Answers the
   * first refusal, where another place speaks for a session.
   */
  take(beats: readonly Beat[]): S2Error | null {
    for (const beat of beats) demandIntegers(beat)
    const at = this.#parts.clock.now()
    let refusal: S2Error | null = null
    for (const beat of beats) {
      const { session, host, incarnation, seq, work } = beat
      const activity = readClientActivity(beat.activity)
      let latest = this.#latest.get(session)
      if (latest === undefined && !this.#parts.isKnown(session)) continue
      const refused = this.#parts.speakers.hear(beat, at)
      if (refused !== null) {
        refusal ??= refused
        continue
      }
      if (latest === undefined) {
        latest = { session, host, incarnation, seq, work, activity, at, foreignWork: 0, asked: 0 }
        this.#latest.set(session, latest)
      } else {
        if (latest.incarnation === incarnation && latest.seq >= seq) continue
        latest.host = host
        latest.incarnation = incarnation
        latest.seq = seq
        latest.work = work + latest.foreignWork + latest.asked
        latest.activity = activity
        latest.at = at
      }
      this.#parts.pythonReaders.note(session, incarnation)
      this.#unwritten.add(latest)
    }
    if (this.#unwritten.size > 0) this.#flushing ??= this.#flushSoon()
    return refusal
  }

  /**
   * Takes beats that foreign writers left. Where a host of ours beats for the session too, only their work counts, from the
   * next beat of that host on: two incarnations that take turns would look like restarts.
   */
  takeForeign(beats: readonly Beat[]): void {
    const now = this.#parts.clock.now()
    const alone = beats.filter(({ session, work }) => {
      const latest = this.#latest.get(session)
      const isForeign = latest === undefined || latest.incarnation === FOREIGN_INCARNATION
      if (isForeign || now - latest.at >= HOST_BEATS_MS) return true
      latest.foreignWork = work
      return false
    })
    this.take(alone)
  }

  /** Its worker asked for a task, and there was none: when it begins to, that counts as work from the next beat of its host on. */
  noteAsked(session: SessionId, incarnation: string): void {
    const latest = this.#latest.get(session)
    if (latest !== undefined && this.#asking.note(session, incarnation, this.#parts.clock.now())) latest.asked += 1
  }

  /** Foreign agents whose beats an earlier process heard last. */
  rememberForeign(sessions: Iterable<SessionId>): void {
    for (const session of sessions)
      if (!this.#latest.has(session)) this.#parts.pythonReaders.note(session, FOREIGN_INCARNATION)
  }

  /** The latest beat of each session that this process has heard. */
  latest(): Iterable<Omit<Beat, 'activity'>> {
    return this.#latest.values()
  }

  /** Says that beats are being collected, and what else is troubled: an observer who sees this stand still is blind. */
  async tick(trouble: StoreTrouble | null): Promise<void> {
    this.#ticks += 1
    const tick = `${this.#collector}.${this.#ticks}`
    const told = trouble === null ? null : JSON.stringify(trouble)
    await this.#file.write((connection) => connection.run('UPDATE collecting SET tick = ?, trouble = ?', tick, told))
  }

  async pulses(after: number): Promise<ObservedBeats> {
    if (this.#file.mode === 'write') await this.#flush()
    const given = await this.#file.read((connection) =>
      connection.get<{ version: number }>('SELECT version FROM collecting'),
    )
    const pulses: ObservedBeat[] = []
    // beyond all that was given: it is of a file that is gone, made when the clock was ahead of this one
    let cursor = after > (given?.version ?? after) ? 0 : after
    for (;;) {
      const rows = await this.#file.read((connection) =>
        connection.all<PulseRow>(
          'SELECT session, host, incarnation, seq, work, activity, version FROM beats WHERE version > ? ORDER BY version LIMIT +?',
          cursor,
          BATCH,
        ),
      )
      if (rows === null) return { pulses: [], cursor: after, tick: '' }
      for (const row of rows) pulses.push(pulseOf(row))
      cursor = rows.at(-1)?.version ?? cursor
      if (rows.length < BATCH) break
      await yieldToEvents()
    }
    const collecting = await this.#file.read((connection) =>
      connection.get<{ tick: string; trouble: string | null }>('SELECT tick, trouble FROM collecting'),
    )
    const contests = await this.#file.read((connection) =>
      connection.all<Contest>('SELECT session, heard, refused, times FROM contests'),
    )
    const { tick = '', trouble = null } = collecting ?? {}
    const told = trouble === null ? null : (JSON.parse(trouble) as StoreTrouble)
    return { pulses, contests: contests ?? [], cursor, tick, trouble: told }
  }

  /** Forgets sessions that nobody knows any more. */
  async forgetUnknown(): Promise<void> {
    const rows = await this.#file.read((connection) =>
      connection.all<{ session: SessionId }>('SELECT session FROM beats UNION SELECT session FROM heartbeats'),
    )
    const unknown = (rows ?? []).map(({ session }) => session).filter((session) => !this.#parts.isKnown(session))
    if (unknown.length === 0) return
    await this.#file.write((connection) => {
      for (const session of unknown) {
        connection.run('DELETE FROM beats WHERE session = ?', session)
        connection.run('DELETE FROM heartbeats WHERE session = ?', session)
        connection.run('DELETE FROM contests WHERE session = ?', session)
      }
    })
    for (const session of unknown) {
      this.#latest.delete(session)
      this.#asking.forget(session)
      this.#parts.pythonReaders.forget(session)
      this.#parts.speakers.forget(session)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort()
    await this.#flushing
    if (this.#file.mode === 'write') await this.#flush().catch((error: unknown) => this.#tellFailure(error))
  }

  /** Writes what is in memory by now. */
  #flush(): Promise<void> {
    const before = this.#writing
    this.#writing = (async () => {
      await before.catch(() => undefined)
      await this.#flushAll()
    })()
    return this.#writing
  }

  async #flushAll(): Promise<void> {
    while (this.#unwritten.size > 0) {
      const beats = [...this.#unwritten].slice(0, BATCH)
      // Those of a write that fails are lost: they are so again within half a minute.
      const contests = this.#parts.speakers.takeContests()
      for (const beat of beats) this.#unwritten.delete(beat)
      try {
        await this.#file.write((connection) => {
          putBeats(connection, beats)
          for (const contest of contests) putContest(connection, contest)
        })
      } catch (error) {
        for (const beat of beats) this.#unwritten.add(beat)
        throw error
      }
      await yieldToEvents()
    }
  }

  async #flushSoon(): Promise<void> {
    try {
      await this.#parts.clock.sleep(FLUSH_MS, this.#closing.signal)
      await this.#flush()
      this.#isFailing = false
    } catch (error) {
      if (!this.#closing.signal.aborted) this.#tellFailure(error)
    }
    this.#flushing = undefined
    if (this.#unwritten.size > 0 && !this.#closing.signal.aborted) this.#flushing = this.#flushSoon()
  }

  #tellFailure(error: unknown): void {
    if (!this.#isFailing) this.#parts.log.warn('beats cannot be written; they wait in memory', { error })
    this.#isFailing = true
  }
}

function demandIntegers({ session, seq, work }: Beat): void {
  if (Number.isSafeInteger(seq) && Number.isSafeInteger(work)) return
  throw new S2Error('invalid', `the beat of ${session} has a seq or work that is no whole number`)
}

function putBeats(connection: SqliteConnection, beats: readonly LatestBeat[]): void {
  let version = connection.get<{ version: number }>('SELECT version FROM collecting')?.version ?? 0
  for (const { session, host, incarnation, seq, work, activity } of beats) {
    version += connection.run(
      `INSERT INTO beats (session, host, incarnation, seq, work, activity, version) VALUES (?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (session) DO UPDATE SET
          host = excluded.host, incarnation = excluded.incarnation, seq = excluded.seq, work = excluded.work,
          activity = excluded.activity, version = excluded.version
        WHERE incarnation <> excluded.incarnation OR seq < excluded.seq`,
      session,
      host,
      incarnation,
      seq,
      work,
      activity === undefined ? null : JSON.stringify(activity),
      version + 1,
    )
  }
  connection.run('UPDATE collecting SET version = ?', version)
}

/** A beat as its table has it. */
type PulseRow = Omit<ObservedBeat, 'activity'> & { readonly activity: string | null }

function pulseOf({ activity, ...pulse }: PulseRow): ObservedBeat {
  return activity === null ? pulse : { ...pulse, activity: JSON.parse(activity) as ClientActivity }
}

function putContest(connection: SqliteConnection, { session, heard, refused }: Omit<Contest, 'times'>): void {
  connection.run(
    `INSERT INTO contests (session, heard, refused, times) VALUES (?, ?, ?, 1)
      ON CONFLICT (session) DO UPDATE SET heard = excluded.heard, refused = excluded.refused, times = times + 1`,
    session,
    heard,
    refused,
  )
}
