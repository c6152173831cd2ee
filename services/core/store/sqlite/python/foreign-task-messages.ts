import type { Message } from '#fleet/message.ts'
import { conversationOf } from '#fleet/session-id.ts'
import { unknownWordOf } from '#fleet/task-messages.ts'
import { isOfOneRow } from '../file/sqlite-errors.ts'
import type { MalformedRows } from '../tables/malformed-rows.ts'
import { ID_MAX } from '../tables/messages.ts'
import type { Tables } from '../tables/tables.ts'

/** Messages searched in one transaction: most say nothing of tasks, and cost a microsecond. */
const SEARCHED_AT_ONCE = 1_000
/** How often that is done for one caller: what is left of a database that S2 never saw before is taken in by the upkeep. */
const BATCHES_MAX = 20
/** What every message about a task has in its text. */
const TASK_WORD = '"task_id"'
/** Up to which message `s2_letters` names all that were taken in; `ID_MAX` where it names all. */
const RECORDED = 'letters_recorded'

/** Sessions whose unread messages are searched in one go. */
const SESSIONS_AT_ONCE = 200

const NEXT_SESSION = `
  SELECT conversation_id AS conversation, to_session AS side FROM messages
    WHERE read = 0 AND (conversation_id, to_session) > (?, ?) ORDER BY conversation_id, to_session LIMIT 1`
const UNREAD = `
  SELECT id FROM messages WHERE read = 0 AND conversation_id = +? AND to_session = +? AND id > ? AND id <= ? ORDER BY id LIMIT +?`
const PASSED_OVER = `
  SELECT w.id FROM (${UNREAD}) w JOIN messages m ON m.id = w.id
    WHERE NOT EXISTS (SELECT 1 FROM s2_letters l WHERE l.message = w.id) AND instr(m.message, '${TASK_WORD}') > 0
    ORDER BY w.id`
const LAST_UNREAD = `SELECT max(id) AS last, count(*) AS count FROM (${UNREAD})`

/** A place in the index of unread messages. */
interface UnreadPlace {
  readonly conversation: string
  readonly side: string
  readonly after: number
}

/**
 * Takes in what messages of foreign writers say about tasks, each once and in order. `s2_letters` names those that were taken in
 * and are still there, so that one with an id below the cursor, which a foreign writer may choose, is found and taken in too.
 */
export class ForeignTaskMessages {
  readonly #tables: Tables
  readonly #malformed: MalformedRows
  /** Where the search of unread messages goes on; null while none is under way. */
  #place: UnreadPlace | null = null

  constructor(tables: Tables, malformed: MalformedRows) {
    this.#tables = tables
    this.#malformed = malformed
  }

  /** Whether messages wait that were not searched yet. Costs two reads and no transaction. */
  hasNew(): boolean {
    return this.#tables.messages.newest() > this.#cursor('letters')
  }

  /** Takes in the next messages, and moves the cursor; the transaction is the caller's. Answers whether there is more. */
  takeIn(): boolean {
    const cursor = this.#cursor('letters')
    const batch = this.#tables.messages.mentioning(TASK_WORD, cursor, SEARCHED_AT_ONCE)
    this.#takeInAll(batch.messages)
    if (batch.last > cursor) this.#setCursor('letters', batch.last)
    return batch.isFull
  }

  /** Takes in all that was committed before, as far as one transaction may last; it is the caller's. */
  takeInAll(): void {
    for (let batches = 0; batches < BATCHES_MAX && this.hasNew(); batches += 1) this.takeIn()
  }

  /** Begins to look for unread messages below the cursor that were not taken in. */
  beginSearch(): void {
    this.#place ??= this.#sessionAfter('', '')
  }

  get isSearching(): boolean {
    return this.#place !== null
  }

  /** Looks at the next unread messages, so many that nobody has to wait for it; answers those that were not taken in. */
  search(): readonly number[] {
    const { connection } = this.#tables
    const cursor = this.#cursor('letters')
    const found: { readonly id: number }[] = []
    let [left, sessions] = [SEARCHED_AT_ONCE, SESSIONS_AT_ONCE]
    for (; this.#place !== null && left > 0 && sessions > 0; sessions -= 1) {
      const { conversation, side, after } = this.#place
      const window = [conversation, side, after, cursor, left] as const
      found.push(...connection.all<{ id: number }>(PASSED_OVER, ...window))
      const seen = connection.get<{ last: number | null; count: number }>(LAST_UNREAD, ...window)
      left -= seen?.count ?? 0
      this.#place =
        left > 0 ? this.#sessionAfter(conversation, side) : { conversation, side, after: seen?.last ?? after }
    }
    return found.map(({ id }) => id)
  }

  /** Takes in what the search has found; the transaction is the caller's. */
  takeInFound(ids: readonly number[]): void {
    for (const id of ids) {
      this.#takeInAll(this.#tables.messages.all(id - 1, 1).messages.filter((message) => message.id === id))
      this.#tables.tasks.noteAbsorbed(id) // also where it says nothing of tasks: it is not to be found again
    }
  }

  /**
   * Whether all that was taken in by now is written down. A database of an earlier version does not say so of what it holds:
   * `record` notes that first, and all of it counts as taken in.
   */
  get isRecorded(): boolean {
    return this.#cursor(RECORDED) === ID_MAX
  }

  /** Notes the next messages below the cursor as taken in; the transaction is the caller's. */
  record(): void {
    const { messages, tasks } = this.#tables
    const cursor = this.#cursor('letters')
    const batch = messages.mentioning(TASK_WORD, this.#cursor(RECORDED), SEARCHED_AT_ONCE)
    for (const { id } of batch.messages) if (id <= cursor) tasks.noteAbsorbed(id)
    this.#setCursor(RECORDED, batch.isFull && batch.last < cursor ? batch.last : ID_MAX)
  }

  #takeInAll(messages: readonly Message[]): void {
    for (const message of messages) {
      this.#tellUnknown(message)
      this.#absorb(message)
    }
  }

  #sessionAfter(conversation: string, side: string): UnreadPlace | null {
    const next = this.#tables.connection.get<Omit<UnreadPlace, 'after'>>(NEXT_SESSION, conversation, side)
    return next === undefined ? null : { ...next, after: 0 }
  }

  #tellUnknown({ id, from, text }: Message): void {
    const word = unknownWordOf(text)
    if (word !== null) this.#malformed.reportUnknownType(word, conversationOf(from), id)
  }

  /** A message that cannot be absorbed is passed over: it must not stop those that come after it. */
  #absorb(message: Message): void {
    const { chain, connection, tasks } = this.#tables
    try {
      connection.attempt(() => tasks.absorb(message))
    } catch (error) {
      if (!isOfOneRow(error)) throw error
      chain.forgetHead()
      this.#malformed.report('task', message.id)
    }
  }

  #cursor(name: string): number {
    return this.#tables.connection.get<{ at: number }>('SELECT at FROM s2_cursors WHERE name = ?', name)?.at ?? 0
  }

  #setCursor(name: string, at: number): void {
    this.#tables.connection.run('INSERT OR REPLACE INTO s2_cursors (name, at) VALUES (?, ?)', name, at)
  }
}
