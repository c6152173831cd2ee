import { hostname } from 'node:os'
import { type Beat, FOREIGN_LIFE } from '#fleet/beat.ts'
import type { Message } from '#fleet/message.ts'
import { conversationOf, isConversationId, type SessionId, sessionId, sideOf } from '#fleet/session.ts'
import type { StoreParts } from '../../store.ts'
import type { DatabaseWriter } from '../database-writer.ts'
import { isBusy, isDamage, isFull } from '../file/sqlite-errors.ts'
import type { Beats } from '../liveness/beats.ts'
import type { LivenessFile } from '../liveness/liveness-file.ts'
import type { MalformedRows } from '../tables/malformed-rows.ts'
import { noteHeartbeats, type PythonHeartbeat, readHeartbeats } from './mirrored-heartbeats.ts'
import { pythonTime } from './python-format.ts'

/** How often there is something to do here, milliseconds. */
const ROUND_MS = 250
/** Our beats are shown to the Python bridge's readers at most this often, milliseconds. It takes 120 s for death. */
const MIRROR_MS = 30_000
/** How often heartbeats go in and out at most, milliseconds. */
const HEARTBEATS_MS = 1000
/** How often sessions that nobody knows any more are forgotten, milliseconds. */
const FORGET_MS = 600_000
/** Messages looked through for letters in one transaction: most are none, and cost a microsecond. */
const LETTERS_MAX = 1_000
/** Heartbeats shown in one transaction. */
const SHOWN_AT_ONCE = 500

/** What was shown of a session, and when. */
interface Shown {
  readonly incarnation: string
  readonly seq: number
  readonly at: number
}

/**
 * Lives side by side with the Python bridge and its agents, who know nothing of S2: takes in the beats and the words about
 * tasks that they leave in the shared tables, and shows our beats there.
 */
export class PythonAgents {
  readonly #writer: DatabaseWriter
  readonly #livenessFile: LivenessFile
  readonly #beats: Beats
  readonly #parts: StoreParts
  readonly #malformed: MalformedRows
  readonly #shown = new Map<SessionId, Shown>()
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

  /** One round; answers milliseconds until the next is wanted. */
  async tend(): Promise<number> {
    const now = this.#parts.clock.now()
    if (now - this.#heartbeatsAt >= HEARTBEATS_MS) {
      this.#heartbeatsAt = now
      await this.#hear()
      await this.#show(now)
    }
    const isMore = await this.#readLetters()
    if (now - this.#forgotAt >= FORGET_MS) {
      this.#forgotAt = now
      await this.#beats.forgetUnknown()
    }
    return isMore ? 0 : ROUND_MS
  }

  /** A text that we neither wrote nor saw before is a beat, and a sign of the agent itself: only its own calls write there. */
  async #hear(): Promise<void> {
    this.#heartbeats ??= await readHeartbeats(this.#livenessFile)
    const known = this.#heartbeats
    const news = new Map<SessionId, PythonHeartbeat>()
    for (const [session, text] of this.#readStatus()) {
      const before = known.get(session)
      if (before?.text !== text) news.set(session, { text, seq: (before?.seq ?? 0) + 1 })
    }
    if (news.size === 0) return
    this.#beats.take(
      [...news].map(
        ([session, { seq }]): Beat => ({ session, host: hostname(), incarnation: FOREIGN_LIFE, seq, work: seq }),
      ),
    )
    await this.#note(news)
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

  /** Noted before it is shown, so that we never take our own echo for a beat. */
  async #show(now: number): Promise<void> {
    const text = pythonTime(this.#parts.clock.wall())
    const fresh = new Map<SessionId, PythonHeartbeat>()
    for (const { session, incarnation, seq } of this.#beats.latest()) {
      const shown = this.#shown.get(session)
      const isNew = shown?.incarnation !== incarnation || shown.seq !== seq
      if (incarnation === FOREIGN_LIFE || !isNew || now - (shown?.at ?? Number.NEGATIVE_INFINITY) < MIRROR_MS) continue
      fresh.set(session, { text, seq: this.#heartbeats?.get(session)?.seq ?? 0 })
      this.#shown.set(session, { incarnation, seq, at: now })
    }
    const sessions = [...fresh]
    for (let index = 0; index < sessions.length; index += SHOWN_AT_ONCE) {
      const some = new Map(sessions.slice(index, index + SHOWN_AT_ONCE))
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

  /** Takes in what messages say about tasks, with the cursor in the same transaction. Answers whether there is more. */
  async #readLetters(): Promise<boolean> {
    const { messages } = this.#writer.tables
    if (messages.newest() === this.#cursor()) return false
    return this.#writer.groupCommit.write(() => {
      const batch = messages.mentioning('"task_id"', this.#cursor(), LETTERS_MAX)
      for (const message of batch.messages) {
        if (this.#writer.tables.conversations.isLive(conversationOf(message.from))) this.#absorb(message)
      }
      this.#writer.tables.connection.run(
        "INSERT OR REPLACE INTO s2_cursors (name, at) VALUES ('letters', ?)",
        batch.last,
      )
      this.#writer.tables.tasks.forgetLetters(batch.last)
      return batch.isFull
    })
  }

  /** What cannot be taken in is passed over: one strange letter must not stop all that come after it. */
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
