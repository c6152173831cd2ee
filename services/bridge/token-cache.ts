import { S2Error } from '#fleet/errors.ts'
import { type SessionId, sessionId } from '#fleet/session-id.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Store } from '#store/store.ts'

/** Others may end a conversation in the shared database: its tokens are remembered no longer than this. */
const REMEMBERED_MS = 2_000
const KNOWN_MAX = 20_000

/** The tokens in force, remembered for a moment. A session that is unknown or has ended has none. */
export class TokenCache {
  readonly #store: Store
  readonly #clock: Clock
  readonly #known = new Map<SessionId, { readonly tokens: readonly string[]; readonly at: number }>()
  #generation = 0

  constructor(store: Store, clock: Clock) {
    this.#store = store
    this.#clock = clock
  }

  /** Undefined where the store must be asked. */
  peek(session: SessionId): readonly string[] | undefined {
    const known = this.#known.get(session)
    return known !== undefined && this.#clock.now() - known.at < REMEMBERED_MS ? known.tokens : undefined
  }

  async fetch(session: SessionId): Promise<readonly string[]> {
    const generation = this.#generation
    const at = this.#clock.now()
    const tokens = await this.#store.tokens(session).catch(noneIfGone)
    if (generation !== this.#generation) return tokens
    if (this.#known.size >= KNOWN_MAX) this.#known.clear()
    this.#known.set(session, { tokens, at })
    return tokens
  }

  /** The conversation changed: what is remembered of it counts no more, nor what is being fetched. */
  forget(conversation: string): void {
    this.#generation += 1
    for (const side of ['a', 'b'] as const) this.#known.delete(sessionId(conversation, side))
  }
}

function noneIfGone(error: unknown): readonly string[] {
  if (error instanceof S2Error && (error.code === 'not_found' || error.code === 'expired')) return []
  throw error
}
