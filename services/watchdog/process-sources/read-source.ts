import type { AgentProcess } from '#fleet/agent-processes.ts'
import { detectPause } from '#fleet/observer-pause.ts'
import { Pauses } from '#runtime/backoff.ts'
import { type Chance, type Clock, momentOf } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import { Loop } from '#runtime/loop.ts'
import type { FleetObservation } from '../fleet-observation.ts'
import { logVerdicts } from '../judge-by-beats.ts'

/**
 * A supervisor that knows what agents run in: a container engine, a service manager, a terminal multiplexer. What it does not
 * know it does not tell: one that is not sure rejects, or calls a process unknown.
 */
export interface ProcessSource {
  readonly name: string
  /** All processes that agents have there. Bounded in time; rejects when it cannot tell: nothing is known then. */
  read(signal: AbortSignal): Promise<readonly AgentProcess[]>
  /** When it wants to be read again though nothing was heard, milliseconds. */
  readonly everyMs: number
  /** Calls, from now on, when something may have changed: a hint to read, and no more. */
  onHint?(heard: () => void): void
  /** Starts a process that ended; leaves one alone that lives. Bounded in time; rejects when it was not done. */
  start(id: string, signal: AbortSignal): Promise<void>
}

export interface ReadSourceParts {
  readonly observation: FleetObservation
  readonly clock: Clock
  readonly log: Log
  readonly chance: Chance
  readonly signal: AbortSignal
  /** Verdicts were passed. */
  onVerdicts(): void
}

/** Longer than a source takes for an answer: one that took longer was overtaken by a pause of the watchdog. */
const ANSWER_MAX_MS = 5_000
/** How long to leave a source alone that does not answer. */
const RETRY = { firstMs: 250, mostMs: 5_000, leastMs: 250 }

/** Reads a source again and again, and passes the verdicts that follow, in a loop of its own: a source that hangs delays no other. */
export function readSource(
  source: ProcessSource,
  { observation, clock, log, chance, signal, onVerdicts }: ReadSourceParts,
): Loop {
  const pauses = new Pauses(RETRY, chance)
  const step = async (): Promise<number> => {
    const asked = momentOf(clock)
    const processes = await source.read(signal)
    const took = { expectedMs: 0, monotonicMs: clock.now() - asked.now, wallMs: clock.wall() - asked.wall }
    if (detectPause(took, ANSWER_MAX_MS) !== null) return 0
    for (const { agent, name, state, why } of observation.takeProcesses(source.name, processes, asked.now)) {
      log[state === 'living' ? 'debug' : 'info']('agent process changed', { agent, process: name, state, why })
    }
    const { failures } = pauses
    if (failures > 0) log.info('supervisor answers again', { source: source.name, failures })
    pauses.succeeded()
    const passed = observation.judgeByProcesses(clock.now())
    logVerdicts(passed, observation, log)
    if (passed.length > 0) onVerdicts()
    return source.everyMs
  }
  const onError = (error: unknown): number => {
    const isFirst = pauses.failures === 0
    if (isFirst) log.warn('supervisor does not answer: no agent is judged by it', { source: source.name, error })
    observation.loseSupervisor(source.name, clock.now())
    return pauses.failed()
  }
  const loop = new Loop({ clock, signal, step, onError })
  source.onHint?.(() => loop.nudge())
  return loop
}
