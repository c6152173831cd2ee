import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import type { AgentProcesses } from '../../services/core/console/fleet-control.ts'
import { systemChance, systemClock } from '../../services/core/runtime/clock.ts'
import { recordingLog } from '../../services/core/runtime/log.ts'
import { openStore } from '../../services/core/store/open-store.ts'
import type { Store } from '../../services/core/store/store.ts'
import { descendantsOf, markedBy, processes } from '../../services/local/process-tree.ts'
import { freePort } from '../port.ts'
import { until } from '../until.ts'

const ROOT = resolve(import.meta.dirname, '..', '..')

/** The times of the story, shorter than in earnest. */
export const TIMES = { silentMs: 5_000, leaseMs: 8_000 }

const SETTINGS = {
  S2_BEAT: '500ms',
  S2_LATE_AFTER: '2s',
  S2_SILENT_AFTER: `${TIMES.silentMs}ms`,
  S2_ROUND: '1s',
  S2_WATCH: '100ms',
  S2_LEASE: `${TIMES.leaseMs}ms`,
  S2_MOVE_EVERY: '500ms',
  S2_GIT_POLL: '500ms',
  S2_RATE: '100000',
}

interface FleetFile {
  readonly fallback: Readonly<Record<string, string>>
  readonly workers: readonly { readonly role: string }[]
}

/** The fleet of the protocol, as `make run` brings it up: its roles, and which of them stand in for one another. */
const NINE = JSON.parse(readFileSync(join(ROOT, 'deploy/fleet/nine.json'), 'utf8')) as FleetFile
export const ROLES = NINE.workers.map(({ role }) => role)

/** A worker of a stage. */
export interface StageWorker {
  readonly role: string
  /** The command that does its tasks; null: nothing works there. Left out: the shell, which writes into the ledger. */
  readonly exec?: string | null
  /** The client that S2 drives in place of a command, and what it may do. */
  readonly agent?: 'claude' | 'codex'
  readonly permissionMode?: string
  readonly allowedTools?: readonly string[]
  /** Where that command runs, below the folder of the stage. */
  readonly folder?: string
  /** The command that wakes it. Left out: the first worker's writes down what it was told. */
  readonly wake?: string
  readonly settings?: Readonly<Record<string, string>>
}

/** An alert as the alert command of the fleet got it. */
export interface ToldAlert {
  readonly event: 'opened' | 'lasting' | 'closed'
  readonly cause: string
  readonly summary: string
}

/** The fleet of a stage, where it is not the one of the protocol. */
export interface StageFleet {
  readonly workers: readonly StageWorker[]
  readonly settings?: Readonly<Record<string, string>>
  /** More of the environment of all its programs. */
  readonly env?: Readonly<Record<string, string>>
  readonly fallback?: Readonly<Record<string, string>>
}

export function workerOf(number: number): string {
  return `s2-worker-${number}`
}

