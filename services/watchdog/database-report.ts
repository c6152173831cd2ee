import { databaseIncident, outcomeOfTrouble, type StoreTrouble } from '#fleet/store-trouble.ts'
import { roughDuration } from '#runtime/duration.ts'
import type { AlertSender } from './alert-sender.ts'

/**
 * Tells people what keeps the database from being written to, and that it is over. The database cannot keep an incident of this:
 * the bridge notes it there when it is over.
 */
export class DatabaseReport {
  readonly #senders: readonly Pick<AlertSender, 'sendUnstored'>[]
  #told: StoreTrouble | null = null
  #toldAt = 0

  constructor(senders: readonly Pick<AlertSender, 'sendUnstored'>[]) {
    this.#senders = senders
  }

  /** Takes in what there is at `now`. */
  note(trouble: StoreTrouble | null, now: number): void {
    if (trouble?.kind === this.#told?.kind) return
    if (this.#told !== null) {
      const outcome = outcomeOfTrouble(trouble, roughDuration(now - this.#toldAt))
      for (const sender of this.#senders) sender.sendUnstored(databaseIncident(this.#told), 'closed', outcome)
    }
    this.#told = trouble
    this.#toldAt = now
    if (trouble === null) return
    for (const sender of this.#senders) sender.sendUnstored(databaseIncident(trouble), 'opened')
  }
}
