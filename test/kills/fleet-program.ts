import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, existsSync, openSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ProgramPlan } from '../../services/local/process-plan.ts'

const DIST = resolve(import.meta.dirname, '..', '..', 'dist')
const DRAIN_MS = 20_000

/** One program of a fleet, started as `s2 up` starts it but by nobody that would start it again. */
export class FleetProgram {
  readonly plan: ProgramPlan
  readonly #folder: string
  #child: ChildProcess | null = null

  /** Its log goes into `folder`. */
  constructor(plan: ProgramPlan, folder: string) {
    this.plan = plan
    this.#folder = folder
  }

  get name(): string {
    return `${this.plan.program} of ${this.plan.agent}`
  }

  get log(): string {
    return join(this.#folder, `log-${this.plan.agent}-${this.plan.program}`)
  }

  get pid(): number | undefined {
    return this.#child?.pid
  }

  /** Begins a life; settles with how it ended: its exit code, or the signal. */
  start(): Promise<string> {
    const { argv, env, folder } = this.plan
    const [file, ...args] = bundled(argv)
    const log = openSync(this.log, 'a')
    const child = spawn(file, args, {
      cwd: folder,
      env: { ...env, NODE_COMPILE_CACHE: join(this.#folder, 'compile-cache') },
      stdio: ['ignore', log, log],
      detached: true,
    })
    closeSync(log)
    this.#child = child
    return new Promise((resolve) => child.once('exit', (code, signal) => resolve(`${code ?? signal}`)))
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal)
  }

  /** Ends it as systemd would. */
  async stop(): Promise<void> {
    const child = this.#child
    if (child === null || child.exitCode !== null || child.signalCode !== null) return
    const ended = new Promise((resolve) => child.once('exit', resolve))
    child.kill('SIGTERM')
    await Promise.race([ended, sleep(DRAIN_MS)])
    this.end()
  }

  /** Ends its process at once, with whatever it started. */
  end(): void {
    try {
      if (this.pid !== undefined) process.kill(-this.pid, 'SIGKILL')
    } catch {
      // nothing of it is left
    }
  }
}

/** The program as users run it, where it was built. */
function bundled([node, file, ...args]: ProgramPlan['argv']): [string, ...string[]] {
  const [, program = ''] = /services\/([\w-]+)\/main\.ts$/.exec(file ?? '') ?? []
  const path = join(DIST, `${program === 'cli' ? 's2' : program}.js`)
  return [node, existsSync(path) ? path : (file ?? ''), ...args]
}
