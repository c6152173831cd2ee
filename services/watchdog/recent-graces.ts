import type { ObserverPause } from '#fleet/observer-pause.ts'

/** Why agents were given a full silence anew. */
export type GraceReason = ObserverPause | 'not_collected' | 'not_written'

/** Graces count as repeated when they cover so long, or two silences where that is longer, milliseconds. */
const WINDOW_MS = 600_000
/** And when there are so many of them: one long pause is none. */
const REPEATED = 3

interface Grace {
  /** From when on nothing was seen, until when. */
  readonly from: number
  readonly at: number
  readonly why: GraceReason
}

/** What is told of graces that follow each other too closely. */
export interface RepeatedGraces {
  readonly windowMs: number
  readonly byReason: ReadonlyMap<GraceReason, number>
}

/**
 * The graces of late. Each lets every agent be unheard for a full silence anew, so that when they follow each other more closely
 * than that, nobody is ever found silent.
 */
export class RecentGraces {
  readonly #silentAfterMs: number
  readonly #windowMs: number
  /** Those of the window, and the last one before it. */
  #graces: Grace[] = []
  #begunAt: number | null = null
  #isReported = false

  constructor({ silentAfterMs }: { readonly silentAfterMs: number }) {
    this.#silentAfterMs = silentAfterMs
    this.#windowMs = Math.max(WINDOW_MS, 2 * silentAfterMs)
  }

  /** The first beats were read: all agents have a full silence from now. */
  begin(now: number): void {
    this.#begunAt = now
  }

  /** Nothing was seen since `from`: all agents have a full silence from `at`. */
  note(from: number, at: number, why: GraceReason): void {
    const start = at - this.#windowMs
    if ((this.#graces.at(-1)?.at ?? at) + this.#silentAfterMs <= from) this.#isReported = false
    this.#graces = this.#graces.filter((_, index) => (this.#graces[index + 1]?.at ?? at) > start)
    this.#graces.push({ from, at, why })
  }

  /** People were told: they are not told again before a full silence was seen, though another watchdog says that it is over. */
  noteReport(): void {
    this.#isReported = true
  }

  /** Null where a verdict could be passed within the window, or where it is told already. No verdict can be passed since `unjudgedSince`. */
  repeated(now: number, unjudgedSince: number | null): RepeatedGraces | null {
    const start = now - this.#windowMs
    if (this.#isReported || this.#begunAt === null || this.#begunAt > start) return null
    const within = this.#graces.filter(({ at }) => at > start)
    const ends = [...this.#graces.map(({ from }) => from), unjudgedSince ?? now]
    const beginnings = [this.#begunAt, ...this.#graces.map(({ at }) => at)]
    const couldJudge = beginnings.some((at, index) => {
      const end = ends[index] ?? now
      return at + this.#silentAfterMs <= end && end > start
    })
    if (couldJudge || within.length < REPEATED) return null
    return { windowMs: this.#windowMs, byReason: countReasons(within) }
  }

  /** Whether a full silence has passed since the last grace, and all of it was seen. */
  hasSeenSilence(now: number, unjudgedSince: number | null): boolean {
    const last = this.#graces.at(-1)?.at ?? this.#begunAt
    return last !== null && unjudgedSince === null && last + this.#silentAfterMs <= now
  }
}

function countReasons(graces: readonly Grace[]): ReadonlyMap<GraceReason, number> {
  const counts = new Map<GraceReason, number>()
  for (const { why } of graces) counts.set(why, (counts.get(why) ?? 0) + 1)
  return counts
}
