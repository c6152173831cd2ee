import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { stateOf } from '../../process-state.ts'
import { until } from '../../until.ts'
import type { Router } from './network.ts'

const PROJECT = resolve(import.meta.dirname, '..', '..', '..')
/** Where a machine's own disk is, seen from inside. */
export const DISK = '/var/lib/s2'
const run = promisify(execFile)

export type Settings = Readonly<Record<string, string>>

/** A machine: it has its line to the router and its disk, runs programs, and can lose its power or be suspended. */
export class Machine {
  readonly name: string
  readonly address: string
  /** Its disk, seen from outside: where its agent reads and writes, and nobody else's programs. */
  readonly disk: string
  readonly #number: number
  readonly #work: string
  readonly #router: Router
  #settings: Settings
  readonly #running = new Map<string, ChildProcess>()
  #first: number | null = null
  #lives = 0

  constructor(name: string, number: number, work: string, router: Router, settings: Settings) {
    this.name = name
    this.address = router.addressOf(number)
    this.disk = join(work, 'disks', name)
    this.#number = number
    this.#work = work
    this.#router = router
    this.#settings = settings
    mkdirSync(this.state, { recursive: true, mode: 0o700 })
  }

  get state(): string {
    return join(this.disk, 'state')
  }

  /** Settings for all that is started there from now on, beside those that it has. */
  set(settings: Settings): void {
    this.#settings = { ...this.#settings, ...settings }
  }

