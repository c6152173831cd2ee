import { EVERY_CHANNEL } from '#fleet/incident.ts'
import { type StoreWarning, warningCause, warningIncident } from '#fleet/store-warning.ts'
import type { StoreParts } from '../store.ts'
import type { DatabaseWriter } from './database-writer.ts'
import { holderInWords, nextAbout, readersOf } from './file/lock-holders.ts'

/** With so much in the log that no checkpoint could move, people are told; and it is over with so little of it. Bytes. */
const GROWN_BYTES = 64 * 1024 * 1024
const SHRUNK_BYTES = 4 * 1024 * 1024

/**
 * Warns of a log that grows because somebody reads an earlier state of the database and does not end: what was written since is
 * kept in the log for that reader's sake. Nothing is refused for it, but the disk fills.
 */
export class LogWarning {
  readonly #path: string
  readonly #writer: DatabaseWriter
  readonly #onWarning: NonNullable<StoreParts['onWarning']>
  #warning: StoreWarning | null = null
  /** What the incidents of the store say; undefined before the first round. */
  #told: StoreWarning | null | undefined

  constructor(path: string, writer: DatabaseWriter, { onWarning = () => undefined }: Pick<StoreParts, 'onWarning'>) {
    this.#path = path
    this.#writer = writer
    this.#onWarning = onWarning
  }

  look(): void {
    const bytes = this.#writer.unmovedLogBytes()
    if (bytes === null) return
    if (this.#warning === null ? bytes <= GROWN_BYTES : bytes > SHRUNK_BYTES) return
    this.#warning = this.#warning === null ? this.#describe(bytes) : null
    this.#onWarning('log', this.#warning)
  }

  /** Opens the incident, or closes it, where that is news. */
  async tell(): Promise<void> {
    const warning = this.#warning
    if (warning === this.#told) return
    const { groupCommit, tables } = this.#writer
    await groupCommit.write(() =>
      warning === null
        ? tables.incidents.closeIncident(warningCause('log'), [EVERY_CHANNEL], 'the log has been taken up')
        : tables.incidents.openIncident(warningIncident(warning), [EVERY_CHANNEL]),
    )
    this.#told = warning
  }

  #describe(bytes: number): StoreWarning {
    const readers = readersOf(this.#path)
    const holder = readers.find(({ isStopped }) => isStopped) ?? readers[0] ?? null
    const who = holder === null ? 'a process that cannot be seen from here' : holderInWords(holder)
    const size = `${Math.round(bytes / 1_000_000)} MB`
    return {
      kind: 'log',
      message: `the log of the database ${this.#path} has grown by ${size}, for ${who} does not end what it reads`,
      next: `${nextAbout(holder, this.#path)}; then the log shrinks by itself`,
    }
  }
}
