import type { AgentProcess } from '#fleet/agent-processes.ts'
import { detectPause } from '#fleet/observer-pause.ts'
import { backoff } from '#runtime/backoff.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import { Loop } from '#runtime/loop.ts'
import { logVerdicts } from '../read-beats.ts'
import type { View } from '../view.ts'

/**
 * Somebody who knows what agents run in: an engine, a service manager, a terminal multiplexer. What it does not know it does
 * not tell: a source that is not sure rejects, or calls a body unknown.
 */
export interface ProcessSource {
  readonly name: string
  /** All bodies that agents have there. Bounded in time; rejects when it cannot tell: nothing is known then. */
  read(signal: AbortSignal): Promise<readonly AgentProcess[]>
  /** When it wants to be read again though nothing was heard, milliseconds. */
  readonly everyMs: number
  /** Calls, from now on, when something may have changed: a hint to read, and no more. */
  onHint?(heard: () => void): void
  /** Starts a body that ended; leaves one alone that lives. Bounded in time; rejects when it was not done. */
  start(id: string, signal: AbortSignal): Promise<void>
}

export interface ReadSourceParts {
  readonly clock: Clock
  readonly log: Log
  readonly chance: Chance
  readonly signal: AbortSignal
  /** Verdicts were passed. */
  onNews(): void
}

/** Longer than a source takes for an answer: one that took longer was overtaken by a pause of our own. */
const ANSWER_MAX_MS = 5_000
/** How long to leave a source alone that does not answer. */
const RETRY = { firstMs: 250, mostMs: 5_000 }

/** Reads a source again and again, and passes what verdicts follow, in a loop of its own: a source that hangs holds up nobody. */
export function readSource(
  source: ProcessSource,
  view: View,
  { clock, log, chance, signal, onNews }: ReadSourceParts,
): Loop {
  let failures = 0
  const pass = (): void => {
    const passed = view.weigh(clock.now())
    logVerdicts(passed, view, log)
    if (passed.length > 0) onNews()
  }
  const step = async (): Promise<number> => {
    const asked = { now: clock.now(), wall: clock.wall() }
    const bodies = await source.read(signal)
    const took = { expectedMs: 0, monotonicMs: clock.now() - asked.now, wallMs: clock.wall() - asked.wall }
    if (detectPause(took, ANSWER_MAX_MS) !== null) return 0
    for (const { agent, name, state, why } of view.agentProcesses.take(source.name, bodies)) {
      log[state === 'living' ? 'debug' : 'info']('body', { agent, body: name, state, why })
    }
    if (failures > 0) log.info('a supervisor answers again', { source: source.name, failures })
    failures = 0
    view.away.delete(source.name)
    pass()
    return source.everyMs
  }
  const onError = (error: unknown): number => {
    if (failures === 0) log.warn('a supervisor does not answer: nobody is judged by it', { source: source.name, error })
    failures += 1
    view.agentProcesses.lose(source.name)
    if (!view.away.has(source.name)) view.away.set(source.name, clock.now())
    return RETRY.firstMs + backoff(failures - 1, RETRY, chance)
  }
  const loop = new Loop({ clock, signal, step, onError })
  source.onHint?.(() => loop.nudge())
  return loop
}
