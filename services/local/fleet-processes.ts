import { join } from 'node:path'
import type { AgentAction, AgentProcesses } from '#console/fleet-control.ts'
import { S2Error } from '#fleet/errors.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import { ChildLog } from './child-log.ts'
import { startChild } from './child-process.ts'
import { type ControlledFleet, findAgent } from './control-server.ts'
import { EventFilter, type ProgramEvent } from './event-filter.ts'
import { ProcessSupervisor, type SupervisorEvent } from './keep-process-running.ts'
import type { Fleet } from './parse-fleet-description.ts'
import { type ProgramPlan, stateOf } from './process-plan.ts'
import { freeze, killAll, markedBy, thaw } from './process-tree.ts'

/** An event of a program that a person should see at once. */
export interface ProcessEvent extends ProgramEvent {
  readonly agent: string
  readonly program: string
}

export interface FleetProcessesParts {
  readonly clock: Clock
  readonly chance: Chance
  readonly state: string
  say(event: ProcessEvent): void
  /** Called for a program that refuses its configuration: starting it again would not help. */
  onMisconfigured(program: ProgramPlan, why: string): void
}

/** How long a program may take to drain before its group is killed. */
const DRAIN_MS = 12_000

interface SupervisedProgram {
  readonly plan: ProgramPlan
  readonly supervisor: ProcessSupervisor
  readonly log: ChildLog
}

type AgentState = AgentProcesses['state']

/** The programs of a local fleet: kept running, frozen, thawed, killed, and drained. */
export class FleetProcesses implements ControlledFleet {
  readonly #parts: FleetProcessesParts
  readonly #roster: readonly { readonly agent: string; readonly role: string }[]
  readonly #states = new Map<string, AgentState>()
  readonly #runs: SupervisedProgram[] = []
  /** One action at a time: freezing and thawing at once would leave an agent half frozen. */
  #acting: Promise<unknown> = Promise.resolve()
  /** Whether all programs are being killed. */
  #killing = false

  constructor(fleet: Fleet, parts: FleetProcessesParts) {
    this.#parts = parts
    this.#roster = [fleet.orchestrator, ...fleet.workers].map(({ agent, role }) => ({ agent, role }))
  }

  /** Starts programs and keeps them running. */
  start(plans: readonly ProgramPlan[]): void {
    for (const plan of plans) this.#runs.push(this.#run(plan))
  }

  agents(): AgentProcesses[] {
    return this.#roster.map(({ agent, role }) => ({
      agent,
      role,
      state: this.#states.get(agent) ?? 'running',
      programs: this.#runs
        .filter(({ plan }) => plan.agent === agent)
        .map(({ plan, supervisor: { state, pid, restarts } }) => ({
          program: plan.program,
          state,
          pid,
          restarts,
        })),
    }))
  }

  async act(act: AgentAction, name: string): Promise<number> {
    const { agent } = findAgent(this.#roster, name)
    const acting = this.#acting.then(() => this.#act(act, agent))
    this.#acting = acting.catch(() => undefined)
    return await acting
  }

  /** Stops all programs by falling stage, and the processes that they left; kills them at once when `hurry` aborts. */
  async stop(hurry: AbortSignal): Promise<void> {
    const { state, clock } = this.#parts
    await this.#acting
    const killNow = (): void => {
      this.#killing = true
      void killAll(markedBy(state), clock)
    }
    hurry.addEventListener('abort', killNow, { once: true })
    if (hurry.aborted) killNow()
    for (const stage of [...new Set(this.#runs.map(({ plan }) => plan.stage))].sort((x, y) => y - x)) {
      const runs = this.#runs.filter(({ plan }) => plan.stage === stage)
      await Promise.all(runs.map(({ supervisor }) => supervisor.stop(DRAIN_MS)))
    }
    // Wake commands and tasks are process groups of their own, which programs may leave behind.
    const left = await killAll(markedBy(state), clock)
    hurry.removeEventListener('abort', killNow)
    for (const { log } of this.#runs) log[Symbol.dispose]()
    if (left > 0) throw new S2Error('internal', `${left} processes could not be ended`)
  }

  #run(plan: ProgramPlan): SupervisedProgram {
    const { clock, chance, state, say } = this.#parts
    const { program } = plan
    const log = new ChildLog(join(state, 'logs', `${plan.agent}-${program}.log`))
    const filter = new EventFilter(clock, program)
    const supervisor = new ProcessSupervisor({
      clock,
      chance,
      start: () => {
        filter.forget()
        return startChild(plan, log, (line) => {
          const event = filter.take(line)
          if (event !== null) say({ agent: plan.agent, program, ...event })
        })
      },
      say: (event) => {
        log.write(`${JSON.stringify({ by: 's2 up', ...describe(event) })}\n`)
        // After a restart the cause may be a port that is taken meanwhile: that is retried.
        if (event.event === 'ended' && event.end.code === CONFIG && supervisor.restarts === 0)
          this.#parts.onMisconfigured(plan, filter.last().join('\n'))
        if (this.#isExpected(plan.agent, event)) return
        const { event: what, ...fields } = describe(event)
        say({ agent: plan.agent, program, event: what, fields })
      },
    })
    return { plan, supervisor, log }
  }

  #isExpected(agent: string, event: SupervisorEvent): boolean {
    if (event.event !== 'ended') return event.event === 'started'
    return this.#killing || event.againInMs === null || this.#states.get(agent) === 'killed'
  }

  async #act(act: AgentAction, agent: string): Promise<number> {
    const { clock, state, say } = this.#parts
    const folder = stateOf(agent, state)
    const isIts = (mark: string): boolean => mark === folder
    const supervisors = this.#runs.filter(({ plan }) => plan.agent === agent).map(({ supervisor }) => supervisor)
    let processes: number
    if (act === 'thaw') {
      this.#states.delete(agent)
      processes = thaw(isIts)
      for (const supervisor of supervisors) supervisor.release()
    } else {
      this.#states.set(agent, act === 'freeze' ? 'frozen' : 'killed')
      for (const supervisor of supervisors) supervisor.hold()
      processes = await freeze(isIts, clock)
      if (act === 'kill') await killAll(isIts, clock)
    }
    say({
      agent,
      program: 's2 up',
      event: act === 'freeze' ? 'frozen' : act === 'kill' ? 'killed' : 'thawed',
      fields: { processes },
    })
    return processes
  }
}

/** EX_CONFIG of sysexits(3): the exit code of our programs for wrong settings. */
const CONFIG = 78

function describe(event: SupervisorEvent): { readonly event: string; readonly [field: string]: unknown } {
  switch (event.event) {
    case 'started':
      return { event: 'started', pid: event.pid }
    case 'ended':
      return { event: 'ended', ...event.end, againInMs: event.againInMs === null ? null : Math.round(event.againInMs) }
    case 'not_started':
      return { event: 'not_started', error: (event.error as Error).message, againInMs: Math.round(event.againInMs) }
    case 'killed':
      return { event: 'did not drain in time and was killed' }
  }
}
