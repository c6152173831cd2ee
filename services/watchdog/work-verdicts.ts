import { textHead, WHY_MAX } from '#fleet/cut-text.ts'
import { redact } from '#fleet/redact.ts'
import type { WorkVerdict } from '#fleet/verdict.ts'

/** What is found of the work of an agent that beats. */
export interface AgentWork {
  readonly verdict: WorkVerdict
  /** For people, in one line. */
  readonly why: string | null
  /** Until when it is expected to hold, and since when it does, milliseconds since 1970; null and left out: nobody knows. */
  readonly until: number | null
  readonly since?: number
}

/**
 * The verdicts on the work of agents, which whoever looks at their work passes. They are shown in place of `alive`, and of no
 * other verdict: of an agent that is not heard nobody knows how its work goes.
 */
export class WorkVerdicts {
  #byAgent: ReadonlyMap<string, AgentWork> = new Map()
  #revision = 0

  /** Rises with every change. */
  get revision(): number {
    return this.#revision
  }

  of(agent: string): AgentWork | undefined {
    return this.#byAgent.get(agent)
  }

  /** Takes over all that there are now; agents not named have none. */
  replace(byAgent: ReadonlyMap<string, AgentWork>): void {
    const cleaned = new Map([...byAgent].map(([agent, work]) => [agent, { ...work, why: cleanReason(work.why) }]))
    if (isSame(cleaned, this.#byAgent)) return
    this.#byAgent = cleaned
    this.#revision += 1
  }
}

function cleanReason(why: string | null): string | null {
  if (why === null) return null
  return textHead(redact(why).replace(/\s+/g, ' ').trim(), WHY_MAX)
}

function isSame(one: ReadonlyMap<string, AgentWork>, other: ReadonlyMap<string, AgentWork>): boolean {
  return one.size === other.size && [...one].every(([agent, work]) => textOf(work) === textOf(other.get(agent)))
}

function textOf(work: AgentWork | undefined): string {
  return JSON.stringify([work?.verdict, work?.why, work?.until, work?.since])
}
