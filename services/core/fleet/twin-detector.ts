import type { Contest } from './beat.ts'
import type { SessionId } from './session-id.ts'

/** Programs that speak for one agent at the same time, by the hosts that they beat from. */
export interface Twins {
  readonly agent: string
  readonly hosts: readonly string[]
  /** The host that the store refuses; left out where the two take turns, as older hosts do. */
  readonly refused?: string
  /** When one of them last took the place of the other, or was refused, by the observer's monotonic clock. */
  readonly at: number
}

/** How many incarnations of a session are remembered: enough to know one that comes back. */
const REMEMBERED = 4
/** Twins that neither replaced each other nor were refused for so long are twins no more, milliseconds. */
export const TWINS_OVER_MS = 600_000

/**
 * Finds out that one credential is used in two places. The store says so of hosts that name their place. Of older ones the beats
 * do: an incarnation is one run of a program, and a run that was replaced is over, so when it beats again, two of them run at once.
 */
export class TwinDetector {
  readonly #past = new Map<SessionId, { readonly incarnation: string; readonly host: string }[]>()
  readonly #twins = new Map<string, Twins>()
  /** How often each session had been contested when it was looked at last. */
  readonly #contests = new Map<SessionId, number>()

  /** A session's incarnation was replaced by another one. */
  noteChange(session: SessionId, agent: string, from: Incarnation, to: Incarnation, now: number): void {
    const past = this.#past.get(session) ?? []
    const isBack = past.some(({ incarnation }) => incarnation === to.incarnation)
    this.#past.set(
      session,
      [from, ...past.filter(({ incarnation }) => incarnation !== from.incarnation)].slice(0, REMEMBERED),
    )
    if (isBack) this.#twins.set(agent, { agent, hosts: [...new Set([from.host, to.host])].sort(), at: now })
  }

  /** What was contested before the observer looked proves nothing about now. */
  recallContest({ session, times }: Contest): void {
    this.#contests.set(session, times)
  }

  /** Takes in what the store says of a session; answers whether it was contested since that was looked at last. */
  noteContest({ session, heard, refused, times }: Contest, agent: string, now: number): boolean {
    if (this.#contests.get(session) === times) return false
    this.#contests.set(session, times)
    this.#twins.set(agent, { agent, hosts: [...new Set([heard, refused])].sort(), refused, at: now })
    return true
  }

  /** The agents that are twins at `now`. */
  current(now: number): readonly Twins[] {
    return [...this.#twins.values()].filter(({ at }) => now - at <= TWINS_OVER_MS)
  }

  /** The session belongs to nobody any more. */
  forget(session: SessionId): void {
    this.#past.delete(session)
  }
}

interface Incarnation {
  readonly incarnation: string
  readonly host: string
}
