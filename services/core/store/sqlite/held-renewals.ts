import { isPassing } from '#fleet/errors.ts'
import type { SessionId } from '#fleet/session-id.ts'
import type { Report, Task } from '#fleet/task.ts'
import type { DatabaseWriter } from './database-writer.ts'

/** A lock that lasts for so long holds up no renewal, milliseconds. */
const HELD_UP_MS = 1_000

interface Renewal {
  readonly holder: SessionId
  readonly report: Report
}

/**
 * Renewals of leases that came while the database could not be written to. A worker whose lease is not renewed stops its command,
 * though nobody could have been given its task meanwhile: a move could not be written either, and after it the epoch decides.
 */
export class HeldRenewals {
  readonly #writer: DatabaseWriter
  /** The last of each task. */
  readonly #held = new Map<string, Renewal>()
  #isWriting = false

  constructor(writer: DatabaseWriter) {
    this.#writer = writer
  }

  /** Whether this report is one to keep here now. */
  wants({ state }: Report): boolean {
    const { lock, fullSince } = this.#writer.groupCommit
    return state === 'in_progress' && (lock.heldMs >= HELD_UP_MS || fullSince !== null)
  }

  /** Answers the task as the renewal makes it. Throws what it is refused with. */
  take(holder: SessionId, report: Report): Task {
    const task = this.#writer.tables.tasks.foresee(holder, report)
    this.#held.set(task.id, { holder, report })
    return task
  }

  /** Writes down what is held, where that can be done. */
  async write(): Promise<void> {
    if (this.#held.size === 0 || this.#isWriting || this.#writer.isHindered) return
    const renewals = [...this.#held.values()]
    this.#held.clear()
    this.#isWriting = true
    await Promise.all(renewals.map((each) => this.#writeOne(each)))
    this.#isWriting = false
  }

  async #writeOne(renewal: Renewal): Promise<void> {
    const { groupCommit, tables } = this.#writer
    try {
      await groupCommit.write(() => tables.tasks.report(renewal.holder, renewal.report))
    } catch (error) {
      // what is refused is over: its holder learns that by the next one
      if (isPassing(error) && !this.#held.has(renewal.report.task)) this.#held.set(renewal.report.task, renewal)
    }
  }
}
