import { EVERY_CHANNEL, type NewIncident } from '#fleet/incident.ts'
import type { DatabaseWriter } from '../database-writer.ts'
import type { MalformedRows } from '../tables/malformed-rows.ts'
import type { OddIds } from '../tables/messages.ts'

const CAUSE = 'foreign_rows:messages'
const OUTCOME = 'those messages have been read, or removed'

/**
 * Tells people of messages that foreign writers gave ids that SQLite would not give: readers of the Python bridge get them, and
 * those of S2, who go by ids, never do.
 */
export class OddMessages {
  readonly #writer: DatabaseWriter
  readonly #malformed: MalformedRows
  #unread: readonly OddIds[] = []
  /** Whether the incident is open; null before the first look. */
  #isTold: boolean | null = null

  constructor(writer: DatabaseWriter, malformed: MalformedRows) {
    this.#writer = writer
    this.#malformed = malformed
  }

  /** Looks for them, in the open transaction. */
  look(): void {
    const found = this.#writer.tables.messages.oddIds()
    for (const { side, lowest, highest, count } of found)
      this.#malformed.report('message', side === 'below' ? lowest : highest, { count })
    this.#unread = found.filter(({ unread }) => unread > 0)
  }

  /** Opens the incident, or closes it, where that is news. */
  async tell(): Promise<void> {
    const isOdd = this.#unread.length > 0
    if (isOdd === this.#isTold) return
    const { groupCommit, tables } = this.#writer
    await groupCommit.write(() =>
      isOdd
        ? tables.incidents.openIncident(incidentOf(this.#unread), [EVERY_CHANNEL])
        : tables.incidents.closeIncident(CAUSE, [EVERY_CHANNEL], OUTCOME),
    )
    this.#isTold = isOdd
  }
}

function incidentOf(unread: readonly OddIds[]): NewIncident {
  const number = unread.reduce((sum, each) => sum + each.unread, 0)
  const some =
    number === 1 ? '1 message of a foreign writer has an id' : `${number} messages of foreign writers have ids`
  const where = unread.map(({ side, limit, lowest, highest }) => {
    const range = lowest === highest ? lowest : `${lowest} to ${highest}`
    return `${side} ${limit} (${range})`
  })
  const summary = `${some} ${where.join(' and ')}: readers of the Python bridge get them, S2's agents do not; write them again without an id, so that the table gives one`
  return { cause: CAUSE, kind: 'foreign_rows', agent: null, summary }
}
