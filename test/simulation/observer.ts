import type { Life } from './clock.ts'

export interface ObserverConfig {
  readonly lateAfterMs: number
  readonly silentAfterMs: number
  readonly watchMs: number
}

/**
 * What one life of a watchdog was entitled to think, by an account of its own: when it last read that an agent had been
 * heard, and since when it has seen without a gap. Promise 4: nobody is convicted on less than a full silence of seeing.
 */
export class Observer {
  readonly #config: ObserverConfig
  readonly #life: Life
  readonly #credits = new Map<string, { readonly heard: number; readonly at: number }>()
  /** Nobody may be convicted before a full silence from here. */
  #seesSince = Number.POSITIVE_INFINITY
  #read: { readonly now: number; readonly wall: number } | null = null
  #tick = ''
  #tickAt = 0
  #blind = false
  #asked = { now: 0, wall: 0 }
  #coming: { readonly heard: ReadonlyMap<string, number>; readonly tick: string } | null = null

  constructor(config: ObserverConfig, life: Life) {
    this.#config = config
    this.#life = life
  }

  /** It is about to read the beats. */
  onAsk(): void {
    this.#asked = { now: this.#life.clock.now(), wall: this.#life.clock.wall() }
  }

  /** The store reads for it. The watchdog knows of that when the answer has come. */
  onRead(heard: ReadonlyMap<string, number>, tick: string): void {
    this.#coming = { heard: new Map(heard), tick }
  }

  onAnswer(): void {
    const asked = this.#asked
    if (this.#coming === null) return
    const { heard, tick } = this.#coming
    this.#coming = null
    this.#watchForGaps(tick)
    for (const [agent, count] of heard) {
      if (this.#credits.get(agent)?.heard !== count) this.#credits.set(agent, { heard: count, at: asked.now })
    }
    this.#read = asked
  }

  /** Why the agent may not be taken for silent just now; null where it may. */
  objection(agent: string): string | null {
    const { silentAfterMs } = this.#config
    const now = this.#life.clock.now()
    const unheardMs = now - (this.#credits.get(agent)?.at ?? this.#seesSince)
    const seenMs = now - this.#seesSince
    if (this.#blind) return 'though nobody collects beats'
    if (unheardMs < silentAfterMs - SLACK_MS) return `heard ${Math.round(unheardMs)} ms before`
    return seenMs < silentAfterMs - SLACK_MS ? `after ${Math.round(seenMs)} ms of seeing` : null
  }

  #watchForGaps(tick: string): void {
    const { lateAfterMs, watchMs } = this.#config
    const { now, wall } = this.#asked
    const before = this.#read
    const gap = before === null ? null : { mono: now - before.now, wall: wall - before.wall }
    const wasAway = gap !== null && gap.mono > lateAfterMs + watchMs + SLACK_MS
    const jumped = gap !== null && Math.abs(gap.wall - gap.mono) > lateAfterMs + SLACK_MS
    if (tick !== this.#tick) {
      if (before === null || this.#blind) this.#seesSince = now
      this.#tick = tick
      this.#tickAt = now
      this.#blind = false
    } else if (wasAway || jumped) this.#tickAt = now
    else if (now - this.#tickAt > lateAfterMs + watchMs + SLACK_MS) this.#blind = true
    if (wasAway || jumped) this.#seesSince = now
  }
}

/** Sums of fractions of milliseconds are not exact. */
const SLACK_MS = 1
