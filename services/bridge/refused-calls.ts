import type { AuditedAct } from '#fleet/audit.ts'
import { textHead } from '#fleet/cut-text.ts'
import type { Code } from '#fleet/errors.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Store } from '#store/store.ts'

/** Refusals of callers who may be others than they say, or ask for what is not theirs. */
const AUDITED: ReadonlySet<Code> = new Set<Code>(['unauthenticated', 'forbidden', 'expired'])
/** Kinds of refusals told one by one in an entry; the others are counted. */
const TOLD_MAX = 30
/** A first refusal is recorded after a moment, and those of a flood together once in so long. */
const LOOK_MS = 1_000
const RECORD_EVERY_MS = 60_000

/** A call that was refused. */
export interface RefusedCall {
  readonly code: Code
  /** What was called, and from where. */
  readonly what: string
  readonly who: string | null
  /** For which session, by the caller's own words. */
  readonly session: string | null
  readonly request: string
}

/** Gathers refused calls into audit entries: all of them are counted, and a flood cannot fill the disk. */
export class RefusedCalls {
  readonly #store: Pick<Store, 'record'>
  readonly #clock: Clock
  readonly #calls = new Map<string, RefusedCall & { count: number }>()
  #more = 0
  #recordedAt = Number.NEGATIVE_INFINITY
  #since = 0

  constructor(store: Pick<Store, 'record'>, clock: Clock) {
    this.#store = store
    this.#clock = clock
  }

  note(call: RefusedCall): void {
    if (!AUDITED.has(call.code)) return
    if (this.#isEmpty()) this.#since = this.#clock.wall()
    const kind = JSON.stringify([call.code, call.what, call.who, call.session])
    const known = this.#calls.get(kind)
    if (known !== undefined) known.count += 1
    else if (this.#calls.size < TOLD_MAX) this.#calls.set(kind, { ...call, count: 1 })
    else this.#more += 1
  }

  /** Records what was gathered, when it is time to; answers milliseconds until the next look. */
  async round(): Promise<number> {
    if (this.#isEmpty() || this.#clock.now() - this.#recordedAt < RECORD_EVERY_MS) return LOOK_MS
    await this.flush()
    return LOOK_MS
  }

  /** Records what was gathered. What could not be recorded is gathered further. */
  async flush(): Promise<void> {
    if (this.#isEmpty()) return
    const act = this.#act()
    const [calls, more] = [new Map(this.#calls), this.#more]
    this.#calls.clear()
    this.#more = 0
    this.#recordedAt = this.#clock.now()
    try {
      await this.#store.record(act)
    } catch (error) {
      for (const call of this.#calls.values()) this.#more += call.count
      this.#calls.clear()
      for (const [kind, call] of calls) this.#calls.set(kind, call)
      this.#more += more
      throw error
    }
  }

  #isEmpty(): boolean {
    return this.#calls.size === 0
  }

  #act(): AuditedAct {
    const calls = [...this.#calls.values()].map((call) => ({
      ...call,
      what: textHead(call.what, 60),
      session: call.session === null ? null : textHead(call.session, 66),
    }))
    const details = { since: this.#since, calls, more: this.#more }
    const [first, ...others] = new Set(calls.map(({ code }) => code))
    const result = others.length === 0 ? (first ?? 'refused') : 'refused'
    return { actor: 'bridge', action: 'calls_refused', result, details }
  }
}
