import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { quoted } from '../../services/core/console/shell-quote.ts'
import { systemClock } from '../../services/core/runtime/clock.ts'
import { descendantsOf, killAll, MARK, markedBy, processes } from '../../services/local/process-tree.ts'
import { s2Command } from '../rehearse/stage.ts'
import { until } from '../until.ts'
import { Terminal } from './tmux.ts'

/** Where the clients are installed; `make test-agents` says it. */
function clientsFolder(): string {
  const folder = process.env.TEST_CLIENTS
  if (folder === undefined) throw new Error('TEST_CLIENTS names no folder; next: run make test-agents')
  return folder
}

export interface HomeOptions {
  /** Where its model is. */
  readonly model: string
  /** What it tells the model who it is. */
  readonly key?: string
  /** More of its environment, such as `S2_STATE`. */
  readonly env?: Readonly<Record<string, string>>
}

/**
 * A home for one client: its settings, its project, and an environment with nothing of the caller's in it. All that it starts,
 * however deep or detached, ends with it.
 */
export abstract class ClientHome implements AsyncDisposable {
  /** Short: Claude Code's sockets lie below it. */
  readonly folder = realpathSync(mkdtempSync(join(tmpdir(), 'c-')))
  readonly project = join(this.folder, 'project')
  readonly env: Record<string, string>
  readonly key: string
  /** Those that were opened, the newest last. */
  readonly terminals: Terminal[] = []
  readonly #options: HomeOptions

  constructor(options: HomeOptions) {
    this.#options = options
    this.key = options.key ?? 'key-of-the-made-up-model'
    for (const name of ['project', 'tmp', 'bin']) mkdirSync(join(this.folder, name))
    writeFileSync(join(this.folder, 'bin', 's2'), `#!/bin/sh\nexec ${s2Command().join(' ')} "$@"\n`, { mode: 0o755 })
    const path = [join(this.folder, 'bin'), dirname(process.execPath), '/usr/local/bin', '/usr/bin', '/bin']
    this.env = {
      HOME: this.folder,
      PATH: path.join(':'),
      TERM: 'xterm-256color',
      LANG: 'C.UTF-8',
      TMPDIR: join(this.folder, 'tmp'),
      // Nobody but loopback is there for it.
      HTTPS_PROXY: 'http://127.0.0.1:9',
      NO_PROXY: '127.0.0.1,localhost',
      [MARK]: this.folder,
      ...options.env,
    }
  }

  get modelUrl(): string {
    return this.#options.model
  }

  /** Runs the client without a terminal. */
  start(args: readonly string[], cwd = this.project): ClientRun {
    return new ClientRun(this.command(args), { cwd, env: this.env })
  }

  /** Leaves a program in a folder that starts the client as this home's, whoever calls it; what `s2 work` tells of a task stays. */
  putInto(folder: string): void {
    const [file] = this.command([])
    const env = Object.entries(this.env).map(([name, value]) => quoted(`${name}=${value}`))
    const task = ['STATE', 'TASK_ID', 'TASK_EPOCH', 'TASK_SESSION'].map(
      (name) => `\${S2_${name}:+"S2_${name}=$S2_${name}"}`,
    )
    const script = `#!/bin/sh\nexec env -i ${[...env, ...task].join(' ')} ${quoted(file)} "$@"\n`
    writeFileSync(join(folder, basename(file)), script, { mode: 0o755 })
  }

  /** Starts the client as people see it. */
  async open(args: readonly string[] = [], cwd = this.project): Promise<Terminal> {
    const folder = mkdtempSync(join(this.folder, 't-'))
    const terminal = await Terminal.start({ folder, cwd, env: this.env }, this.command(args))
    this.terminals.push(terminal)
    return terminal
  }

  /** What lives of it now. */
  family(): readonly { readonly pid: number; readonly state: string }[] {
    return descendantsOf(processes(), markedBy(this.folder))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const left = await killAll(markedBy(this.folder), systemClock)
    if (left > 0) throw new Error(`${left} processes of ${this.folder} cannot be ended`)
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 3 })
  }

  abstract command(args: readonly string[]): readonly [string, ...string[]]
}

/** Within this a client says what it will say: far longer than it takes, on a machine with much else to do. */
const HEARD_MS = 60_000

/** A client without a terminal, spoken to by its standard input and output. */
export class ClientRun {
  readonly child: ChildProcess
  /** What it wrote as JSON lines, and all that it wrote. */
  readonly events: Record<string, unknown>[] = []
  said = ''
  readonly ended: Promise<number | null>

  constructor(
    [file, ...args]: readonly [string, ...string[]],
    place: { readonly cwd: string; readonly env: NodeJS.ProcessEnv },
  ) {
    const child = spawn(file, args, { ...place, stdio: 'pipe' })
    child.stdin.on('error', () => undefined)
    for (const stream of [child.stdout, child.stderr]) createInterface(stream).on('line', (line) => this.#hear(line))
    this.child = child
    this.ended = new Promise((resolve) => child.once('close', resolve))
  }

  /** Writes a JSON line to it. */
  tell(line: object): void {
    this.child.stdin?.write(`${JSON.stringify(line)}\n`)
  }

  /** Ends its standard input, and waits for its end; answers its exit code. */
  async finish(): Promise<number | null> {
    this.child.stdin?.end()
    return await this.ended
  }

  /** Waits for an event of which this is so. */
  async hears(
    what: string,
    isSo: (event: Record<string, unknown>) => boolean,
    mostMs = HEARD_MS,
  ): Promise<Record<string, unknown>> {
    await until(what, () => this.events.some(isSo), mostMs).catch((error: Error) => {
      throw new Error(`${error.message}; it said:\n${this.said}`)
    })
    return this.events.find(isSo) as Record<string, unknown>
  }

  #hear(line: string): void {
    this.said += `${line}\n`
    try {
      this.events.push(JSON.parse(line))
    } catch {
      // it is said for people
    }
  }
}

/** The program of a client. */
export function clientProgram(name: 'claude' | 'codex'): string {
  const path = join(clientsFolder(), '.bin', name)
  if (!existsSync(path)) throw new Error(`there is no ${path}; next: run make test-agents`)
  return path
}