/** A real fleet in a folder of its own, brought up and commanded as a person would: by `s2`. */
export class Stage implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), 's2-rehearse-'))
  readonly state = join(this.folder, 'state')
  /** Each command that does a task writes here when it begins and when it ends. */
  readonly ledger = join(this.folder, 'ledger')
  #up: ChildProcess | null = null
  #store: Store | null = null
  #output = ''
  /** Whether the folder is left for whoever looks for the cause. */
  keep = false
  readonly #fleet: StageFleet
  #port = 0

  constructor(fleet: StageFleet = { workers: NINE.workers.map(({ role }) => ({ role })), fallback: NINE.fallback }) {
    this.#fleet = fleet
  }

  /** Starts `s2 up`, at the same address each time, and waits until its bridge can be reached. */
  async raise(): Promise<Store> {
    this.#port ||= await freePort()
    const path = join(this.folder, 'fleet.json')
    writeFileSync(path, JSON.stringify(this.#fleetFile()))
    if (!existsSync(this.ledger)) writeFileSync(this.ledger, '')
    const [file, ...args] = s2Command()
    this.#up = spawn(file, [...args, 'up', path, '--json'], { env: this.#env(), stdio: ['ignore', 'pipe', 'pipe'] })
    // However this process ends, the fleet ends with it.
    process.once('exit', () => this.#up?.kill('SIGTERM'))
    for (const stream of [this.#up.stdout, this.#up.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        this.#output += chunk.toString('utf8')
      })
    }
    const socket = join(this.state, 'run', 'admin.sock')
    await until('the bridge answers', () => existsSync(socket))
    const parts = { clock: systemClock, chance: systemChance, log: recordingLog() }
    this.#store = await openStore(`unix:${socket}`, parts)
    return this.#store
  }

  /** Runs a command of s2 in this fleet; throws with what it said when it fails. */
  async s2(...words: string[]): Promise<string> {
    return await this.s2In(this.state, words)
  }

  /** The same in another state folder, with something on its standard input. */
  async s2In(state: string, words: readonly string[], input = ''): Promise<string> {
    const [file, ...args] = s2Command()
    const env = { ...this.#env(), S2_STATE: state }
    const child = spawn(file, [...args, ...words], { env, stdio: ['pipe', 'pipe', 'pipe'] })
    child.stdin.on('error', () => undefined).end(input)
    let said = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => {
        said += chunk.toString('utf8')
      })
    }
    const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
    if (code !== 0) throw new Error(`s2 ${words.join(' ')} ended with ${code}: ${said.trim()}`)
    return said
  }

  async members(): Promise<AgentProcesses[]> {
    const { askControl } = await import('../../services/core/console/fleet-control.ts')
    return (await askControl(this.state, { method: 'GET', path: '/agents' }, systemClock)) as AgentProcesses[]
  }

  async pidOf(agent: string, program: string): Promise<number | null> {
    const member = (await this.members()).find((each) => each.agent === agent)
    return member?.programs.find((each) => each.program === program)?.pid ?? null
  }

  /** What runs for an agent, or for the whole fleet: by the mark that its processes bear. */
  family(agent?: string): { readonly pid: number; readonly state: string }[] {
    if (agent === undefined) return descendantsOf(processes(), markedBy(this.state))
    const folder = this.stateOf(agent)
    return descendantsOf(processes(), (mark) => mark === folder)
  }

  stateOf(agent: string): string {
    return agent === 'orchestrator' ? this.state : join(this.state, 'workers', agent)
  }

  /** How often each task's command began and ended, by what it wrote itself. */
  ledgerOf(task: string): { readonly began: number; readonly ended: number } {
    const lines = readFileSync(this.ledger, 'utf8').split('\n')
    const count = (word: string): number =>
      lines.filter((line) => line.startsWith(`${task} `) && line.endsWith(word)).length
    return { began: count('began'), ended: count('ended') }
  }

  /** What the wake command of an agent was told, a call each. */
  wakes(agent: string): readonly { readonly session: string; readonly messages: readonly { readonly id: number }[] }[] {
    return readLines(this.#wakesOf(agent)) as ReturnType<Stage['wakes']>
  }

  /** What people were told of, as the alert command was told it. */
  alerts(): readonly ToldAlert[] {
    return readLines(this.#alerts) as readonly ToldAlert[]
  }

  /** Ends the fleet as Ctrl-C does; answers the exit code of `s2 up`. */
  async lower(): Promise<number | null> {
    await this.#store?.[Symbol.asyncDispose]()
    this.#store = null
    const up = this.#up
    this.#up = null
    if (up === null || up.exitCode !== null) return up?.exitCode ?? null
    const ended = new Promise<number | null>((resolve) => up.once('exit', resolve))
    up.kill('SIGINT')
    return await ended
  }

  /** What `s2 up` said, and the logs of its programs: for a story that went wrong. */
  said(): string {
    return this.#output
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.lower()
    if (!this.keep) rmSync(this.folder, { recursive: true, force: true })
  }

  #fleetFile(): object {
    const { workers, settings = {}, fallback = {} } = this.#fleet
    // The frozen one shrugs off TERM, so that its result surely comes, and surely comes too late.
    const shell = `test "$S2_TASK_ID" != frozen || trap "" TERM; echo "$S2_TASK_ID $S2_TASK_EPOCH began" >> ${this.ledger}; sh -c "$S2_TASK_DESCRIPTION" && echo "$S2_TASK_ID $S2_TASK_EPOCH ended" >> ${this.ledger}`
    return {
      bridge: { listen: `127.0.0.1:${this.#port}` },
      settings: { ...SETTINGS, S2_ALERT_EXEC: `cat >> ${this.#alerts}`, ...settings },
      fallback,
      orchestrator: { wake: `cat >> ${this.#wakesOf('orchestrator')}` },
      workers: workers.map(({ exec = shell, ...worker }, index) => ({
        number: index + 1,
        ...(index === 0 ? { wake: `cat >> ${this.#wakesOf(workerOf(1))}` } : {}),
        ...worker,
        ...(exec === null ? {} : { exec }),
      })),
    }
  }

  get #alerts(): string {
    return join(this.folder, 'alerts')
  }

  #wakesOf(agent: string): string {
    return join(this.folder, `wakes-${agent}`)
  }

  #env(): NodeJS.ProcessEnv {
    const plain = Object.entries(process.env).filter(([name]) => !name.startsWith('S2_') && name !== 'FLEET_MEMBER')
    return { ...Object.fromEntries(plain), ...this.#fleet.env, S2_STATE: this.state }
  }
}

/** The whole lines of a file of JSON lines; none where there is no file. */
function readLines(path: string): readonly unknown[] {
  if (!existsSync(path)) return []
  const lines = readFileSync(path, 'utf8').split('\n').slice(0, -1)
  return lines.map((line) => JSON.parse(line))
}

/** The bundled program where there is one, as users run it. */
export function s2Command(): [string, ...string[]] {
  const bundled = join(ROOT, 'dist', 's2.js')
  return [process.execPath, existsSync(bundled) ? bundled : join(ROOT, 'services', 'cli', 'main.ts')]
}
