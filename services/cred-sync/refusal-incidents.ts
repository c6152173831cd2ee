import type { NewIncident } from '#fleet/incident.ts'
import type { Worker } from '#fleet/worker.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Store } from '#store/store.ts'
import type { CredentialIncidents } from './credential-incidents.ts'

const CAUSE = 'credentials:refused:'
/** In so many polls what somebody wrote over is put right, and the hosts that refused it have looked again. */
const POLLS = 2

/** The reason is the host's words, and shown quoted. */
function refusedBy({ agent, refusal }: Pick<Worker, 'agent' | 'refusal'>): NewIncident {
  return {
    cause: CAUSE + agent,
    kind: 'credentials',
    agent,
    summary: `the host of ${agent} refuses a credential that it finds, and takes nothing from there; it says: ${JSON.stringify(refusal)}; see who writes there, and s2 health cred-sync on that host`,
  }
}

export interface RefusalIncidentsParts {
  readonly store: Pick<Store, 'workers' | 'incidents'>
  readonly incidents: Pick<CredentialIncidents, 'toggle' | 'persists'>
  readonly clock: Clock
}

/** Keeps an incident for each worker whose host goes on refusing what it finds. What one host says hides no other's. */
export class RefusalIncidents {
  readonly #parts: RefusalIncidentsParts
  readonly #pollMs: number
  /** The refusals that are told of or may be; null until those are known that a program before told of. */
  #noted: Map<string, NewIncident> | null = null
  #lookedAt = Number.NEGATIVE_INFINITY

  constructor(parts: RefusalIncidentsParts, pollMs: number) {
    this.#parts = parts
    this.#pollMs = pollMs
  }

  /**
   * Compares who refuses with what is told. Answers whether the branch of credentials is to be looked at now, because somebody
   * may have written over it: at most once a poll, however often hosts change their minds.
   */
  async note(): Promise<boolean> {
    const { store, incidents, clock } = this.#parts
    this.#noted ??= await this.#openOnes()
    const workers = await store.workers()
    const refusing = workers.filter(({ refusal, revokedAt }) => refusal !== null && revokedAt === null)
    const wanted = new Map(refusing.map((worker) => [CAUSE + worker.agent, refusedBy(worker)]))
    let isNew = false
    for (const [cause, incident] of this.#noted) {
      if (wanted.has(cause)) continue
      const isWorker = workers.some(({ agent, revokedAt }) => agent === incident.agent && revokedAt === null)
      const outcome = isWorker
        ? `the host of ${incident.agent} refuses nothing any more`
        : `${incident.agent} is no worker any more`
      if (await incidents.toggle(incident, false, outcome)) this.#noted.delete(cause)
    }
    for (const [cause, incident] of wanted) {
      isNew ||= !this.#noted.has(cause)
      this.#noted.set(cause, incident)
      await incidents.persists(incident, POLLS * this.#pollMs)
    }
    if (!isNew || clock.now() - this.#lookedAt < this.#pollMs) return false
    this.#lookedAt = clock.now()
    return true
  }

  async #openOnes(): Promise<Map<string, NewIncident>> {
    const open = await this.#parts.store.incidents({ open: true })
    return new Map(open.filter(({ cause }) => cause.startsWith(CAUSE)).map((incident) => [incident.cause, incident]))
  }
}
