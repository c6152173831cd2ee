import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, existsSync, openSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ProgramPlan } from '../../services/local/process-plan.ts'
import type { Dice } from '../simulation/chance.ts'

const DIST = resolve(import.meta.dirname, '..', '..', 'dist')

/** How long a life lasts before it is killed, milliseconds. */
export type Span = readonly [least: number, most: number]

/** Half of all lives end while the program starts. */
const STARTING: Span = [0, 400]
const RUNNING: Span = [300, 1_000]
/** A bridge believes no signature of its first two seconds: only a longer life gets work done. */
const SERVING: Span = [2_500, 4_500]

/** What was killed, how often, and what ended by itself. */
export class Toll {
  readonly #wanted: number
  readonly #kills = new Map<string, number>()
  readonly odd: string[] = []

  constructor(wanted: number) {
    this.#wanted = wanted
  }

  add(program: string): void {
    this.#kills.set(program, (this.#kills.get(program) ?? 0) + 1)
  }

  get sum(): number {
    return [...this.#kills.values()].reduce((sum, count) => sum + count, 0)
  }

  get isFull(): boolean {
    return this.sum >= this.#wanted
  }

  of(program: string): number {
    return this.#kills.get(program) ?? 0
  }

  inWords(): string {
    return [...this.#kills].map(([program, count]) => `${program} ${count}`).join(', ')
  }
}

/** A program of a fleet through all its lives: started, killed at an instant of chance, started again at once. */
export class Lives {
  readonly #plan: ProgramPlan
  readonly #folder: string
  #child: ChildProcess | null = null

  constructor(plan: ProgramPlan, folder: string) {
    this.#plan = plan
    this.#folder = folder
  }

  /** Lives and dies until enough were killed; leaves the last life running. */
  async run(dice: Dice, toll: Toll): Promise<void> {
    const { program, agent } = this.#plan
    const running = program === 'bridge' ? SERVING : RUNNING
    while (!toll.isFull) {
      const ended = this.#start()
      const span = dice.chance(0.5) ? STARTING : running
      const early = await Promise.race([ended, sleep(dice.between(...span)).then(() => null)])
      if (early === null) await this.#kill(ended, toll)
      else toll.odd.push(`${program} of ${agent} ended by itself: ${early}`)
    }
    void this.#start()
  }

  /** Ends the last life as systemd would. */
  async stop(): Promise<void> {
    const child = this.#child
    if (child === null || child.exitCode !== null || child.signalCode !== null) return
    const ended = new Promise((resolve) => child.once('exit', resolve))
    child.kill('SIGTERM')
    await Promise.race([ended, sleep(20_000)])
    killGroup(child)
  }

  /** Its process, with whatever it started. */
  end(): void {
    if (this.#child !== null) killGroup(this.#child)
  }

  async #kill(ended: Promise<string>, toll: Toll): Promise<void> {
    this.#child?.kill('SIGKILL')
    await ended
    toll.add(this.#plan.program)
  }

  /** Settles with how it ended. */
  #start(): Promise<string> {
    const { argv, env, folder, program, agent } = this.#plan
    const log = openSync(join(this.#folder, `log-${agent}-${program}`), 'a')
    const words = bundled(argv)
    const cached = { NODE_COMPILE_CACHE: join(this.#folder, 'compile-cache') }
    const child = spawn(words[0], words.slice(1), {
      cwd: folder,
      env: { ...env, ...cached },
      stdio: ['ignore', log, log],
      detached: true,
    })
    closeSync(log)
    this.#child = child
    return new Promise((resolve) => child.once('exit', (code, signal) => resolve(`${code ?? signal}`)))
  }
}

function killGroup({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL')
  } catch {
    // nothing of it is left
  }
}

/** The program as users run it, where it was built. */
function bundled([node, file, ...args]: ProgramPlan['argv']): [string, ...string[]] {
  const [, program = ''] = /services\/([\w-]+)\/main\.ts$/.exec(file ?? '') ?? []
  const path = join(DIST, `${program === 'cli' ? 's2' : program}.js`)
  return [node, existsSync(path) ? path : (file ?? ''), ...args]
}
