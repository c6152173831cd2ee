import { textHead } from '#fleet/cut-text.ts'
import { S2Error } from '#fleet/errors.ts'
import { EVERY_CHANNEL, type NewIncident } from '#fleet/incident.ts'
import type { PlainWorker } from '#issuing/issuer.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import type { Store } from '#store/store.ts'

/** A remote that is away for so long is told of: until then the polls of workers bridge it, and so does the bridge's copy. */
export const AWAY_MS = 600_000

export const REMOTE_AWAY: NewIncident = {
  cause: 'credentials:remote',
  kind: 'credentials',
  agent: null,
  summary:
    'the git remote of credentials cannot be written for ten minutes: workers that reach the bridge get theirs from it; see s2 health cred-sync',
}

export const REMOTE_BACK = 'the git remote of credentials is written again'

export const ALTERED: NewIncident = {
  cause: 'credentials:altered',
  kind: 'credentials',
  agent: null,
  summary:
    'somebody else wrote over the published credentials; they are put right, and no host takes what is not signed: see who may write to the git remote',
}

export const UNALTERED = 'the published credentials stand as they were signed'

/** Names are those of strangers: they are shown quoted, and not all of them. */
export function foreignFiles(names: readonly string[]): NewIncident {
  const shown = names.slice(0, 5).map((name) => JSON.stringify(textHead(name, 100)))
  return {
    cause: 'credentials:foreign',
    kind: 'credentials',
    agent: null,
    summary: `the branch of credentials holds ${names.length} files that S2 did not publish: ${shown.join(', ')}; see who writes there, and remove them`,
  }
}

export const NO_FOREIGN_FILES = 'the branch of credentials holds only what S2 published'

/** Workers that an upgrade found with plain credentials: each of them wants a line, and its host the keys that follow. */
export function plainCredentials(workers: readonly PlainWorker[]): NewIncident {
  const shown = workers.slice(0, 5).map(({ agent, role }) => `${agent} (${role})`)
  const [first] = workers
  const number = first === undefined ? '' : `${first.agent.replace(/^s2-worker-(?=\d+$)/, '')} --role ${first.role}`
  return {
    cause: 'credentials:plain',
    kind: 'credentials',
    agent: null,
    summary: `${workers.length} workers have plain credentials of S2 0.1 in git, and no keys: ${shown.join(', ')}; for each: update S2 on its host, then s2 worker invite ${number} here, and s2 worker join there`,
  }
}

export const NO_PLAIN_CREDENTIALS = 'no worker has plain credentials of S2 0.1 in git any more'

/** Tells people of what the issuer finds wrong, once, and once when it is over. */
export class CredentialIncidents {
  readonly #store: Pick<Store, 'openIncident' | 'closeIncident'>
  readonly #parts: { readonly clock: Clock; readonly log: Log }
  /** What is open, or closed, as far as is known; a new program knows nothing of what the one before left. */
  readonly #known = new Map<string, boolean>()
  readonly #since = new Map<string, number>()

  constructor(
    store: Pick<Store, 'openIncident' | 'closeIncident'>,
    parts: { readonly clock: Clock; readonly log: Log },
  ) {
    this.#store = store
    this.#parts = parts
  }

  /**
   * Opens the incident, or closes it with what is over. Answers whether it is so now: what the store does not take is tried at
   * the next look.
   */
  async toggle(incident: NewIncident, isOn: boolean, outcome: string | null = null): Promise<boolean> {
    const { cause } = incident
    if (!isOn) this.#since.delete(cause)
    if (this.#known.get(cause) === isOn) return true
    try {
      if (isOn) await this.#store.openIncident(incident, [EVERY_CHANNEL])
      else await this.#store.closeIncident(cause, [EVERY_CHANNEL], outcome)
      this.#known.set(cause, isOn)
      return true
    } catch (error) {
      if (!(error instanceof S2Error)) throw error
      this.#parts.log.warn('incident not written, retrying', { cause, error })
      return false
    }
  }

  /** A trouble goes on that is an incident only when it lasts so long. */
  async persists(incident: NewIncident, forMs: number): Promise<void> {
    const now = this.#parts.clock.now()
    const since = this.#since.get(incident.cause) ?? now
    this.#since.set(incident.cause, since)
    if (now - since >= forMs) await this.toggle(incident, true)
  }
}
