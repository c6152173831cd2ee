/** Runs each fleet of examples/ as it is, save for its port, until it has shown what its README says. */
import assert from 'node:assert/strict'
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { after, test } from 'node:test'
import { systemClock } from '../services/core/runtime/clock.ts'
import { descendantsOf, killAll, markedBy, processes } from '../services/local/process-tree.ts'
import { freePort } from './port.ts'
import { mainOf } from './program.ts'
import { until } from './until.ts'

const root = mkdtempSync(join(tmpdir(), 's2-examples-'))
after(() => rmSync(root, { recursive: true, force: true }))

interface ShownTask {
  readonly id: string
  readonly role: string
  readonly state: string
  readonly epoch: number
  readonly holder: string | null
}

/** An example that runs, in a copy of its folder. */
class Example implements AsyncDisposable {
  readonly folder: string
  readonly #up: ChildProcess
  output = ''

  private constructor(folder: string) {
    this.folder = folder
    this.#up = spawn(process.execPath, [mainOf('cli'), 'up', 'fleet.json', '--demo', '--json'], {
      cwd: folder,
      env: environment(),
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    for (const stream of [this.#up.stdout, this.#up.stderr]) {
      stream?.on('data', (chunk: Buffer) => (this.output += String(chunk)))
    }
  }

  static async start(name: string): Promise<Example> {
    const folder = join(root, name)
    cpSync(join('examples', name), folder, { recursive: true })
    const file = join(folder, 'fleet.json')
    const fleet = JSON.parse(readFileSync(file, 'utf8')) as object
    writeFileSync(file, JSON.stringify({ ...fleet, bridge: { listen: `127.0.0.1:${await freePort()}` } }))
    return new Example(folder)
  }

  /** What a command prints, run from the example's folder. Throws when it fails. */
  async s2(...words: string[]): Promise<string> {
    return await new Promise((resolve, reject) => {
      execFile(
        process.execPath,
        [mainOf('cli'), ...words],
        { cwd: this.folder, env: environment() },
        (error, out, err) => (error === null ? resolve(out) : reject(new Error(`s2 ${words.join(' ')}: ${err}`))),
      )
    })
  }

  async tasks(): Promise<readonly ShownTask[]> {
    return JSON.parse(await this.s2('task', 'list', '--all', '--json'))
  }

  async until(what: string, isSo: () => unknown): Promise<void> {
    await until(what, isSo).catch((error: Error) => assert.fail(`${error.message}\n${this.output}`))
  }

  /** Waits until the fleet answers commands. */
  async isUp(): Promise<void> {
    await this.until('the fleet is up', () => this.output.includes('"event":"up"'))
  }

  async end(): Promise<number | null> {
    const ended = once(this.#up, 'exit')
    this.#up.kill('SIGINT')
    return (await ended)[0]
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#up.exitCode === null && this.#up.signalCode === null) await this.end()
    await killAll(markedBy(join(this.folder, '.s2')), systemClock)
  }
}

function environment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(S2_|NODE_TEST)/.test(name)))
}

test('first-fleet: every kind of task ends as its README says, and nothing is left', async () => {
  await using fleet = await Example.start('first-fleet')
  await fleet.isUp()
  await fleet.until('each role has completed two tasks, and one has failed', async () => {
    const tasks = await fleet.tasks()
    const count = (role: string, state: string) =>
      tasks.filter((each) => each.role === role && each.state === state).length
    return count('writer', 'completed') >= 2 && count('tester', 'completed') >= 1 && count('tester', 'failed') >= 1
  })
  assert.equal(await fleet.end(), 0, fleet.output)
  assert.deepEqual(descendantsOf(processes(), markedBy(join(fleet.folder, '.s2'))), [])
})

test('wake-to-file: the orchestrator is woken by what its worker reports', async () => {
  await using fleet = await Example.start('wake-to-file')
  const file = join(fleet.folder, 'woken.jsonl')
  await fleet.until('a wake is written down', () => existsSync(file) && readFileSync(file, 'utf8').includes('\n'))
  const wake = JSON.parse(readFileSync(file, 'utf8').split('\n')[0] ?? '')
  assert.equal(wake.count, 1)
  assert.match(wake.messages[0].preview, /status_update/)
})

test('moved-task: another worker completes what a frozen one had', async () => {
  await using fleet = await Example.start('moved-task')
  await fleet.isUp()
  await fleet.until('all three workers live', async () => {
    const status = await fleet.s2('status', '--json').catch(() => null) // it fails until a watchdog has looked
    if (status === null) return false
    const { agents } = JSON.parse(status) as { agents: { name: string; verdict: string }[] }
    return agents.filter(({ name, verdict }) => name !== 'orchestrator' && verdict === 'alive').length === 3
  })
  // It ends only after the worker is frozen, however long that takes.
  const what = 'until [ -e frozen ]; do sleep 1; done; echo "done at epoch $S2_TASK_EPOCH"'
  await fleet.s2('task', 'add', what, '--to', 's2-worker-1', '--id', 'long', '--priority', 'P0')
  const task = async (): Promise<ShownTask> => JSON.parse(await fleet.s2('task', 'show', 'long', '--json'))
  await fleet.until('the worker has begun', async () => (await task()).state === 'in_progress')
  const first = (await task()).holder
  await fleet.s2('freeze', 's2-worker-1')
  writeFileSync(join(fleet.folder, 'frozen'), '')
  await fleet.until('the task is completed', async () => (await task()).state === 'completed')
  const { holder, epoch } = await task()
  assert.notEqual(holder, first)
  assert.ok(epoch >= 2)
  assert.match(await fleet.s2('task', 'show', 'long'), /done at epoch/)
  await fleet.s2('thaw', 's2-worker-1')
})

test('every example is run here, and its README names its commands', () => {
  const names = globSync('examples/*/fleet.json').map((path) => basename(dirname(path)))
  assert.deepEqual(names.sort(), ['first-fleet', 'moved-task', 'wake-to-file'])
  for (const name of names) {
    assert.match(readFileSync(join('examples', name, 'README.md'), 'utf8'), new RegExp(`cd examples/${name}\n`))
  }
})
