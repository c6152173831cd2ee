import type { CommandContext } from '#console/context.ts'
import { openSessions } from '#console/store-access.ts'
import type { Credential } from '#fleet/credential.ts'
import { type SessionId, sideOf } from '#fleet/session-id.ts'
import { KnownTroubles } from '#runtime/trouble-log.ts'
import { credentialsFolder, readCredentials } from '#spool/credentials.ts'
import { HeldTasks, isHolderAlive } from '#spool/held-tasks.ts'
import { readPlace } from '#spool/place.ts'
import { SessionLocks } from '#spool/session-lock.ts'
import type { Store } from '#store/store.ts'
import type { WorkerSession } from './worker-session.ts'

/** The workers' sessions with credentials on this host; they may come, change and go while the worker runs. */
export class SessionsOnHost implements AsyncDisposable {
  readonly #state: string
  readonly #only: SessionId | null
  readonly #context: CommandContext
  readonly #stores = new Map<string, Store>()
  readonly #locks: SessionLocks
  #credentials: readonly Credential[] = []
  readonly #troubles = new KnownTroubles()

  constructor(state: string, only: SessionId | null, context: CommandContext) {
    this.#state = state
    this.#only = only
    this.#context = context
    this.#locks = new SessionLocks(state)
  }

  /** The sessions that this program has locked, each with its store. Throws the errors of the disk. */
  async read(): Promise<WorkerSession[]> {
    const { credentials, faults } = await readCredentials(this.#state)
    this.#credentials = credentials
    const mine = this.#credentials.filter(({ session }) =>
      this.#only === null ? sideOf(session) === 'b' : session === this.#only,
    )
    const isOurs = await Promise.all(mine.map(({ session }) => this.#locks.hold(session)))
    const ours = mine.filter((_, index) => isOurs[index])
    const others = mine.filter((_, index) => !isOurs[index])
    this.#reportOnce([
      ...others.map(({ session }) => `another s2 work on this host serves ${session}; this one waits until it ends`),
      ...(mine.length > 0 ? [] : [`waiting for a credential ${this.#wanted()}: s2-cred-sync fetches it`]),
      ...faults,
    ])
    const place = await readPlace(this.#state)
    return await Promise.all(
      ours.map(async ({ session, bridgeUrl }) => ({
        ...{ session, store: await this.#store(bridgeUrl), place },
        byHand: () => this.#byHand(session, place),
      })),
    )
  }

  async #byHand(session: SessionId, place: string | undefined): Promise<string[]> {
    const held = await new HeldTasks(this.#state).list()
    return held.filter((each) => each.session === session && isHolderAlive(each, place)).map(({ task }) => task)
  }

  #wanted(): string {
    const folder = credentialsFolder(this.#state)
    return this.#only === null ? `of a worker in ${folder}` : `of ${this.#only} in ${folder}`
  }

  #reportOnce(faults: readonly string[]): void {
    const text = faults.map((fault) => `s2: ${fault}\n`).join('')
    if (text === '') this.#troubles.isOver('credentials')
    else if (this.#troubles.isNew('credentials', text)) this.#context.tell(text)
  }

  async #store(bridgeUrl: string): Promise<Store> {
    const known = this.#stores.get(bridgeUrl)
    if (known !== undefined) return known
    const store = await openSessions(bridgeUrl, () => this.#credentials, this.#context)
    this.#stores.set(bridgeUrl, store)
    return store
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#locks[Symbol.asyncDispose]()
    for (const store of this.#stores.values()) await store[Symbol.asyncDispose]()
  }
}
