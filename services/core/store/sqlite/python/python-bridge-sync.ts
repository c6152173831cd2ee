import { hostname } from 'node:os'
import { type Beat, FOREIGN_INCARNATION } from '#fleet/beat.ts'
import type { Message } from '#fleet/message.ts'
import { conversationOf, isConversationId, type SessionId, sessionId, sideOf } from '#fleet/session-id.ts'
import type { StoreParts } from '../../store.ts'
import type { DatabaseWriter } from '../database-writer.ts'
import { isBusy, isDamage, isFull } from '../file/sqlite-errors.ts'
import type { Beats } from '../liveness/beats.ts'
import type { LivenessFile } from '../liveness/liveness-file.ts'
import type { MalformedRows } from '../tables/malformed-rows.ts'
import { noteHeartbeats, type PythonHeartbeat, readHeartbeats } from './last-mirrored-heartbeats.ts'
import { pythonTime } from './python-format.ts'

/** The time between two rounds, milliseconds. */
const ROUND_MS = 250
/** A session's beat is mirrored for the Python bridge at most this often, milliseconds. It counts an agent dead after 120 s. */
const MIRROR_MS = 30_000
/** The time between two exchanges of heartbeats, milliseconds. */
const HEARTBEATS_MS = 1000
/** How often unknown sessions are forgotten, milliseconds. */
const FORGET_MS = 600_000
/** Messages searched in one transaction: most say nothing of tasks, and cost a microsecond. */
const ABSORBED_AT_ONCE = 1_000
/** Heartbeats mirrored in one transaction. */
const MIRRORED_AT_ONCE = 500

/** The beat of a session that was mirrored last, and when. */
interface Mirrored {
  readonly incarnation: string
  readonly seq: number
  readonly at: number
}

/**
 * Works beside the Python bridge and its agents, who know nothing of S2: takes in the heartbeats and the messages about
 * tasks that they leave in the shared tables, and mirrors our beats there.
 */
export class PythonBridgeSync {
  readonly #writer: DatabaseWriter
  readonly #livenessFile: LivenessFile
  readonly #beats: Beats
  readonly #parts: StoreParts
  readonly #malformed: MalformedRows
  readonly #mirrored = new Map<SessionId, Mirrored>()
  #heartbeats: Map<SessionId, PythonHeartbeat> | undefined
  #seen = -1
  #heartbeatsAt = Number.NEGATIVE_INFINITY
  #forgotAt: number

  constructor(
    writer: DatabaseWriter,
    livenessFile: LivenessFile,
    beats: Beats,
    parts: StoreParts,
    malformed: MalformedRows,
  ) {
    this.#writer = writer
    this.#livenessFile = livenessFile
    this.#beats = beats
    this.#parts = parts
    this.#malformed = malformed
    this.#forgotAt = parts.clock.now()
  }

  /** Does one round; answers milliseconds until the next. */
  async tend(): Promise<number> {
    const now = this.#parts.clock.now()
    if (now - this.#heartbeatsAt >= HEARTBEATS_MS) {
      this.#heartbeatsAt = now
      await this.#takeHeartbeats()
      await this.#mirror(now)
    }
    const isMore = await this.#absorbMessages()
    if (now - this.#forgotAt >= FORGET_MS) {
      this.#forgotAt = now
      await this.#beats.forgetUnknown()
    }
    return isMore ? 0 : ROUND_MS
  }

