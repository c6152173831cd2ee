import assert from 'node:assert/strict'
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { systemClock } from '../../services/core/runtime/clock.ts'
import { descendantsOf, killAll, markedBy, processes } from '../../services/local/process-tree.ts'
import { freePort } from '../port.ts'
import { mainOf } from '../program.ts'
import { until } from '../until.ts'

const MAIN = mainOf('cli')
const folder = mkdtempSync(join(tmpdir(), 's2-up-'))
after(() => rmSync(folder, { recursive: true, force: true }))

/** A fleet in a folder so deep that no unix socket path would fit, and with a blank in its name. */
class LocalFleet implements AsyncDisposable {
  readonly folder: string
  readonly state: string
  readonly #path: string
  readonly #port: number
  #up: ChildProcess | null = null
  output = ''

  private constructor(name: string, port: number) {
    this.folder = join(folder, name, 'a folder of some depth'.repeat(3), 'and more of it'.repeat(4))
    this.state = join(this.folder, '.s2')
    this.#path = join(this.folder, 'fleet.json')
    this.#port = port
  }

  static async make(name: string, worker: Readonly<Record<string, unknown>> = {}): Promise<LocalFleet> {
    const fleet = new LocalFleet(name, await freePort())
    mkdirSync(fleet.folder, { recursive: true })
    const exec = 'exec sh -c "$S2_TASK_DESCRIPTION"'
    const settings = { S2_BEAT: '200ms', S2_GIT_POLL: '300ms', S2_RATE: '10000' }
    const workers = [{ number: 1, role: 'tests', exec, ...worker }]
    writeFileSync(fleet.#path, JSON.stringify({ bridge: { listen: `127.0.0.1:${fleet.#port}` }, settings, workers }))
    return fleet
  }

  get port(): number {
    return this.#port
  }

  start({ umask = '022', ...more }: { readonly umask?: string; readonly S2_STORE?: string } = {}): ChildProcess {
    const line = ['-c', 'umask "$1" && shift && exec "$@"', 'sh', umask, process.execPath]
    const up = spawn('/bin/sh', [...line, MAIN, 'up', this.#path, '--json'], {
      cwd: this.folder,
      env: { ...this.#env, ...more },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    for (const stream of [up.stdout, up.stderr]) stream.on('data', (chunk: Buffer) => (this.output += String(chunk)))
    this.#up = up
    return up
  }

  async s2(...words: string[]): Promise<{ code: number; out: string; err: string }> {
    return await this.#run(words, this.#env)
  }

  /** The same on a worker's host. */
  async s2On(worker: string, ...words: string[]): Promise<{ code: number; out: string; err: string }> {
    return await this.#run(words, { ...this.#env, S2_STATE: join(this.state, 'workers', worker) })
  }

  async #run(words: string[], env: NodeJS.ProcessEnv): Promise<{ code: number; out: string; err: string }> {
    return await new Promise((resolve) => {
      execFile(process.execPath, [MAIN, ...words], { cwd: this.folder, env }, (error, out, err) =>
        resolve({ code: typeof error?.code === 'number' ? error.code : 0, out, err }),
      )
    })
  }

  /** Waits until it is so; fails with what the fleet has said. */
  async until(what: string, isSo: () => unknown): Promise<void> {
    await until(what, isSo).catch((error: Error) => assert.fail(`${error.message}\n${this.output}`))
  }

  family(): readonly unknown[] {
    return descendantsOf(processes(), markedBy(this.state))
  }

  async stop(): Promise<void> {
    const up = this.#up
    if (up === null || up.exitCode !== null || up.signalCode !== null) return
    const ended = exitOf(up)
    up.kill('SIGTERM')
    await ended
  }

  /** Ends the fleet, and what a broken one leaves. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
    await killAll(markedBy(this.state), systemClock)
  }

  get #env(): NodeJS.ProcessEnv {
    return Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(S2_|FLEET_|NODE_TEST)/.test(name)))
  }
}

function exitOf(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve) => child.once('exit', (code) => resolve(code)))
}

test('a worker that nothing is to be started for is told of as a place, with its state folder', async () => {
  await using fleet = await LocalFleet.make('place', { exec: undefined })
  fleet.start()
  await fleet.until('the place is told of', () => fleet.output.includes('a place:'))
  const state = join(fleet.state, 'workers', 's2-worker-1')
  assert.ok(fleet.output.includes(`S2_STATE='${state}' is for an agent that you start`))
  assert.match(fleet.output, /; nothing wakes it: say .*S2_WAKE_BY.* of worker 1 in the fleet file/)
})

test('of a place that is woken nothing more is asked', async () => {
  await using fleet = await LocalFleet.make('woken', { exec: undefined, settings: { S2_WAKE_BY: 'tmux' } })
  fleet.start()
  await fleet.until('the place is told of', () => fleet.output.includes('a place:'))
  assert.doesNotMatch(fleet.output, /nothing wakes it/)
})

test('a fleet comes up from nothing, works, tells, and ends without leaving anything', async () => {
  await using fleet = await LocalFleet.make('whole')
  const up = fleet.start()
  await fleet.until('the worker waits for work', () => {
    const credentials = join(fleet.state, 'workers', 's2-worker-1', 'credentials')
    const isEnlisted = readdirSync(credentials).some((name) => name.endsWith('.json'))
    return isEnlisted && existsSync(join(fleet.state, 'logs', 's2-worker-1-worker.log'))
  })

  const added = await fleet.s2('task', 'add', 'echo from the $S2_TASK_ROLE worker', '--to', 'tests', '--id', 't-1')
  assert.equal(added.code, 0, added.err)
  await fleet.until('the task is completed', async () => {
    const { out } = await fleet.s2('task', 'show', 't-1', '--json')
    return (JSON.parse(out) as { state: string }).state === 'completed'
  })
  const shown = await fleet.s2('task', 'show', 't-1')
  assert.match(shown.out, /from the tests worker/)

  const status = JSON.parse((await fleet.s2('status', '--json')).out) as {
    agents: { name: string; completed: number }[]
  }
  assert.deepEqual(
    status.agents.map(({ name, completed }) => [name, completed]),
    [
      ['orchestrator', 0],
      ['s2-worker-1', 1],
    ],
  )
  const sent = await fleet.s2('send', 's2-worker-1', 'hello', 'you', '--wait', '--json')
  assert.equal((JSON.parse(sent.out) as { state: string }).state, 'carried', sent.err)
  assert.match((await fleet.s2('check')).out, /status_update.*t-1/)
  assert.match((await fleet.s2('check')).out, /no new messages/)
  assert.match((await fleet.s2('freeze', 'test')).err, /did you mean tests\?/)

  const opening = ['conversation', 'create', '--role-b', 'docs', '--agent-b', 'elsewhere', '--show-tokens', '--json']
  const held = await fleet.s2(...opening)
  assert.equal(held.code, 0, held.err)
  const { id } = JSON.parse(held.out) as { id: string }
  rmSync(join(fleet.state, 'credentials', `${id}-a.json`))
  assert.match((await fleet.s2('send', 'elsewhere', 'by the administration')).out, /^queued: /)

  const stray = await fleet.s2On('s2-worker-1', 'send', 's2-worker-9', 'for somebody else')
  assert.equal(stray.code, 1, stray.out)
  assert.match(stray.err, /nothing was sent: no agent or session here is called "s2-worker-9"/)
  assert.match((await fleet.s2On('s2-worker-1', 'send', 'orchestrator', 'for you')).out, /^waiting: /)

  const keyed = (text: string, ...wait: string[]) =>
    fleet.s2On('s2-worker-1', 'send', 'orchestrator', text, '--key', 'k', ...wait)
  assert.match((await keyed('once', '--wait')).out, /^carried: /)
  assert.match((await keyed('once', '--wait')).out, /^carried: /)
  await fleet.until('another message with the key is refused in the time that is given to one', async () =>
    /not take the message: .* has sent another message with the key "k"/.test((await keyed('another')).err),
  )

  const second = await fleet.s2('up', 'fleet.json')
  assert.equal(second.code, 78)
  assert.match(second.err, /up\.sock is in use/)
  assert.doesNotMatch(allText(fleet), /[0-9a-f]{64}/, 'a token was written where it does not belong')

  const ended = exitOf(up)
  up.kill('SIGINT')
  assert.equal(await ended, 0, fleet.output)
  assert.deepEqual(fleet.family(), [])

  // The second start finds everything there and opens nothing anew.
  const conversations = readdirSync(join(fleet.state, 'credentials')).length
  const again = fleet.start()
  await fleet.until('it is up again', () => fleet.output.split('"event":"up"').length > 2)
  const commits = execFileSync('git', ['--git-dir', join(fleet.state, 'remote.git'), 'rev-list', '--count', 'main'])
  assert.equal(Number(commits), 1, 'credentials were published a second time')
  assert.equal(readdirSync(join(fleet.state, 'credentials')).length, conversations)
  const endedAgain = exitOf(again)
  again.kill('SIGTERM')
  again.kill('SIGINT')
  assert.equal(await endedAgain, 0)
  assert.doesNotMatch(fleet.output, /SIGKILL/, 'what a hurry ends is told as a fall')
})

test('a fleet whose store only its first start named goes on with it, and commands find it', async () => {
  await using fleet = await LocalFleet.make('elsewhere')
  const store = join(fleet.folder, 'shared', 'bridge.db')
  mkdirSync(join(fleet.folder, 'shared'))
  const conversations = async (): Promise<string> => (await fleet.s2('conversation', 'list', '--json')).out
  const isUp = (times: number): boolean => fleet.output.split(` in sqlite:${store}; see them`).length === times + 1
  fleet.start({ S2_STORE: `sqlite:${store}` })
  await fleet.until('it is up', () => isUp(1))
  const before = await conversations()
  assert.match(before, /s2-worker-1/)
  await fleet.stop()
  assert.match((await fleet.s2('backup')).out, /backups/)
  assert.equal((await fleet.s2('audit', 'verify')).code, 0)
  assert.match((await fleet.s2('import', store)).err, /is the database itself/)
  fleet.start()
  await fleet.until('it is up again', () => isUp(2))
  const ids = (json: string): string[] => (JSON.parse(json) as { id: string }[]).map(({ id }) => id)
  assert.deepEqual(ids(await conversations()), ids(before))
  assert.equal(existsSync(join(fleet.state, 'bridge.db')), false)
})

test('when s2 up is killed, all it started ends, commands of tasks too', async () => {
  await using fleet = await LocalFleet.make('killed')
  const up = fleet.start()
  await fleet.until('it is up', () => fleet.output.includes('"event":"up"'))
  const pid = join(fleet.folder, 'task pid')
  await fleet.s2('task', 'add', `echo $$ > "${pid}"; sleep 300`, '--to', 's2-worker-1')
  await fleet.until('the task runs', () => existsSync(pid) && readFileSync(pid, 'utf8').trim() !== '')
  assert.ok(fleet.family().length >= 7)
  const ended = exitOf(up)
  up.kill('SIGKILL')
  await ended
  await fleet.until('nothing is left', () => fleet.family().length === 0)
  const task = Number(readFileSync(pid, 'utf8'))
  // Dead ones may wait to be collected by whoever inherited them.
  assert.ok(processes().every((each) => each.pid !== task || each.state === 'Z'))
})

test('a taken port and a wrong setting are told before anything is started', async () => {
  const fleet = await LocalFleet.make('refused')
  const other = createServer()
  await new Promise<void>((resolve) => other.listen(fleet.port, '127.0.0.1', resolve))
  const taken = await fleet.s2('up', 'fleet.json')
  await new Promise((resolve) => other.close(resolve))
  assert.equal(taken.code, 78)
  assert.match(taken.err, new RegExp(`the bridge cannot listen on 127.0.0.1:${fleet.port} .*bridge.listen`))
  writeFileSync(join(fleet.folder, 'fleet.json'), JSON.stringify({ workers: [{ number: 1, role: 'x', exce: 'y' }] }))
  const wrong = await fleet.s2('up', 'fleet.json')
  assert.equal(wrong.code, 78)
  assert.match(wrong.err, /did you mean exec\?/)
  assert.deepEqual(fleet.family(), [])
})

/** All that can be read of a fleet's processes and logs. */
function allText(fleet: LocalFleet): string {
  const logs = join(fleet.state, 'logs')
  const files = readdirSync(logs).map((name) => readFileSync(join(logs, name), 'utf8'))
  const argv = descendantsOf(processes(), markedBy(fleet.state)).map(({ pid }) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
    } catch {
      return '' // it has ended
    }
  })
  return [fleet.output, ...files, ...argv].join('\n')
}

for (const umask of ['000', '022']) {
  test(`under umask ${umask} nothing in the state of a fleet can be reached by others`, async () => {
    await using fleet = await LocalFleet.make(`umask-${umask}`)
    mkdirSync(fleet.state)
    chmodSync(fleet.state, 0o777)
    const up = fleet.start({ umask })
    await fleet.until('it is up', () => fleet.output.includes('"event":"up"'))
    const worker = join(fleet.state, 'workers', 's2-worker-1')
    await fleet.until('the worker has its credential', () => existsSync(join(worker, 'credentials')))
    await fleet.s2On('s2-worker-1', 'send', 'orchestrator', 'hello', '--wait')
    const folders = [fleet.state, worker].flatMap((state) => [
      state,
      ...readdirSync(state, { withFileTypes: true })
        .filter((each) => each.isDirectory())
        .map(({ name }) => join(state, name)),
    ])
    const open = folders.filter((path) => (statSync(path).mode & 0o077) !== 0 && path !== fleet.state)
    assert.deepEqual(open, [])
    assert.equal(statSync(fleet.state).mode & 0o027, 0)
    assert.ok(folders.length > 10, folders.join())
    assert.match(fleet.output, /was open to others \(mode 777\)/)
    const ended = exitOf(up)
    up.kill('SIGTERM')
    await ended
  })
}

test('a worker whose folder is missing is sick and told of by that name, and no task is tried there', async () => {
  await using fleet = await LocalFleet.make('no-folder', { folder: 'work', settings: { S2_GIT_POLL: '300ms' } })
  fleet.start()
  await fleet.until('it is shown sick, by the name of its folder', async () =>
    /s2-worker-1 .* sick .*the folder \S.*\/work does not exist/.test((await fleet.s2('status')).out),
  )
  await fleet.until('an incident tells it', async () =>
    /s2-worker-1 .*the folder \S.*\/work does not exist/.test((await fleet.s2('incident', 'list')).out),
  )
  await fleet.s2('task', 'add', 'true', '--to', 'tests', '--id', 't-1')
  const { out } = await fleet.s2('task', 'show', 't-1', '--json')
  assert.deepEqual((JSON.parse(out) as { attempts: unknown[] }).attempts, [], out)
})
