import { hostname } from 'node:os'
import { type Beat, FOREIGN_INCARNATION } from '#fleet/beat.ts'
import { type SaidStatus, UNSAID_STATUS } from '#fleet/said-status.ts'
import { conversationOf, isConversationId, type SessionId, sessionId, sideOf } from '#fleet/session-id.ts'
import { statusOfWord } from '#fleet/task-words.ts'
import type { StoreParts } from '../../store.ts'
import type { DatabaseWriter } from '../database-writer.ts'
import { isBusy, isOfOneRow } from '../file/sqlite-errors.ts'
import type { Beats } from '../liveness/beats.ts'
import type { LivenessFile } from '../liveness/liveness-file.ts'
import type { MalformedRows } from '../tables/malformed-rows.ts'
import { EndedConversations } from './ended-conversations.ts'
import { ForeignActs } from './foreign-acts.ts'
import type { ForeignTaskMessages } from './foreign-task-messages.ts'
import { noteHeartbeats, type PythonHeartbeat, readHeartbeats } from './last-mirrored-heartbeats.ts'
import { OddMessages } from './odd-messages.ts'
import { pythonTime } from './python-format.ts'

/** The time between two rounds, milliseconds. */
const ROUND_MS = 250
/** A session's beat is mirrored for the Python bridge at most this often, milliseconds. It counts an agent dead after 120 s. */
const MIRROR_MS = 30_000
/** For so long after a foreign writer's heartbeat the Python bridge counts its agent alive, milliseconds: it needs no mirror. */
const KEPT_MS = 120_000
/** The time between two exchanges of heartbeats, milliseconds. */
const HEARTBEATS_MS = 1000
/** Characters of a heartbeat or a status that are looked at. */
const STATUS_MAX = 100
/** How often unknown sessions are forgotten, milliseconds. */
const FORGET_MS = 600_000
/** How often unread messages are searched for those that came with an id below what was taken in, where others write. */
const SEARCH_MS = 60_000
/** Heartbeats mirrored in one transaction. */
const MIRRORED_AT_ONCE = 500

const REFRESH = 'UPDATE session_status SET last_heartbeat = ? WHERE conversation_id = ? AND session_id = ?'
const RESTATE = 'UPDATE session_status SET status = ?, last_heartbeat = ? WHERE conversation_id = ? AND session_id = ?'
const MIRROR = 'INSERT INTO session_status (conversation_id, session_id, status, last_heartbeat) VALUES (?, ?, ?, ?)'

/** The beat of a session that was mirrored last, and when. */
interface Mirrored {
  readonly incarnation: string
  readonly seq: number
  readonly at: number
}

/** A row of the Python bridge's table of heartbeats; a status that is no text is null. */
interface StatusRow {
  readonly text: string
  readonly status: string | null
}

/**
 * Works beside the Python bridge and its agents, who know nothing of S2: takes in what they do in the shared tables, as
 * signs of life and of work, and what their messages say of tasks, and mirrors our beats there.
 */
export class PythonBridgeSync {
  readonly #writer: DatabaseWriter
  readonly #livenessFile: LivenessFile
  readonly #beats: Beats
  readonly #parts: StoreParts
  readonly #malformed: MalformedRows
  readonly #taskMessages: ForeignTaskMessages
  readonly #acts: ForeignActs
  readonly #ended: EndedConversations
  readonly #oddMessages: OddMessages
  readonly #mirrored = new Map<SessionId, Mirrored>()
  /** When a foreign writer last changed a session's row. */
  readonly #keptAt = new Map<SessionId, number>()
  /** Sessions that foreign writers sent or read by, until that is noted. */
  readonly #active = new Set<SessionId>()
  #heartbeats: Map<SessionId, PythonHeartbeat> | undefined
  /** Settles when nobody reads or writes heartbeats: what is read between a note and its row would look foreign. */
  #exchanging: Promise<unknown> = Promise.resolve()
  #seen = -1
  #heartbeatsAt = Number.NEGATIVE_INFINITY
  #forgotAt: number
  #searchedAt = Number.NEGATIVE_INFINITY
  /** What the connection said of commits of others when the last search began. */
  #searched = -1