  /** A text that S2 neither wrote nor saw before is a beat, and shows work: only the agent's own calls write there. */
  async #takeHeartbeats(): Promise<void> {
    this.#heartbeats ??= await readHeartbeats(this.#livenessFile)
    const known = this.#heartbeats
    const fresh = new Map<SessionId, PythonHeartbeat>()
    for (const [session, text] of this.#readStatus()) {
      const before = known.get(session)
      if (before?.text !== text) fresh.set(session, { text, seq: (before?.seq ?? 0) + 1 })
    }
    if (fresh.size === 0) return
    this.#beats.take(
      [...fresh].map(
        ([session, { seq }]): Beat => ({ session, host: hostname(), incarnation: FOREIGN_INCARNATION, seq, work: seq }),
      ),
    )
    await this.#note(fresh)
  }

  #readStatus(): Map<SessionId, string> {
    const texts = new Map<SessionId, string>()
    const { connection } = this.#writer.tables
    try {
      const version = connection.dataVersion()
      if (version === this.#seen) return texts
      for (const row of connection.all('SELECT conversation_id, session_id, last_heartbeat FROM session_status')) {
        const { conversation_id: conversation, session_id: side, last_heartbeat: text } = row
        const isSound = typeof conversation === 'string' && isConversationId(conversation) && typeof text === 'string'
        if (isSound && (side === 'a' || side === 'b')) texts.set(sessionId(conversation, side), text)
        else this.#malformed.report('heartbeat', `${conversation}/${side}`.slice(0, 100))
      }
      this.#seen = version
    } catch (error) {
      if (!isBusy(error)) throw error // the next round reads it
    }
    return texts
  }

  /** Mirrored texts are noted before they are written, so that they are never taken for a beat. */
  async #mirror(now: number): Promise<void> {
    const text = pythonTime(this.#parts.clock.wall())
    const fresh = new Map<SessionId, PythonHeartbeat>()
    for (const { session, incarnation, seq } of this.#beats.latest()) {
      const mirrored = this.#mirrored.get(session)
      const isNew = mirrored?.incarnation !== incarnation || mirrored.seq !== seq
      if (incarnation === FOREIGN_INCARNATION || !isNew || now - (mirrored?.at ?? Number.NEGATIVE_INFINITY) < MIRROR_MS)
        continue
      fresh.set(session, { text, seq: this.#heartbeats?.get(session)?.seq ?? 0 })
      this.#mirrored.set(session, { incarnation, seq, at: now })
    }
    const sessions = [...fresh]
    for (let index = 0; index < sessions.length; index += MIRRORED_AT_ONCE) {
      const some = new Map(sessions.slice(index, index + MIRRORED_AT_ONCE))
      await this.#note(some)
      await this.#writer.groupCommit.write(() => this.#write(some))
    }
  }

  #write(heartbeats: ReadonlyMap<SessionId, PythonHeartbeat>): void {
    for (const [session, { text }] of heartbeats) {
      this.#writer.tables.connection.run(
        'INSERT OR REPLACE INTO session_status (conversation_id, session_id, status, last_heartbeat) VALUES (?, ?, ?, ?)',
        conversationOf(session),
        sideOf(session),
        'working',
        text,
      )
    }
  }

  async #note(heartbeats: ReadonlyMap<SessionId, PythonHeartbeat>): Promise<void> {
    await noteHeartbeats(this.#livenessFile, heartbeats)
    for (const [session, heartbeat] of heartbeats) this.#heartbeats?.set(session, heartbeat)
  }

  /** Absorbs what messages say about tasks, and moves the cursor in the same transaction. Answers whether there is more. */
  async #absorbMessages(): Promise<boolean> {
    const { messages } = this.#writer.tables
    if (messages.newest() === this.#cursor()) return false
    return this.#writer.groupCommit.write(() => {
      const batch = messages.mentioning('"task_id"', this.#cursor(), ABSORBED_AT_ONCE)
      for (const message of batch.messages) {
        if (this.#writer.tables.conversations.isLive(conversationOf(message.from))) this.#absorb(message)
      }
      this.#writer.tables.connection.run(
        "INSERT OR REPLACE INTO s2_cursors (name, at) VALUES ('letters', ?)",
        batch.last,
      )
      this.#writer.tables.tasks.forgetAbsorbed(batch.last)
      return batch.isFull
    })
  }

  /** A message that cannot be absorbed is passed over: it must not stop those that come after it. */
  #absorb(message: Message): void {
    try {
      this.#writer.tables.connection.attempt(() => this.#writer.tables.tasks.absorb(message))
    } catch (error) {
      if (isBusy(error) || isFull(error) || isDamage(error)) throw error
      this.#writer.tables.chain.forgetHead()
      this.#malformed.report('task', message.id)
    }
  }

  #cursor(): number {
    return (
      this.#writer.tables.connection.get<{ at: number }>("SELECT at FROM s2_cursors WHERE name = 'letters'")?.at ?? 0
    )
  }
}