  async boot(): Promise<void> {
    this.#lives += 1
    const root = join(this.#work, 'roots', `${this.name}-${this.#lives}`)
    mkdirSync(root, { recursive: true })
    const spaces = ['--mount', '--net', '--uts', '--ipc', '--pid', '--fork', '--kill-child', '--propagation', 'private']
    const script = join(import.meta.dirname, 'machine.sh')
    const args = [script, this.name, root, this.disk, PROJECT, process.execPath]
    const log = this.#logFor('boot')
    const holder = spawn('unshare', [...spaces, '/bin/bash', ...args], { stdio: ['ignore', log, log] })
    closeSync(log)
    await until(`${this.name} has booted`, () => commandOf(childOf(holder)) === 'sleep')
    this.#first = childOf(holder)
    if (this.#first === null) throw new Error(`${this.name} did not boot`)
    this.#router.plugIn(this.#number, this.#first)
  }

  /** Starts a program of ours, or any other, and lets it run; what it says is kept. */
  start(name: string, argv: readonly string[] = [`${name}.js`], settings: Settings = {}): void {
    const log = this.#logFor(name)
    const [file = '', ...args] = this.#entering(argv, settings)
    this.#running.set(name, spawn(file, args, { stdio: ['ignore', log, log] }))
    closeSync(log)
  }

  /** Runs a command to its end; throws with what it said when it fails. */
  async run(...argv: readonly string[]): Promise<string> {
    return await this.tell('', ...argv)
  }

  /** The same for a command that reads its standard input. */
  async tell(input: string, ...argv: readonly string[]): Promise<string> {
    const [file = '', ...args] = this.#entering(argv, {})
    const running = run(file, args, { encoding: 'utf8', timeout: 60_000 })
    // A command that ends without having read it says by its exit code how it went.
    running.child.stdin?.on('error', () => undefined).end(input)
    return (await running).stdout
  }

  s2(...words: readonly string[]): Promise<string> {
    return this.run('s2.js', ...words)
  }

  /** kill -9 of one program. */
  async kill(name: string): Promise<void> {
    const { child, pid } = this.#program(name)
    this.#running.delete(name)
    const ended = once(child, 'close')
    process.kill(pid, 'SIGKILL')
    await ended
  }

  /** Stops one program in its tracks, or lets it go on. */
  hold(name: string, isHeld: boolean): void {
    process.kill(this.#program(name).pid, isHeld ? 'SIGSTOP' : 'SIGCONT')
    if (!isHeld) this.#wakeWaiters()
  }

  /** nsenter(1) stops with the program that it waits for, and buries it only once it goes on. */
  #wakeWaiters(): void {
    for (const { pid } of this.#running.values()) if (pid !== undefined) signal(pid, 'SIGCONT')
  }

  #program(name: string): { readonly child: ChildProcess; readonly pid: number } {
    const child = this.#running.get(name)
    const pid = child === undefined ? null : childOf(child)
    if (child === undefined || pid === null) throw new Error(`${name} does not run on ${this.name}`)
    return { child, pid }
  }

  /** All that is on its disk goes, as when a machine is made anew. */
  emptyDisk(): void {
    for (const name of readdirSync(this.disk)) rmSync(join(this.disk, name), { recursive: true })
    mkdirSync(this.state, { recursive: true, mode: 0o700 })
  }

  /** The power goes: everything ends in one instant, and what was not on the disk is gone. Answers how many processes it were. */
  async losePower(): Promise<number> {
    const space = this.#first === null ? null : spaceOf(this.#first)
    if (this.#first === null || space === null) throw new Error(`${this.name} has no power to lose`)
    const pids = inSpace(space).length
    this.#wakeWaiters()
    this.#running.clear()
    process.kill(this.#first, 'SIGKILL')
    await until(`nothing of ${this.name} is left`, () => inSpace(space).length === 0)
    this.#first = null
    return pids
  }

  /** Stops everything in its tracks; answers how many processes stand still. */
  async suspend(): Promise<number> {
    const stopped = new Set<number>()
    for (let isMore = true; isMore; ) {
      const fresh = this.processes().filter((pid) => !stopped.has(pid))
      for (const pid of fresh) signal(pid, 'SIGSTOP')
      for (const pid of fresh) stopped.add(pid)
      isMore = fresh.length > 0
    }
    const standStill = (): boolean => this.processes().every((pid) => stateOf(pid) === 'T')
    await until(`all of ${this.name} stands still`, standStill)
    return this.processes().length
  }

  resume(): void {
    for (const pid of this.processes()) signal(pid, 'SIGCONT')
    this.#wakeWaiters()
  }

  /** Everything that runs on it, by its process name space. */
  processes(): number[] {
    const space = this.#first === null ? null : spaceOf(this.#first)
    return space === null ? [] : inSpace(space)
  }

  /** Programs that were started and have ended by themselves. */
  fallen(): string[] {
    return [...this.#running].flatMap(([name, { exitCode, signalCode }]) =>
      exitCode === null && signalCode === null ? [] : [`${this.name}: ${name} ended with ${signalCode ?? exitCode}`],
    )
  }

  /** What a program has said, in all its lives here. */
  said(name: string): string {
    return readFileSync(join(this.#work, 'logs', `${this.name}-${name}`), 'utf8')
  }

  #logFor(name: string): number {
    mkdirSync(join(this.#work, 'logs'), { recursive: true })
    return openSync(join(this.#work, 'logs', `${this.name}-${name}`), 'a')
  }

  #entering(argv: readonly string[], settings: Settings): string[] {
    const [name = '', ...rest] = argv
    const command = name.endsWith('.js') ? ['/opt/node/node', `/opt/s2/dist/${name}`, ...rest] : argv
    const env = {
      PATH: '/opt/node:/usr/sbin:/usr/bin:/sbin:/bin',
      HOME: DISK,
      S2_STATE: `${DISK}/state`,
      ...this.#settings,
      ...settings,
    }
    const enter = ['-t', String(this.#first), '-m', '-n', '-u', '-i', '-p', '-r', '-w']
    const set = Object.entries(env).map(([key, value]) => `${key}=${value}`)
    return ['nsenter', ...enter, 'env', '-i', ...set, ...command]
  }
}

/** The one process that another has started. */
function childOf({ pid }: ChildProcess): number | null {
  try {
    const [child] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ')
    return child === undefined || child === '' ? null : Number(child)
  } catch {
    return null
  }
}

function commandOf(pid: number | null): string | null {
  try {
    return pid === null ? null : readFileSync(`/proc/${pid}/comm`, 'utf8').trim()
  } catch {
    return null
  }
}

function spaceOf(pid: number): string | null {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`)
  } catch {
    return null // ended meanwhile
  }
}

function inSpace(space: string): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => Number.isInteger(pid) && spaceOf(pid) === space)
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {
    // ended meanwhile
  }
}