  constructor(
    writer: DatabaseWriter,
    livenessFile: LivenessFile,
    beats: Beats,
    parts: StoreParts,
    malformed: MalformedRows,
    taskMessages: ForeignTaskMessages,
  ) {
    this.#writer = writer
    this.#livenessFile = livenessFile
    this.#beats = beats
    this.#parts = parts
    this.#malformed = malformed
    this.#taskMessages = taskMessages
    this.#acts = new ForeignActs(writer.tables, malformed)
    this.#ended = new EndedConversations(writer, parts.clock)
    this.#oddMessages = new OddMessages(writer, malformed)
    this.#forgotAt = parts.clock.now()
  }

  /** Does one round; answers milliseconds until the next. */
  async tend(): Promise<number> {
    const now = this.#parts.clock.now()
    if (now - this.#heartbeatsAt >= HEARTBEATS_MS) {
      await this.#alone(() => this.#exchange(now))
      await this.#oddMessages.tell()
    }
    const hasMore =
      this.#taskMessages.hasNew() && (await this.#writer.groupCommit.write(() => this.#taskMessages.takeIn()))
    await this.#search(now)
    await this.#ended.tend()
    if (now - this.#forgotAt >= FORGET_MS) {
      this.#forgotAt = now
      await this.#beats.forgetUnknown()
    }
    return hasMore ? 0 : ROUND_MS
  }

