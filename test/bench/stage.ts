import { type ChildProcess, type Serializable, spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { copyFile, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { allowedCores, fileSystem, hasCommand } from './machine.ts'

/** A place to measure in: a folder on a real disk, and processes that all end when it is left. */
export interface Stage extends AsyncDisposable {
  readonly folder: string
  /** The Node that our programs run on here. */
  readonly node: string
  /** Starts a process in a group of its own, on one core if there are several. */
  start(role: Role, argv: readonly [string, ...string[]], env?: Readonly<Record<string, string>>): Actor
  /** How one of our programs is started. */
  program(name: string): [string, ...string[]]
  /** A folder of its own for somebody. */
  room(name: string): Promise<string>
}

/** The server has a core for itself; everything that loads it runs on another. Others run where they like. */
export type Role = 'server' | 'load' | 'other'

export interface Actor {
  readonly pid: number
  readonly child: ChildProcess
  /** CPU time it has taken so far, milliseconds. */
  cpuMs(): number
  /** The last it said. */
  words(): string
  /** Ends it as a service manager would, and waits. */
  end(): Promise<void>
}

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
/** How long somebody may take to end before it is killed. */
const END_MS = 15_000
const TICK_MS = 10 // USER_HZ is 100 on Linux, proc(5)

/** What our programs are, as users run them: bundled; the sources where nothing was built. */
export function programArgv(node: string, program: string, ...args: readonly string[]): [string, ...string[]] {
  const bundle = join(ROOT, 'dist', `${program}.js`)
  const source = join(ROOT, 'services', program === 's2' ? 'cli' : program, 'main.ts')
  return [node, existsSync(bundle) ? bundle : source, ...args]
}

/** Asks until it is so. Throws with what the actor said when it ended or took too long. */
export async function until(what: string, isSo: () => boolean | Promise<boolean>, actor?: Actor): Promise<void> {
  const deadline = performance.now() + 30_000
  while (!(await isSo())) {
    const ended = actor !== undefined && (actor.child.exitCode ?? actor.child.signalCode) !== null
    if (ended || performance.now() > deadline) throw new Error(`${what}: not so\n${actor?.words() ?? ''}`)
    await sleep(20)
  }
}

/** Tells an actor something, and waits for its answer. */
export async function ask<Answer extends { readonly error?: string }>(
  { child, words }: Actor,
  message: Serializable,
): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>()
  const onExit = (): void => reject(new Error(`the load ended: ${words()}`))
  child.once('exit', onExit)
  child.once('message', (answer) => resolve(answer as Answer))
  child.send(message)
  try {
    const answer = await promise
    if (answer.error !== undefined) throw new Error(`the load failed: ${answer.error}`)
    return answer
  } finally {
    child.off('exit', onExit)
  }
}

/** `copy`: our programs run on a Node of their own, whose memory they share with each other only. */
export async function openStage({ node: whose = 'this' }: { node?: 'this' | 'copy' } = {}): Promise<Stage> {
  // What is said to be durable must lie on a disk.
  const parent = fileSystem(tmpdir()) === 'tmpfs' ? ROOT : tmpdir()
  const folder = await mkdtemp(join(parent, 's2-bench-'))
  const node = whose === 'this' ? process.execPath : join(folder, 'node')
  if (whose === 'copy') await copyFile(process.execPath, node)
  const actors: Actor[] = []
  const onExit = (): void => {
    for (const { child } of actors) killGroup(child)
  }
  const onSignal = (): void => process.exit(130)
  process.on('exit', onExit)
  process.once('SIGINT', onSignal)
  process.once('SIGTERM', onSignal)
  return {
    folder,
    node,
    program: (name) => programArgv(node, name),
    start(role, argv, env = {}) {
      const actor = startActor(pinned(role, argv), { ...plainEnv(), ...env }, role === 'load')
      actors.push(actor)
      return actor
    },
    async room(name) {
      const room = join(folder, name)
      await mkdir(room, { recursive: true, mode: 0o700 })
      return room
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(actors.map((actor) => actor.end()))
      process.off('exit', onExit)
      process.off('SIGINT', onSignal)
      process.off('SIGTERM', onSignal)
      await rm(folder, { recursive: true, force: true, maxRetries: 3 })
    },
  }
}

/** Whether server and load can have a core each; otherwise rates say less, and rows say so. */
export function canPin(): boolean {
  return allowedCores().length >= 2 && hasCommand('taskset')
}

function pinned(role: Role, argv: readonly [string, ...string[]]): [string, ...string[]] {
  if (role === 'other' || !canPin()) return [...argv]
  const cores = allowedCores()
  return ['taskset', '-c', String(role === 'server' ? cores[0] : cores[1]), ...argv]
}

/** Settings of the person who measures are not those that are measured. */
function plainEnv(): Record<string, string> {
  return Object.fromEntries(
    Object.entries(process.env).flatMap(([name, value]) =>
      value === undefined || name.startsWith('S2_') || name.startsWith('NODE_') ? [] : [[name, value]],
    ),
  )
}

function startActor([file, ...args]: [string, ...string[]], env: Record<string, string>, talks: boolean): Actor {
  const child = spawn(file, args, {
    env,
    detached: true,
    serialization: 'advanced',
    stdio: talks ? ['ignore', 'pipe', 'pipe', 'ipc'] : ['pipe', 'pipe', 'pipe'],
  })
  let words = ''
  const listen = (chunk: Buffer): void => {
    words = `${words}${chunk}`.slice(-4_000)
  }
  child.stdout?.on('data', listen)
  child.stderr?.on('data', listen)
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => resolve())
    child.once('error', (error) => {
      words += String(error)
      resolve()
    })
  })
  const pid = child.pid ?? 0
  return {
    pid,
    child,
    cpuMs: () => cpuMs(pid),
    words: () => words,
    async end() {
      if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
      child.kill('SIGTERM')
      await Promise.race([ended, sleep(END_MS, undefined, { ref: false })])
      killGroup(child)
      await ended
    },
  }
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return
  try {
    process.kill(-child.pid, 'SIGKILL')
  } catch {
    // ESRCH: the group has ended
  }
}

/** User and system time, proc(5). */
function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS
}
