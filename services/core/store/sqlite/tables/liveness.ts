import { randomBytes } from 'node:crypto'
import { chmodSync, rmSync } from 'node:fs'
import type { Beat, ObservedBeat, ObservedBeats } from '#fleet/beat.ts'
import { S2Error } from '#fleet/errors.ts'
import type { SessionId } from '#fleet/session.ts'
import type { AgentVerdict } from '#fleet/verdict.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import { prepare, SqliteConnection, waitingForLock } from '../file/connection.ts'
import { type FileIdentity, identify, isSameFile } from '../file/database-path.ts'
import { readSchema } from '../file/schema.ts'
import { isDamage, isFull, sqliteCode } from '../file/sqlite-errors.ts'
import { yieldToEvents } from '../file/yield.ts'

/** Raised with every change of liveness.sql: a file of another version is made anew. */
const SCHEMA_VERSION = 1

/** Beats wait at most this long in memory, milliseconds. */
const FLUSH_MS = 50
/** Rows of beats written or read in one go; in between the event loop turns. */
const BATCH = 2000
/** Verdicts gone through and written in one go: a watchdog has others to pass meanwhile. */
const HELPING = 500

interface Life {
  readonly session: SessionId
  host: string
  incarnation: string
  seq: number
  work: number
}

/** What stands in the Python bridge's table for one session, and how many times a foreign writer has changed it. */
export interface PythonHeartbeat {
  readonly text: string
  readonly seq: number
}

export interface LivenessParts {
  readonly clock: Clock
  readonly chance: Chance
  readonly log: Log
  /** A reader makes no file and writes nothing. */
  readonly mode: 'write' | 'read'
  /** Who may use the file, as in chmod(2), when it is made. */
  readonly fileMode: () => number
  /** How long a locked file is waited for, milliseconds. */
  readonly patienceMs: number
  /** Whether anybody knows this session. */
  isKnown(session: SessionId): boolean
}

/**
 * Beats and verdicts, in a file of their own beside the messages. Beats are taken into memory and written in groups; a
 * power loss may take the last second of them, which the next beats make good. The file may be deleted at any time.
 */
export class LivenessFile implements AsyncDisposable {
  readonly #path: string
  readonly #parts: LivenessParts
  readonly #lives = new Map<SessionId, Life>()
  readonly #dirty = new Set<Life>()
  readonly #collector = randomBytes(6).toString('hex')
  readonly #closing = new AbortController()
  #round = 0
  #judged:
    | { readonly round: string; readonly words: Map<string, string>; readonly file: FileIdentity | null }
    | undefined
  #connection: SqliteConnection | undefined
  #file: FileIdentity | null = null
  #flushing: Promise<void> | undefined
  #writing: Promise<void> = Promise.resolve()
  #isTroubled = false
  #isClosed = false

  constructor(path: string, parts: LivenessParts) {
    this.#path = path
    this.#parts = parts
  }

  /** Takes beats into memory. An older one of the same life changes nothing; sessions that nobody knows are passed over. */
  take(beats: readonly Beat[]): void {
    for (const beat of beats) demandWhole(beat)
    for (const { session, host, incarnation, seq, work } of beats) {
      let life = this.#lives.get(session)
      if (life === undefined) {
        if (!this.#parts.isKnown(session)) continue
        life = { session, host, incarnation, seq, work }
        this.#lives.set(session, life)
      } else {
        if (life.incarnation === incarnation && life.seq >= seq) continue
        life.host = host
        life.incarnation = incarnation
        life.seq = seq
        life.work = work
      }
      this.#dirty.add(life)
    }
    if (this.#dirty.size > 0) this.#flushing ??= this.#flushSoon()
  }

  /** Sessions heard of in this process, and how far they are. */
  lives(): Iterable<Readonly<Life>> {
    return this.#lives.values()
  }

  /** Writes out what is in memory by now. */
  flush(): Promise<void> {
    const before = this.#writing
    this.#writing = (async () => {
      await before.catch(() => undefined)
      await this.#flushAll()
    })()
    return this.#writing
  }