  async #exchange(now: number): Promise<void> {
    const isMore = await this.#takeSigns(now)
    this.#heartbeatsAt = isMore ? Number.NEGATIVE_INFINITY : now
    await this.#mirror(now)
  }

  async #alone<T>(act: () => Promise<T>): Promise<T> {
    const done = this.#exchanging.then(act)
    this.#exchanging = done.catch(() => undefined)
    return await done
  }

  /** Writes what an agent of ours says that it does. It is noted first, as what is mirrored is. Throws `not_found`, `expired`. */
  async noteStatus(session: SessionId, status: SaidStatus): Promise<void> {
    const { conversations } = this.#writer.tables
    await this.#alone(async () => {
      const known = this.#heartbeats ?? (await readHeartbeats(this.#livenessFile))
      const text = pythonTime(this.#parts.clock.wall())
      const heartbeat = { seq: 0, work: 0, ...known.get(session), text, status }
      await noteHeartbeats(this.#livenessFile, new Map([[session, heartbeat]]))
      known.set(session, heartbeat)
      await this.#writer.groupCommit.write(() => {
        conversations.demandLive(conversationOf(session))
        this.#restate(session, text, status)
      })
    })
  }

  #restate(session: SessionId, text: string, status: SaidStatus): void {
    const { connection } = this.#writer.tables
    const place = [conversationOf(session), sideOf(session)]
    if (connection.run(RESTATE, status, text, ...place) === 0) connection.run(MIRROR, ...place, status, text)
  }

  /** Takes in messages about tasks that a foreign writer gave an id below the cursor, a step at each round. */
  async #search(now: number): Promise<void> {
    const { groupCommit, tables } = this.#writer
    const messages = this.#taskMessages
    if (!messages.isRecorded) return await groupCommit.write(() => messages.record())
    if (!messages.isSearching && now - this.#searchedAt >= SEARCH_MS) {
      this.#searchedAt = now
      const version = tables.connection.dataVersion()
      if (version !== this.#searched) messages.beginSearch()
      this.#searched = version
    }
    if (!messages.isSearching) return
    const found = messages.search()
    if (found.length > 0) await groupCommit.write(() => messages.takeInFound(found))
  }

  /** Counts what foreign writers have done since the last time, as beats of their sessions. Answers whether there is more. */
  async #takeSigns(now: number): Promise<boolean> {
    const isFirst = this.#heartbeats === undefined
    this.#heartbeats ??= await readHeartbeats(this.#livenessFile)
    const known = this.#heartbeats
    const { version, rows, isMore } = this.#readForeignTables()
    if (isFirst) {
      rememberMirrored(rows, known)
      this.#beats.rememberForeign([...known].flatMap(([session, { seq }]) => (seq > 0 ? session : [])))
    }
    const fresh = new Map<SessionId, PythonHeartbeat>()
    for (const [session, row] of rows) {
      const after = withSigns(known.get(session), row, this.#active.has(session))
      if (after !== null) fresh.set(session, after)
    }
    await this.#takeRows(fresh, known, now)
    this.#beats.takeForeign(beatsOf(fresh))
    for (const [session, heartbeat] of fresh) known.set(session, heartbeat)
    this.#active.clear()
    this.#seen = isMore ? -1 : version
    return isMore
  }

  /** Notes rows that a foreign writer changed, and shows a status that says that an agent waits, or does no more. */
  async #takeRows(
    fresh: ReadonlyMap<SessionId, PythonHeartbeat>,
    known: ReadonlyMap<SessionId, PythonHeartbeat>,
    now: number,
  ): Promise<void> {
    const changed = new Map<SessionId, PythonHeartbeat>()
    for (const [session, after] of fresh) {
      const before = known.get(session)
      const { text, status } = after
      if (text === before?.text && status === before.status) continue
      changed.set(session, after)
      this.#keptAt.set(session, now)
      const isNews = status !== null && status !== before?.status && (isBlocked(status) || isBlocked(before?.status))
      if (isNews) await this.#writer.groupCommit.write(() => this.#writer.tables.tasks.showStatus(session, status))
    }
    if (changed.size > 0) await noteHeartbeats(this.#livenessFile, changed)
  }

  /** The rows of heartbeats, and sessions that did something else, where others have committed since the last time. */
  #readForeignTables(): { version: number; rows: Map<SessionId, StatusRow | null>; isMore: boolean } {
    const rows = new Map<SessionId, StatusRow | null>()
    const { connection } = this.#writer.tables
    try {
      connection.beginReading()
      const version = connection.dataVersion()
      if (version === this.#seen) this.#acts.pass()
      else {
        this.#oddMessages.look()
        const { sessions, isMore } = this.#acts.look()
        for (const session of sessions) this.#active.add(session)
        for (const session of this.#active) rows.set(session, null)
        this.#readStatus(rows)
        return { version, rows, isMore }
      }
    } catch (error) {
      if (!isBusy(error)) throw error // the next round reads it
    } finally {
      connection.rollback()
    }
    return { version: this.#seen, rows, isMore: false }
  }

  #readStatus(rows: Map<SessionId, StatusRow | null>): void {
    const { connection } = this.#writer.tables
    for (const row of connection.all(
      'SELECT conversation_id, session_id, status, last_heartbeat FROM session_status',
    )) {
      const { conversation_id: conversation, session_id: side, status, last_heartbeat: text } = row
      const isSound = typeof conversation === 'string' && isConversationId(conversation) && typeof text === 'string'
      if (isSound && (side === 'a' || side === 'b')) {
        rows.set(sessionId(conversation, side), {
          text: text.slice(0, STATUS_MAX),
          status: typeof status === 'string' ? status.slice(0, STATUS_MAX) : null,
        })
      } else this.#malformed.report('heartbeat', `${conversation}/${side}`.slice(0, 100))
    }
  }

  /**
   * Mirrored texts are noted before they are written, so that they are never taken for a beat. An agent that keeps its row
   * itself needs none.
   */
  async #mirror(now: number): Promise<void> {
    const text = pythonTime(this.#parts.clock.wall())
    const fresh = new Map<SessionId, PythonHeartbeat>()
    const mirrors = new Map<SessionId, Mirrored>()
    for (const { session, incarnation, seq } of this.#beats.latest()) {
      const mirrored = this.#mirrored.get(session)
      const isNew = mirrored?.incarnation !== incarnation || mirrored.seq !== seq
      if (incarnation === FOREIGN_INCARNATION || !isNew || now - (mirrored?.at ?? Number.NEGATIVE_INFINITY) < MIRROR_MS)
        continue
      if (now - (this.#keptAt.get(session) ?? Number.NEGATIVE_INFINITY) < KEPT_MS) continue
      const before = this.#heartbeats?.get(session)
      fresh.set(session, { seq: 0, work: 0, ...before, text, status: before?.status ?? UNSAID_STATUS })
      mirrors.set(session, { incarnation, seq, at: now })
    }
    const sessions = [...fresh]
    for (let index = 0; index < sessions.length; index += MIRRORED_AT_ONCE) {
      const some = new Map(sessions.slice(index, index + MIRRORED_AT_ONCE))
      await noteHeartbeats(this.#livenessFile, some)
      for (const [session, heartbeat] of some) this.#heartbeats?.set(session, heartbeat)
      await this.#writer.groupCommit.write(() => this.#write(some.keys(), text))
      for (const session of some.keys()) this.#mirrored.set(session, mirrors.get(session) as Mirrored)
    }
  }

  /** A row that cannot be written is passed over: a table of another bridge may allow less than the usual one. */
  #write(sessions: Iterable<SessionId>, text: string): void {
    const { connection } = this.#writer.tables
    for (const session of sessions) {
      try {
        connection.attempt(() => this.#writeHeartbeat(session, text))
      } catch (error) {
        if (!isOfOneRow(error)) throw error
        this.#malformed.report('heartbeat', session)
      }
    }
  }

  /** A row that is there keeps its status, which its agent wrote: only the time of its heartbeat is refreshed. */
  #writeHeartbeat(session: SessionId, text: string): void {
    const { connection } = this.#writer.tables
    const place = [conversationOf(session), sideOf(session)]
    if (connection.run(REFRESH, text, ...place) === 0) connection.run(MIRROR, ...place, UNSAID_STATUS, text)
  }
}

/**
 * What is known of a session with what was found of it: a new text shows that its agent lives, a new status and other acts
 * that it works, for only its own calls write there. Null where nothing is new.
 */
function withSigns(
  before: PythonHeartbeat | undefined,
  row: StatusRow | null,
  hasActed: boolean,
): PythonHeartbeat | null {
  const { text = null, status = null, seq = 0, work = 0 } = before ?? {}
  const after = { text: row?.text ?? text, status: row?.status ?? status }
  const hasWorked = hasActed || after.status !== status
  if (!hasWorked && after.text === text) return null
  return { ...after, seq: seq + 1, work: hasWorked ? work + 1 : work }
}

/**
 * Takes rows that look like our own for ours, where the file of beats was lost with what we knew of them: else agents that
 * died long ago would live again. Our times are whole milliseconds.
 */
function rememberMirrored(
  rows: ReadonlyMap<SessionId, StatusRow | null>,
  known: Map<SessionId, PythonHeartbeat>,
): void {
  for (const [session, row] of rows) {
    const isMirrored = row?.status === UNSAID_STATUS && row.text.endsWith('000')
    if (isMirrored && !known.has(session)) known.set(session, { ...row, seq: 0, work: 0 })
  }
}

function isBlocked(status: string | null | undefined): boolean {
  return typeof status === 'string' && statusOfWord(status) === 'blocked'
}

function beatsOf(heartbeats: ReadonlyMap<SessionId, PythonHeartbeat>): Beat[] {
  const beats: Beat[] = []
  for (const [session, { seq, work }] of heartbeats) {
    beats.push({ session, host: hostname(), incarnation: FOREIGN_INCARNATION, seq, work })
  }
  return beats
}
