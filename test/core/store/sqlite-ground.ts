/** What the tests of the SQLite store stand on: a folder, stores in it, processes beside them. */
import assert from 'node:assert/strict'
import { type ChildProcess, type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import Database from 'better-sqlite3'
import type { OpenedConversation } from '#fleet/conversation.ts'
import { type Code, S2Error } from '#fleet/errors.ts'
import { type SessionId, sessionId } from '#fleet/session-id.ts'
import { LATE, waitAtMost } from '#runtime/bounded-wait.ts'
import { systemChance, systemClock } from '#runtime/clock.ts'
import { recordingLog } from '#runtime/log.ts'
import { openSqliteStore } from '#store/sqlite/open-sqlite-store.ts'
import type { Store, StoreParts } from '#store/store.ts'
import { PATIENCE_MS } from '../../until.ts'

export class Ground implements AsyncDisposable {
  readonly folder: string
  readonly log = recordingLog()
  readonly parts: StoreParts
  readonly #stack = new AsyncDisposableStack()

  constructor(folder: string, parts: Partial<StoreParts>) {
    this.folder = folder
    this.parts = { clock: systemClock, chance: systemChance, log: this.log, ...parts }
  }

  static async make(parts: Partial<StoreParts> = {}): Promise<Ground> {
    return new Ground(await mkdtemp(join(tmpdir(), 's2-sqlite-')), parts)
  }

  get path(): string {
    return join(this.folder, 'bridge.db')
  }

  async open(mode: 'write' | 'read' = 'write', path = this.path): Promise<Store> {
    return this.#stack.use(await openSqliteStore(path, this.parts, mode))
  }

  /** Another handle of this process's own SQLite: what a test looks with. */
  look<T>(question: (database: Database.Database) => T, path = this.path): T {
    const database = new Database(path)
    try {
      return question(database)
    } finally {
      database.close()
    }
  }

  /** A process that speaks in lines of JSON and is ended with the test. */
  async start(command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Neighbour> {
    const neighbour = new Neighbour(
      spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'], detached: true, env: { ...process.env, ...env } }),
    )
    return this.#stack.use(neighbour)
  }

  /** A process of this program's kind that runs a script over a database. */
  async startScript(script: URL, ...args: readonly string[]): Promise<Neighbour> {
    return await this.start(process.execPath, [fileURLToPath(script), ...args])
  }

  /** The Python bridge over this ground's database; call it by `python.call(tool, arguments)`. */
  async startPython(): Promise<Neighbour> {
    const python = await this.start('python3', [join(import.meta.dirname, 'python-bridge.py'), this.path])
    assert.ok('ready' in (await python.hear()))
    return python
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync()
    await rm(this.folder, { recursive: true, force: true })
  }
}

type Json = Readonly<Record<string, unknown>>

export class Neighbour implements AsyncDisposable {
  readonly process: ChildProcess
  readonly #lines: AsyncIterator<string>

  constructor(process: ChildProcess) {
    this.process = process
    assert.ok(process.stdout)
    this.#lines = createInterface(process.stdout)[Symbol.asyncIterator]()
  }

  /** What it says next; fails when it ends instead, or says nothing. */
  async hear(): Promise<Json> {
    const line = await waitAtMost(this.#lines.next(), PATIENCE_MS, systemClock)
    assert.ok(line !== LATE, `it says nothing: ${this.process.spawnargs.join(' ')}`)
    assert.ok(line.done !== true, `it ended: ${this.process.spawnargs.join(' ')}`)
    return JSON.parse(line.value)
  }

  /** All that it says until it ends. */
  async hearOut(): Promise<Json[]> {
    const said: Json[] = []
    for (let line = await this.#lines.next(); line.done !== true; line = await this.#lines.next()) {
      said.push(JSON.parse(line.value))
    }
    return said
  }

  say(word: Json): void {
    this.process.stdin?.write(`${JSON.stringify(word)}\n`)
  }

  async call(tool: string, args: Json): Promise<Json> {
    this.say({ tool, arguments: args })
    const answer = await this.hear()
    assert.equal(answer.error, undefined, `${tool}: ${answer.error}`)
    return answer
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return
    const ended = once(this.process, 'exit')
    if (this.process.pid !== undefined) process.kill(-this.process.pid, signal)
    await ended
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.kill()
  }
}

export interface Channel {
  readonly opened: OpenedConversation
  readonly a: SessionId
  readonly b: SessionId
}

export async function openChannel(store: Store, worker = 's2-worker-1'): Promise<Channel> {
  const opened = await store.openConversation({
    roles: { a: 'orchestrator', b: 'tests' },
    agents: { a: 'orchestrator', b: worker },
    lifetimeMs: 3_600_000,
  })
  return { opened, a: sessionId(opened.id, 'a'), b: sessionId(opened.id, 'b') }
}

/** Waits for a refusal; answers it, for a closer look. It must always say what happened, and to what. */
export async function refused(code: Code, asked: Promise<unknown>): Promise<S2Error> {
  const error: unknown = await asked.then(
    () => assert.fail(`not refused, but ${code} was expected`),
    (reason: unknown) => reason,
  )
  assert.ok(error instanceof S2Error, `no S2Error: ${String(error)}`)
  assert.equal(error.code, code, error.message)
  return error
}

/** A tool of the machine, which may not be there: status is null then. */
export function runTool(tool: string, ...args: readonly string[]): SpawnSyncReturns<string> {
  return spawnSync(tool, args, { encoding: 'utf8' })
}

/** Why tests that speak with the Python bridge cannot run here; false where they can. */
export const noPython: string | false =
  runTool('python3', '-c', 'import sqlite3').status === 0 ? false : 'there is no python3 with sqlite3 here'

const isRoot = process.getuid?.() === 0

/** Opens as a user for whom the modes of files count. Root is one without its power over files, save to read this checkout. */
export function openWithoutRights(path: string, mode: 'write' | 'read' = 'write'): string {
  const [command = '', ...args] = [
    ...(isRoot ? ['setpriv', '--bounding-set=-dac_override'] : []),
    ...s2(OPEN, path, mode),
  ]
  const { stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8' })
  if (error !== undefined) throw error
  return stdout + stderr
}

/** A command that opens a store, does what `then` does with `store`, and says `opened` or its refusal. */
export function s2(then: string, path: string, mode: 'write' | 'read' = 'write'): string[] {
  const script = `
    import { openSqliteStore } from '#store/sqlite/open-sqlite-store.ts'
    const log = { error() {}, warn() {}, info() {}, debug() {}, async end() {} }
    const { now, sleep } = { now: () => 0, sleep: async () => {} }
    const parts = { clock: { now, wall: () => Date.now(), sleep }, chance: () => 0, log }
    await openSqliteStore(process.argv[1], parts, process.argv[2]).then(
      async (store) => { ${then} },
      (error) => console.log(error.code + ': ' + error.message + ' → ' + error.next),
    )`
  return [process.execPath, '--input-type=module', '-e', script, path, mode]
}

const OPEN = "console.log('opened')"
