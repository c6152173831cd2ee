import { AskingWorkers } from '#fleet/asking-workers.ts'
import type { Beat, Contest, ObservedBeat, ObservedBeats } from '#fleet/beat.ts'
import { readClientActivity } from '#fleet/client-activity.ts'
import { type LastStatus, type SaidStatus, UNSAID_STATUS } from '#fleet/said-status.ts'
import type { SessionId } from '#fleet/session-id.ts'
import type { AgentVerdict } from '#fleet/verdict.ts'
import type { Clock } from '#runtime/clock.ts'

/** The last verdicts, and when they were passed. */
export interface JudgedVerdicts {
  readonly at: number | null
  readonly verdicts: readonly AgentVerdict[]
}

/** Beats and verdicts, in memory. */
export class MemoryLiveness {
  readonly #clock: Clock
  /** In the order of their last change. */
  readonly #pulses = new Map<SessionId, ObservedBeat>()
  readonly #contests = new Map<SessionId, Contest>()
  readonly #asking = new AskingWorkers()
  /** How often the worker of a session began to ask for tasks. */
  readonly #asked = new Map<SessionId, number>()
  readonly #statuses = new Map<SessionId, LastStatus>()
  #version = 0
  #ticks = 0
  #judged: JudgedVerdicts = { at: null, verdicts: [] }

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** An older beat of the same life changes nothing. */
  take({ session, host, incarnation, seq, work, activity: said }: Beat): void {
    const before = this.#pulses.get(session)
    if (before !== undefined && before.incarnation === incarnation && before.seq >= seq) return
    this.#version += 1
    this.#pulses.delete(session)
    const pulse = { session, host, incarnation, seq, work: work + this.#askedOf(session), version: this.#version }
    const activity = readClientActivity(said)
    this.#pulses.set(session, Object.freeze(activity === undefined ? pulse : { ...pulse, activity }))
    this.#noteHeard(session, this.#statuses.get(session)?.status ?? UNSAID_STATUS)
  }

  /** Its worker asked for a task, and there was none: when it begins to, that counts as work from the next beat of its host on. */
  noteAsked(session: SessionId, incarnation: string): void {
    if (this.#asking.note(session, incarnation, this.#clock.now())) this.#asked.set(session, this.#askedOf(session) + 1)
  }

  #askedOf(session: SessionId): number {
    return this.#asked.get(session) ?? 0
  }

  noteStatus(session: SessionId, status: SaidStatus): void {
    this.#noteHeard(session, status)
  }

  lastStatus(session: SessionId): LastStatus | null {
    return this.#statuses.get(session) ?? null
  }

  #noteHeard(session: SessionId, status: string): void {
    this.#statuses.set(session, Object.freeze({ status, heardAt: this.#clock.wall() }))
  }

  /** Two places spoke for the session at once, again or for the first time. */
  noteContest({ session, heard, refused }: Omit<Contest, 'times'>): void {
    const times = (this.#contests.get(session)?.times ?? 0) + 1
    this.#contests.set(session, Object.freeze({ session, heard, refused, times }))
  }

  has(session: SessionId): boolean {
    return this.#pulses.has(session)
  }

  /** Says that beats are being collected: an observer who sees this stand still is blind. */
  tick(): void {
    this.#ticks += 1
  }

  pulses(after: number): ObservedBeats {
    const start = after > this.#version ? 0 : after
    const isNews = start < this.#version
    const pulses = isNews ? [...this.#pulses.values()].filter(({ version }) => version > start) : []
    return { pulses, contests: [...this.#contests.values()], cursor: this.#version, tick: String(this.#ticks) }
  }

  judge(verdicts: Iterable<AgentVerdict>): void {
    const kept = Array.from(verdicts, ({ agent, verdict, since, host, why = null, until = null, activity = null }) => {
      return Object.freeze({ agent, verdict, since, host, why, until, activity })
    })
    this.#judged = Object.freeze({ at: this.#clock.wall(), verdicts: Object.freeze(kept) })
  }

  verdicts(): JudgedVerdicts {
    return this.#judged
  }
}
