import type { AgentProcess } from '#fleet/agent-processes.ts'
import type { ProcessSource } from '../../services/watchdog/process-sources/read-source.ts'
import type { Life } from './clock.ts'
import type { History } from './history.ts'
import type { SimulatedHost } from './host.ts'
import type { Surroundings } from './network.ts'

/** How long a source takes before it gives an engine up that does not answer. */
const PATIENCE_MS = 3_000

/** Runs what some agents run in, and tells watchdogs of it when it is well. */
export class Engine {
  /** Why it does not answer. */
  trouble: 'away' | 'hangs' | null = null
  readonly #around: Surroundings
  readonly #history: History
  /** How often it is asked: so old the news of a death may be at most. */
  readonly #everyMs: number
  readonly #contained = new Map<string, SimulatedHost>()
  readonly #ears = new Set<{ readonly life: Life; readonly heard: () => void }>()
  /** Since when each agent's program runs, or does not. */
  readonly #since = new Map<string, { readonly runs: boolean; readonly at: number }>()

  constructor(around: Surroundings, history: History, everyMs: number) {
    this.#around = around
    this.#history = history
    this.#everyMs = everyMs
  }

  contain(host: SimulatedHost): void {
    this.#contained.set(host.agent, host)
    host.onWorker = () => this.#note(host)
  }

  /** Why the agent may not be called dead; null where it may. */
  objection(agent: string): string | null {
    const { runs, at } = this.#since.get(agent) ?? { runs: true, at: 0 }
    const livesMs = this.#around.timeline.now - at
    return runs && livesMs > this.#everyMs ? `which has lived for ${Math.round(livesMs)} ms` : null
  }

  seenBy(life: Life): ProcessSource {
    const { dice, tally } = this.#around
    const answerIn = (): Promise<void> => life.pause(dice.wait(15))
    return {
      name: 'engine',
      everyMs: this.#everyMs,
      read: async () => {
        await answerIn()
        const { trouble } = this
        if (trouble !== null) tally.fired(trouble === 'away' ? 'engine away' : 'engine hangs')
        if (trouble === 'hangs') await life.pause(PATIENCE_MS)
        if (trouble !== null) throw new Error(`the engine ${trouble}`)
        const bodies = [...this.#contained.values()].map(bodyOf)
        await answerIn()
        return bodies
      },
      onHint: (heard) => this.#ears.add({ life, heard }),
      start: async (agent) => {
        await answerIn()
        if (this.trouble !== null) throw new Error(`the engine ${this.trouble}`)
        this.#history.did('agent restarted', `${agent} by ${life.name}`)
        this.#contained.get(agent)?.startWorker()
      },
    }
  }

  #note(host: SimulatedHost): void {
    this.#since.set(host.agent, { runs: host.worker !== null, at: this.#around.timeline.now })
    if (this.trouble !== null) return
    const { dice, timeline, weather } = this.#around
    for (const { life, heard } of this.#ears) {
      if (!dice.chance(weather.hintLost)) timeline.after(dice.wait(20), () => life.deliver(heard))
    }
  }
}

function bodyOf({ agent, worker, isGone, isOff }: SimulatedHost): AgentProcess {
  const body = { id: agent, agent, name: `container ${agent}`, mayStart: !isGone && !isOff }
  if (worker === null) return { ...body, state: 'ended', why: 'exit code 137' }
  if (worker.isStopped) return { ...body, state: 'hindered', why: 'is paused' }
  return { ...body, state: 'living', why: '' }
}
