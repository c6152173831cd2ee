import { EVERY_CHANNEL, heldIncident } from '#fleet/incident.ts'
import type { Log } from '#runtime/log.ts'
import { databaseIn } from '#store/open-store.ts'
import { heldBeside } from '#store/sqlite/backup/held-copy.ts'
import { databasePathOf } from '#store/sqlite/file/database-path.ts'
import type { Store } from '#store/store.ts'

const LOOK_MS = 60_000

export interface HeldCopiesParts {
  readonly store: Pick<Store, 'openIncident' | 'closeIncident'>
  readonly log: Log
}

/**
 * Tells, by an incident, that copies lie beside the database which programs made when others took its files away: what is in
 * them may be missing in the database. It is over when somebody has moved them away.
 */
export class HeldCopies {
  readonly #url: string
  readonly #parts: HeldCopiesParts
  /** Those that were told; null before the first look, as an earlier life may have told of some. */
  #told: string | null = null

  /** `url` is the store's. */
  constructor(url: string, parts: HeldCopiesParts) {
    this.#url = url
    this.#parts = parts
  }

  /** Looks once; answers milliseconds until it is wanted again. */
  async look(): Promise<number> {
    const database = databaseIn(this.#url)
    if (database === null) return LOOK_MS
    const { path } = await databasePathOf(database)
    const held = heldBeside(path)
    const names = held.join()
    if (names === this.#told) return LOOK_MS
    const { store, log } = this.#parts
    const incident = heldIncident(path, held)
    if (held.length > 0) {
      log.warn('held copies beside the database', { path, held })
      await store.openIncident(incident, [EVERY_CHANNEL])
    } else if (
      await store.closeIncident(incident.cause, [EVERY_CHANNEL], `no held copy lies beside ${path} any more`)
    ) {
      log.info('held copies are gone', { path })
    }
    this.#told = names
    return LOOK_MS
  }
}