  async #flushAll(): Promise<void> {
    while (this.#dirty.size > 0) {
      const lives = [...this.#dirty].slice(0, BATCH)
      for (const life of lives) this.#dirty.delete(life)
      try {
        await this.#write((connection) => putBeats(connection, lives))
      } catch (error) {
        for (const life of lives) this.#dirty.add(life)
        throw error
      }
      await yieldToEvents()
    }
  }

  /** Says that beats are being collected: an observer who sees this stand still is blind. */
  async tick(): Promise<void> {
    this.#round += 1
    const tick = `${this.#collector}.${this.#round}`
    await this.#write((connection) => connection.run('UPDATE collecting SET tick = ?', tick))
  }

  async pulses(after: number): Promise<ObservedBeats> {
    if (this.#parts.mode === 'write') await this.flush()
    const pulses: ObservedBeat[] = []
    let cursor = after
    for (;;) {
      const rows = await this.#read((connection) =>
        connection.all<ObservedBeat>(
          'SELECT session, host, incarnation, seq, work, version FROM beats WHERE version > ? ORDER BY version LIMIT +?',
          cursor,
          BATCH,
        ),
      )
      if (rows === null) return { pulses: [], cursor: after, tick: '' }
      for (const row of rows) pulses.push(row)
      cursor = rows.at(-1)?.version ?? cursor
      if (rows.length < BATCH) break
      await yieldToEvents()
    }
    const tick = await this.#read((connection) => connection.get<{ tick: string }>('SELECT tick FROM collecting'))
    return { pulses, cursor, tick: tick?.tick ?? '' }
  }

