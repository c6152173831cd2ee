import type { ProcessFinding } from '#fleet/agent-processes.ts'
import { textHead, WHY_MAX } from '#fleet/cut-text.ts'
import { S2Error } from '#fleet/errors.ts'
import type { NewIncident } from '#fleet/incident.ts'
import type { Task } from '#fleet/task.ts'
import { backoff } from '#runtime/backoff.ts'
import { type Chance, type Clock, type Moment, momentOf } from '#runtime/clock.ts'
import { formatDuration } from '#runtime/duration.ts'
import type { Log } from '#runtime/log.ts'
import type { WatchConfig } from './config.ts'
import { evidenceToOpen } from './evidence-age.ts'
import type { FleetObservation } from './fleet-observation.ts'
import type { OpenIncidents } from './open-incidents.ts'
import type { OpenTasksState } from './open-tasks-state.ts'
import type { ProcessSource } from './process-sources/read-source.ts'

export interface AgentRestartsParts {
  readonly observation: Pick<FleetObservation, 'fleet' | 'processes' | 'readAt' | 'isBlind' | 'isMassSilence'>
  readonly board: Pick<OpenTasksState, 'tasks' | 'strandedSince'>
  readonly sources: readonly ProcessSource[]
  readonly incidents: OpenIncidents
  readonly clock: Clock
  readonly log: Log
  readonly chance: Chance
  readonly signal: AbortSignal
  /** An incident was opened or closed that people are to be told of. */
  onIncident(): void
}

const STEP_EVERY_MS = 1_000
const HOUR_MS = 3_600_000
/** The longest pause that repeated restarts grow to. */
const PAUSE_MAX_MS = 600_000
/** How long a process that was started has to bring its agent back, before the next try. */
const RETURN_MS = 60_000

/** When a dead agent is to be started again. */
interface Plan {
  /** The death that it is for. */
  readonly since: number
  readonly dueAt: number
}

/**
 * Starts what a dead agent ran in, where its owner allows that. An open incident of the kind `restart` is the claim to do so,
 * so that of several watchdogs one does; how many there were within an hour is what is capped. It is a start and never a
 * stop: an agent that came back by itself meanwhile is left alone. A supervisor that refuses is reported once, and asked
 * again as often as is allowed.
 */
export class AgentRestarts {
  readonly #config: WatchConfig
  readonly #parts: AgentRestartsParts
  readonly #plans = new Map<string, Plan>()
  /** Claims that are open, by when this watchdog first saw them so. */
  readonly #claims = new Map<string, number>()

  constructor(config: WatchConfig, parts: AgentRestartsParts) {
    this.#config = config
    this.#parts = parts
  }

