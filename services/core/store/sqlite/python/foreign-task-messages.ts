import type { Message } from '#fleet/message.ts'
import { conversationOf } from '#fleet/session-id.ts'
import { unknownWordOf } from '#fleet/task-messages.ts'
import { isOfOneRow } from '../file/sqlite-errors.ts'
import type { MalformedRows } from '../tables/malformed-rows.ts'
import type { Tables } from '../tables/tables.ts'

/** Messages searched in one transaction: most say nothing of tasks, and cost a microsecond. */
const SEARCHED_AT_ONCE = 1_000
/** How often that is done for one caller: what is left of a database that S2 never saw before is taken in by the upkeep. */
const BATCHES_MAX = 20

/** Takes in what messages of foreign writers say about tasks, each once and in order. */
export class ForeignTaskMessages {
  readonly #tables: Tables
  readonly #malformed: MalformedRows

  constructor(tables: Tables, malformed: MalformedRows) {
    this.#tables = tables
    this.#malformed = malformed
  }

  /** Whether messages wait that were not searched yet. Costs two reads and no transaction. */
  hasNew(): boolean {
    return this.#tables.messages.newest() !== this.#cursor()
  }

  /** Takes in the next messages, and moves the cursor; the transaction is the caller's. Answers whether there is more. */
  takeIn(): boolean {
    const { connection, messages, tasks } = this.#tables
    const batch = messages.mentioning('"task_id"', this.#cursor(), SEARCHED_AT_ONCE)
    for (const message of batch.messages) {
      this.#tellUnknown(message)
      this.#absorb(message)
    }
    connection.run("INSERT OR REPLACE INTO s2_cursors (name, at) VALUES ('letters', ?)", batch.last)
    tasks.forgetAbsorbed(batch.last)
    return batch.isFull
  }

  /** Takes in all that was committed before, as far as one transaction may last; it is the caller's. */
  takeInAll(): void {
    for (let batches = 0; batches < BATCHES_MAX && this.hasNew(); batches += 1) this.takeIn()
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

  #cursor(): number {
    return this.#tables.connection.get<{ at: number }>("SELECT at FROM s2_cursors WHERE name = 'letters'")?.at ?? 0
  }
}
