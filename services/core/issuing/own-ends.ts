import type { Credential } from '#fleet/credential.ts'
import type { SessionId } from '#fleet/session-id.ts'
import type { Clock } from '#runtime/clock.ts'
import type { IssuerFiles } from './issuer-files.ts'

/** How long what was read counts; others may remove a file meanwhile. */
const COUNTS_MS = 60_000

/**
 * The orchestrator's ends of conversations, as they lie on its host. They are kept in memory between rounds, which come
 * every other second: a fleet of hundreds has as many files.
 */
export class OwnEnds {
  readonly #files: IssuerFiles
  readonly #clock: Pick<Clock, 'now'>
  #bySession = new Map<SessionId, Credential>()
  #registry: string | null = null
  #readAt = 0

  constructor(files: IssuerFiles, clock: Pick<Clock, 'now'>) {
    this.#files = files
    this.#clock = clock
  }

  /** By session; read anew where the registry is another one than before, or a minute has passed. */
  async current(registry: string): Promise<ReadonlyMap<SessionId, Credential>> {
    const now = this.#clock.now()
    if (this.#registry !== registry || now - this.#readAt >= COUNTS_MS) {
      this.#bySession = new Map((await this.#files.ownEnds()).map((each) => [each.session, each]))
      this.#registry = registry
      this.#readAt = now
    }
    return this.#bySession
  }

  async publish(credential: Credential): Promise<void> {
    await this.#files.publishOwnEnd(credential)
    this.#bySession.set(credential.session, credential)
  }

  async remove(session: SessionId): Promise<void> {
    await this.#files.removeOwnEnd(session)
    this.#bySession.delete(session)
  }
}