  /** One round; answers how long to wait, milliseconds. */
  async step(): Promise<number> {
    await this.#releaseClaims()
    const { fleet, processes } = this.#parts.observation
    if (processes.isEmpty && this.#claims.size === 0) return this.#config.roundMs
    for (const agent of this.#plans.keys()) if (fleet.standing(agent)?.verdict !== 'gone') this.#plans.delete(agent)
    for (const agent of [...processes.agents()]) {
      const found = this.#startable(agent)
      if (found !== null) await this.#consider(agent, found)
    }
    return STEP_EVERY_MS
  }

  /** The dead process that may be started for this agent now; null where none may. */
  #startable(agent: string): ProcessFinding | null {
    const { fleet, processes, isBlind, isMassSilence } = this.#parts.observation
    if (this.#config.restartsMax === 0 || isBlind || isMassSilence || fleet.massSilence) return null
    if (fleet.standing(agent)?.verdict !== 'gone') return null
    const found = processes.of(agent)
    if (found === null || !found.isKnown || !found.agentProcess.mayStart) return null
    return found.state === 'ended' || found.state === 'found_ended' ? found : null
  }

  async #consider(agent: string, found: ProcessFinding): Promise<void> {
    const { clock, incidents, observation } = this.#parts
    const now = clock.now()
    const since = observation.fleet.standing(agent)?.since ?? now
    if (now < since + this.#config.restartAfterMs || this.#hasTasksToMove(agent)) return
    if (incidents.isOpen(claimOf(agent)) || incidents.isOpen(exhaustionOf(agent))) return
    const plan = this.#plans.get(agent)
    const isPlanned = plan?.since === since
    if (isPlanned && plan.dueAt > now) return
    const tries = await this.#triesOf(agent)
    if (tries >= this.#config.restartsMax) return await this.#giveUp(agent, found, tries, since)
    if (isPlanned) await this.#restart(agent, found, tries + 1)
    else this.#plans.set(agent, { since, dueAt: now + this.#pauseAfter(tries) })
  }

  /** Its tasks are still to be given to other agents, and there are such. */
  #hasTasksToMove(agent: string): boolean {
    const { board, observation } = this.#parts
    const isItsOwn = ({ holder }: Task): boolean => holder !== null && observation.fleet.agentOf(holder) === agent
    return board.strandedSince === null && board.tasks.some(isItsOwn)
  }

  /** Full jitter, and none before the first try: it has waited long enough. */
  #pauseAfter(tries: number): number {
    if (tries === 0) return 0
    return backoff(tries, { firstMs: this.#config.restartAfterMs, mostMs: PAUSE_MAX_MS }, this.#parts.chance)
  }

  /** How often it was started within the last hour, by any watchdog. A time that lies far ahead is of before the clock was put back. */
  async #triesOf(agent: string): Promise<number> {
    const now = this.#parts.clock.wall()
    const all = await this.#parts.incidents.history('restart')
    return all.filter((each) => each.agent === agent && Math.abs(now - each.openedAt) < HOUR_MS).length
  }

  async #restart(agent: string, { agentProcess: { name } }: ProcessFinding, attempt: number): Promise<void> {
    const { incidents, sources, signal, log, clock } = this.#parts
    const summary = `${name} of ${agent} is started again: attempt ${attempt} of ${this.#config.restartsMax} within an hour`
    const claim: NewIncident = { cause: claimOf(agent), kind: 'restart', agent, summary }
    this.#plans.delete(agent)
    const isFirst = await incidents.claim({ ...claim, evidenceAt: this.#evidenceFor(claim) })
    this.#claims.set(claim.cause, clock.now())
    if (!isFirst) return
    const found = this.#startable(agent) // it may have come back while the claim was written
    const source = sources.find((each) => each.name === found?.source)
    if (found === null || source === undefined) return
    try {
      await source.start(found.agentProcess.id, signal)
      log.warn('agent restarted', { agent, process: name, attempt })
    } catch (error) {
      log.warn('agent restart failed', { agent, process: name, attempt, error })
      return await this.#open(refusal(agent, name, error), momentOf(clock))
    }
    const outcome = `${name} of ${agent} was started again`
    if (await incidents.close({ cause: refusalOf(agent), outcome, evidenceAt: momentOf(clock) }))
      this.#parts.onIncident()
  }

  /** Where a start was refused, people know that already; when an old attempt is more than an hour ago there is another. */
  async #giveUp(
    agent: string,
    { agentProcess: { name, why } }: ProcessFinding,
    tries: number,
    since: number,
  ): Promise<void> {
    await this.#parts.incidents.read()
    if (this.#parts.incidents.isOpen(refusalOf(agent))) {
      this.#plans.set(agent, { since, dueAt: this.#parts.clock.now() + PAUSE_MAX_MS })
      return
    }
    const summary = `${name} of ${agent} was started ${tries} times within an hour and ended again (${why}): find out why, then start it by hand`
    const incident: NewIncident = { cause: exhaustionOf(agent), kind: 'restarts_exhausted', agent, summary }
    await this.#open(incident, this.#evidenceFor(incident))
  }

  async #open(incident: NewIncident, evidenceAt: Moment): Promise<void> {
    if (await this.#parts.incidents.open({ ...incident, evidenceAt })) this.#parts.onIncident()
  }

  #evidenceFor(incident: NewIncident): Moment {
    const { now: at, wall } = momentOf(this.#parts.clock)
    return evidenceToOpen(incident, { at, wall, observed: this.#parts.observation })
  }

  /** A claim ends when its agent was heard again, or had time enough for that, whichever watchdog made the claim. */
  async #releaseClaims(): Promise<void> {
    const { incidents, clock, observation } = this.#parts
    const open = incidents.of('restart')
    const causes = new Set(open.map(({ cause }) => cause))
    for (const cause of this.#claims.keys()) if (!causes.has(cause)) this.#claims.delete(cause)
    for (const { cause, agent } of open) {
      const seenAt = this.#claims.get(cause) ?? clock.now()
      this.#claims.set(cause, seenAt)
      const standing = observation.fleet.standing(agent ?? '')
      const isBack = standing?.verdict === 'alive' && standing.proven
      if (!isBack && clock.now() < seenAt + RETURN_MS) continue
      const outcome = isBack ? `${agent} was heard again` : `${agent} was not heard within ${formatDuration(RETURN_MS)}`
      await incidents.release(cause, outcome)
    }
  }
}

function claimOf(agent: string): string {
  return `restart:${agent}`
}

function exhaustionOf(agent: string): string {
  return `restarts_exhausted:${agent}`
}

function refusalOf(agent: string): string {
  return `restart_failed:${agent}`
}

function refusal(agent: string, name: string, error: unknown): NewIncident {
  const why = textHead(error instanceof Error ? error.message : String(error), WHY_MAX)
  const next = error instanceof S2Error && error.next !== undefined ? error.next : 'start it by hand'
  const summary = `${name} of ${agent} could not be started again: ${why}; next: ${next}`
  return { cause: refusalOf(agent), kind: 'restart_failed', agent, summary }
}
