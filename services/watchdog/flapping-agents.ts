import type { Incident } from '#fleet/incident.ts'
import { isLoss } from './reported-losses.ts'

/** An agent flaps that was lost and came back so often within an hour. */
export const FLAPS = 3
const FLAPS_WITHIN_MS = 3_600_000
/** It has come to rest when it has been heard without a loss for so long. */
export const STEADY_MS = 1_800_000

/** An agent that flaps. */
interface Flapping {
  /** How often it was lost since it began. */
  readonly losses: number
  /** There may have been more: this watchdog was started after it had begun. */
  readonly isAtLeast: boolean
  /** It died where this watchdog may not see it: then that its daemon beats does not show that it lives. */
  readonly hasUnseenDeath: boolean
}

/** How often agents were lost lately, to read and not to write. Times are by the watchdog's clock that never jumps. */
export type LossHistory = Pick<FlappingAgents, 'lostNow' | 'recent' | 'flapping' | 'steadySince'>

interface Loss {
  readonly at: number
  /** Null while it lasts. */
  readonly returnedAt: number | null
}

/** What is remembered of an agent that was lost within the last hour, or that flaps. */
interface LossRecord {
  losses: Loss[]
  /** Null while it does not flap. */
  flapping: Flapping | null
}

/**
 * How often each agent was lost lately. What the store holds of incidents of losses is enough to go on after a restart: while
 * an agent flaps no more of them are written, and its losses are counted here alone.
 */
export class FlappingAgents {
  readonly #records = new Map<string, LossRecord>()

  /** The agents that are lost, as far as their losses were single ones. */
  lostNow(): string[] {
    return [...this.#records].filter(([, { losses }]) => losses.at(-1)?.returnedAt === null).map(([agent]) => agent)
  }

  /** How often the agent was lost within the last hour, and since when, milliseconds. */
  recent(agent: string, now: number): { readonly losses: number; readonly withinMs: number } {
    const losses = (this.#records.get(agent)?.losses ?? []).filter(({ at }) => now - at <= FLAPS_WITHIN_MS)
    return { losses: losses.length, withinMs: now - (losses[0]?.at ?? now) }
  }

  /** Null where it does not flap, or where what the store holds of it has not been read. */
  flapping(agent: string): Flapping | null {
    return this.#records.get(agent)?.flapping ?? null
  }

  /** Since when it has not been lost; -Infinity where no loss is known, null while it is lost. */
  steadySince(agent: string): number | null {
    const last = this.#records.get(agent)?.losses.at(-1)
    return last === undefined ? Number.NEGATIVE_INFINITY : last.returnedAt
  }

  noteLoss(agent: string, at: number): void {
    const record = this.#record(agent)
    record.losses = [...returned(record.losses, at), { at, returnedAt: null }]
    if (record.flapping !== null) record.flapping = { ...record.flapping, losses: record.flapping.losses + 1 }
  }

  noteReturn(agent: string, at: number): void {
    const record = this.#record(agent)
    record.losses = returned(record.losses, at)
  }

  /** An incident says that this agent flaps, whoever opened it. */
  noteFlapping(agent: string, now: number): void {
    const record = this.#record(agent)
    record.flapping ??= { losses: this.recent(agent, now).losses, isAtLeast: false, hasUnseenDeath: false }
  }

  /** Takes over what the store holds of agents of which nothing is known here. Every agent that flaps is known then. */
  read(incidents: readonly Incident[], now: number, wall: number): void {
    const known = new Set(this.#records.keys())
    const flapping = incidents.filter(({ kind, closedAt }) => kind === 'flapping' && closedAt === null)
    const since = new Map(flapping.map(({ agent, openedAt }) => [agent, openedAt]))
    const ended = incidents.filter((each) => isLoss(each) && each.closedAt !== null)
    const relevant = ended.filter(({ agent, openedAt }) => {
      return agent !== null && !known.has(agent) && Math.abs((since.get(agent) ?? wall) - openedAt) <= FLAPS_WITHIN_MS
    })
    for (const { agent, openedAt, closedAt } of relevant) {
      const loss = { at: now - Math.abs(wall - openedAt), returnedAt: now - Math.abs(wall - (closedAt ?? wall)) }
      this.#record(agent ?? '').losses.push(loss)
    }
    for (const { agent } of flapping) {
      if (agent === null) continue
      const hasUnseenDeath = relevant.some((each) => each.agent === agent && each.kind === 'gone')
      const record = this.#record(agent)
      record.flapping ??= { losses: record.losses.length, isAtLeast: !known.has(agent), hasUnseenDeath }
    }
  }

  /** Forgets what is long ago. `flapping` are the agents of which an incident says so. */
  forget(flapping: ReadonlySet<string>, now: number): void {
    for (const [agent, record] of this.#records) {
      if (!flapping.has(agent)) record.flapping = null
      const kept = record.losses.filter(({ at, returnedAt }, index) => {
        const isLast = index === record.losses.length - 1
        return now - at <= FLAPS_WITHIN_MS || (isLast && (returnedAt === null || record.flapping !== null))
      })
      record.losses = kept
      if (kept.length === 0 && record.flapping === null) this.#records.delete(agent)
    }
  }

  #record(agent: string): LossRecord {
    const known = this.#records.get(agent)
    if (known !== undefined) return known
    const fresh: LossRecord = { losses: [], flapping: null }
    this.#records.set(agent, fresh)
    return fresh
  }
}

function returned(losses: readonly Loss[], at: number): Loss[] {
  return losses.map((loss) => ({ ...loss, returnedAt: loss.returnedAt ?? at }))
}