  /**
   * Notes what is judged now: of our own last round only what differs, else all. A large fleet is written in helpings, each
   * at once, and whoever is not named goes last: a reader in between sees some verdicts of before.
   */
  async judge(verdicts: Iterable<AgentVerdict>): Promise<void> {
    const before = this.#judged
    this.#judged = undefined // until it is known to be written, all is written next time
    const words = before?.words ?? new Map<string, string>()
    const { changed, gone } = await note(verdicts, words)
    const last = await this.#read((connection) => connection.get<{ round: string }>('SELECT round FROM judging'))
    const file = this.#file
    const isOurs = before !== undefined && before.round === last?.round && before.file === file
    for (const helping of helpings(isOurs ? changed : verdicts)) {
      await this.#write((connection) => putVerdicts(connection, helping))
      await yieldToEvents()
    }
    const round = `${this.#collector}.${++this.#round}`
    const at = this.#parts.clock.wall()
    const isStillOurs = await this.#write((connection) => {
      const { round: found } = connection.get<{ round: string }>('SELECT round FROM judging') ?? {}
      for (const agent of isOurs ? gone : unnamed(connection, words)) {
        connection.run('DELETE FROM verdicts WHERE agent = ?', agent)
      }
      connection.run('INSERT OR REPLACE INTO judging (id, at, round) VALUES (1, ?, ?)', at, round)
      return found === last?.round // else another watchdog wrote in between
    })
    if (file !== this.#file)
      throw new S2Error('unavailable', `${this.#path} was taken away while verdicts were written`)
    if (isStillOurs) this.#judged = { round, words, file }
  }

  async verdicts(): Promise<{ readonly at: number | null; readonly verdicts: readonly AgentVerdict[] }> {
    const found = await this.#read((connection) => ({
      at: connection.get<{ at: number }>('SELECT at FROM judging')?.at ?? null,
      verdicts: connection.all<AgentVerdict>('SELECT agent, verdict, since, host FROM verdicts ORDER BY agent'),
    }))
    return found ?? { at: null, verdicts: [] }
  }

  /** What was last seen of, or written into, the Python bridge's table of heartbeats. */
  async heartbeats(): Promise<Map<SessionId, PythonHeartbeat>> {
    const rows = await this.#read((connection) =>
      connection.all<PythonHeartbeat & { session: SessionId }>('SELECT session, text, seq FROM heartbeats'),
    )
    return new Map(rows?.map(({ session, text, seq }) => [session, { text, seq }]))
  }

  async noteHeartbeats(heartbeats: ReadonlyMap<SessionId, PythonHeartbeat>): Promise<void> {
    await this.#write((connection) => {
      for (const [session, { text, seq }] of heartbeats) {
        connection.run('INSERT OR REPLACE INTO heartbeats (session, text, seq) VALUES (?, ?, ?)', session, text, seq)
      }
    })
  }

  /** Forgets sessions that nobody knows any more; answers how many. */
  async forgetUnknown(): Promise<number> {
    const rows = await this.#read((connection) =>
      connection.all<{ session: SessionId }>('SELECT session FROM beats UNION SELECT session FROM heartbeats'),
    )
    const unknown = (rows ?? []).map(({ session }) => session).filter((session) => !this.#parts.isKnown(session))
    if (unknown.length === 0) return 0
    await this.#write((connection) => {
      for (const session of unknown) {
        connection.run('DELETE FROM beats WHERE session = ?', session)
        connection.run('DELETE FROM heartbeats WHERE session = ?', session)
      }
    })
    for (const session of unknown) this.#lives.delete(session)
    return unknown.length
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort()
    await this.#flushing
    if (this.#parts.mode === 'write') await this.flush().catch((error: unknown) => this.#complain(error))
    this.#connection?.[Symbol.dispose]()
    this.#connection = undefined
    this.#isClosed = true
  }

  async #flushSoon(): Promise<void> {
    try {
      await this.#parts.clock.sleep(FLUSH_MS, this.#closing.signal)
      await this.flush()
      this.#isTroubled = false
    } catch (error) {
      if (!this.#closing.signal.aborted) this.#complain(error)
    }
    this.#flushing = undefined
    if (this.#dirty.size > 0 && !this.#closing.signal.aborted) this.#flushing = this.#flushSoon()
  }

  #complain(error: unknown): void {
    if (!this.#isTroubled) this.#parts.log.warn('beats cannot be written out; they wait in memory', { error })
    this.#isTroubled = true
  }

  async #write<T>(act: (connection: SqliteConnection) => T): Promise<T> {
    return this.#patiently(() => {
      const connection = this.#open()
      return connection.transaction(() => act(connection))
    })
  }

  /** null where there is no file of ours and none may be made. */
  async #read<T>(act: (connection: SqliteConnection) => T): Promise<T | null> {
    return this.#patiently(() => {
      if (this.#parts.mode === 'read' && identify(this.#path) === null) return null
      const connection = this.#open()
      if (this.#parts.mode === 'read' && connection.pragma('user_version') !== SCHEMA_VERSION) return null
      return act(connection)
    })
  }

  /** Repeats while the file is locked; one that is damaged is given up for a new one, once. */
  async #patiently<T>(act: () => T): Promise<T> {
    const patience = { ...this.#parts, boundMs: this.#parts.patienceMs }
    try {
      return await waitingForLock(act, this.#path, patience)
    } catch (error) {
      const cause = error instanceof Error ? error.cause : undefined
      const isPastUse = (isDamage(cause) && !isFull(cause)) || sqliteCode(cause) === 'SQLITE_ERROR'
      if (!isPastUse || this.#parts.mode === 'read') throw error
      this.#parts.log.warn('the file of beats is damaged; a new one is made', { path: this.#path, error })
      this.#discard()
      return await waitingForLock(act, this.#path, patience)
    }
  }

  /** The handle, opened anew when the file under it is not the one that others see. */
  #open(): SqliteConnection {
    if (this.#isClosed) throw new S2Error('unavailable', `the store of beats ${this.#path} is closed`)
    if (this.#connection !== undefined && isSameFile(this.#file, identify(this.#path))) return this.#connection
    this.#connection?.[Symbol.dispose]()
    this.#connection = undefined
    this.#judged = undefined
    const isNew = identify(this.#path) === null
    const connection = new SqliteConnection(this.#path, { create: this.#parts.mode === 'write' })
    try {
      if (isNew) chmodSync(this.#path, this.#parts.fileMode())
      prepare(connection, 'NORMAL', this.#parts.mode === 'write' ? 'make' : 'leave')
      if (this.#parts.mode === 'write') makeSchema(connection, this.#parts.clock.wall())
    } catch (error) {
      connection[Symbol.dispose]()
      throw error
    }
    this.#file = identify(this.#path)
    this.#connection = connection
    for (const life of this.#lives.values()) this.#dirty.add(life)
    return connection
  }

  #discard(): void {
    this.#connection?.[Symbol.dispose]()
    this.#connection = undefined
    for (const suffix of ['', '-wal', '-shm']) rmSync(`${this.#path}${suffix}`, { force: true })
  }
}

function demandWhole({ session, seq, work }: Beat): void {
  if (Number.isSafeInteger(seq) && Number.isSafeInteger(work)) return
  throw new S2Error('invalid', `the beat of ${session} has a seq or work that is no whole number`)
}

/** Takes verdicts into memory; answers which are new, and who is not named any more. A large fleet is gone through in helpings. */
async function note(verdicts: Iterable<AgentVerdict>, words: Map<string, string>) {
  const changed: AgentVerdict[] = []
  let count = 0
  for (const each of verdicts) {
    const word = wordOf(each)
    if (words.get(each.agent) !== word) {
      words.set(each.agent, word)
      changed.push(each)
    }
    count += 1
    if (count % HELPING === 0) await yieldToEvents()
  }
  if (words.size === count) return { changed, gone: [] }
  const named = new Set(Array.from(verdicts, ({ agent }) => agent))
  const gone = [...words.keys()].filter((agent) => !named.has(agent))
  for (const agent of gone) words.delete(agent)
  return { changed, gone }
}

function* helpings<T>(things: Iterable<T>): Generator<T[]> {
  let helping: T[] = []
  for (const thing of things) {
    helping.push(thing)
    if (helping.length < HELPING) continue
    yield helping
    helping = []
  }
  if (helping.length > 0) yield helping
}

function putVerdicts(connection: SqliteConnection, verdicts: readonly AgentVerdict[]): void {
  for (const { agent, verdict, since, host } of verdicts) {
    connection.run(
      'INSERT OR REPLACE INTO verdicts (agent, verdict, since, host) VALUES (?, ?, ?, ?)',
      agent,
      verdict,
      Math.round(since),
      host,
    )
  }
}

/** Agents of whom a verdict stands there, and who are not named any more. */
function unnamed(connection: SqliteConnection, words: ReadonlyMap<string, string>): string[] {
  const all = connection.all<{ agent: string }>('SELECT agent FROM verdicts')
  return all.map(({ agent }) => agent).filter((agent) => !words.has(agent))
}

function wordOf({ verdict, since, host }: AgentVerdict): string {
  return `${verdict} ${Math.round(since)} ${host ?? ''}`
}

/**
 * Versions begin at the microseconds of the wall clock, so that in a file that was made anew they lie beyond all that
 * observers have seen of the one before.
 */
function makeSchema(connection: SqliteConnection, wall: number): void {
  if (connection.pragma('user_version') === SCHEMA_VERSION) return
  connection.transaction(() => {
    if (connection.pragma('user_version') === SCHEMA_VERSION) return
    const tables = connection.all<{ name: string }>("SELECT name FROM sqlite_schema WHERE type = 'table'")
    for (const { name } of tables) connection.exec(`DROP TABLE "${name}"`)
    connection.exec(readSchema('liveness.sql'))
    connection.run('INSERT INTO collecting (id, version, tick) VALUES (1, ?, ?)', Math.round(wall * 1000), '')
    connection.pragma(`user_version = ${SCHEMA_VERSION}`)
  })
}

function putBeats(connection: SqliteConnection, lives: readonly Readonly<Life>[]): void {
  let version = connection.get<{ version: number }>('SELECT version FROM collecting')?.version ?? 0
  for (const { session, host, incarnation, seq, work } of lives) {
    version += connection.run(
      `INSERT INTO beats (session, host, incarnation, seq, work, version) VALUES (?, ?, ?, ?, ?, ?)
        ON CONFLICT (session) DO UPDATE SET
          host = excluded.host, incarnation = excluded.incarnation, seq = excluded.seq, work = excluded.work,
          version = excluded.version
        WHERE incarnation <> excluded.incarnation OR seq < excluded.seq`,
      session,
      host,
      incarnation,
      seq,
      work,
      version + 1,
    )
  }
  connection.run('UPDATE collecting SET version = ?', version)
}
