import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from '../port.ts'
import { until } from '../until.ts'

const ROOT = join(import.meta.dirname, '../..')
const WORKER = 's2-worker-3'
/** Two seconds on a machine that has little else to do; the poll would take an hour. */
const SOON_MS = 6_000

/** A bridge, a worker's keepalive and cred-sync that polls so seldom that only a hint makes it ask. */
class Fleet implements AsyncDisposable {
  readonly #folder = mkdtempSync(join(tmpdir(), 's2-hint-'))
  readonly remote = join(this.#folder, 'remote.git')
  readonly #lead = join(this.#folder, 'lead')
  readonly #worker = join(this.#folder, 'worker')
  readonly #running: ChildProcess[] = []
  #said = ''
  #settings: Readonly<Record<string, string>> = {}

  async raise(): Promise<void> {
    const port = await freePort()
    this.#settings = { S2_BRIDGE_URL: `http://127.0.0.1:${port}`, S2_GIT_REMOTE: this.remote }
    this.git('init', '--quiet', '--bare', '--initial-branch=main', this.remote)
    this.#start('bridge', { S2_STATE: this.#lead, S2_LISTEN: `127.0.0.1:${port}` })
    await until('the bridge answers', () => existsSync(join(this.#lead, 'run/admin.sock')))
    const place = { S2_STATE: this.#worker, S2_GIT_POLL: '1h' }
    this.#start('cred-sync', { ...place, S2_GIT_REMOTE: this.remote, S2_WORKER: '3' })
    await until('it has looked in vain', () => this.#said.includes('the credential at hand stays in force'))
    this.s2('conversation', 'create', '--role-b', 'tests', '--number', '3')
    this.#start('keepalive', { S2_STATE: this.#worker, S2_BEAT: '500ms' })
    // no hint reaches who has no credential yet: the first one is found though the poll is long
    await until('the worker is linked', () => this.#said.includes('"link open"') && this.token() !== null)
  }

  s2(...words: string[]): string {
    const env = { ...plainEnv(), ...this.#settings, S2_STATE: this.#lead }
    return execFileSync(process.execPath, [join(ROOT, 'services/cli/main.ts'), ...words], { env, encoding: 'utf8' })
  }

  /** Every push tells the bridge, as the README has it. */
  hook(): void {
    const script = `#!/bin/sh\nS2_STATE='${this.#lead}' exec '${process.execPath}' '${join(ROOT, 'services/cli/main.ts')}' credential hint\n`
    writeFileSync(join(this.remote, 'hooks/post-receive'), script, { mode: 0o755 })
  }

  /** Pushes a credential file by git alone. */
  push(file: string): void {
    const work = mkdtempSync(join(this.#folder, 'work-'))
    this.git('clone', '--quiet', this.remote, work)
    writeFileSync(join(work, 'credentials', `${WORKER}-credentials.json`), readFileSync(file))
    this.git('-C', work, 'commit', '--quiet', '--all', '-m', 'by hand')
    this.git('-C', work, 'push', '--quiet', 'origin', 'HEAD:main')
  }

  git(...args: string[]): void {
    const who = ['-c', 'user.name=t', '-c', 'user.email=t@example.org']
    execFileSync('git', [...who, ...args], { env: { ...plainEnv(), GIT_CONFIG_NOSYSTEM: '1', HOME: this.#folder } })
  }

  out(): string {
    const folder = join(this.#folder, 'out')
    mkdirSync(folder, { recursive: true })
    return folder
  }

  token(): string | null {
    const folder = join(this.#worker, 'credentials')
    const names = existsSync(folder) ? readdirSync(folder) : []
    const name = names.find((each) => /^[^.]+\.json$/.test(each))
    return name === undefined ? null : (JSON.parse(readFileSync(join(folder, name), 'utf8')) as { token: string }).token
  }

  said(): string {
    return this.#said
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(
      this.#running.map(async (child) => {
        if (child.exitCode !== null || child.signalCode !== null) return
        const ended = once(child, 'exit')
        child.kill('SIGKILL')
        await ended
      }),
    )
    rmSync(this.#folder, { recursive: true, force: true })
  }

  #start(program: string, settings: Readonly<Record<string, string>>): void {
    const child = spawn(process.execPath, [join(ROOT, 'services', program, 'main.ts')], {
      env: { ...plainEnv(), ...settings },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    child.stdout?.on('data', (data) => {
      this.#said += data
    })
    this.#running.push(child)
  }
}

function plainEnv(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(S2_|GIT_)/.test(name)))
}

test('what is pushed is in force soon after a hint, and would else wait for the poll', async (t) => {
  await using fleet = new Fleet()
  await fleet.raise()
  const first = fleet.token()

  await t.test('s2 hints by itself after its push', async () => {
    fleet.s2('credential', 'rotate', WORKER)
    const took = await until('the new token is there', () => fleet.token() !== first)
    assert.ok(took < SOON_MS, `${took} ms`)
  })

  await t.test('what git alone pushed is asked for when somebody hints', async () => {
    const second = fleet.token()
    fleet.s2('credential', 'rotate', WORKER, '--out', fleet.out())
    fleet.push(join(fleet.out(), `${WORKER}-credentials.json`))
    await sleep(2_000)
    assert.equal(fleet.token(), second, 'nobody has told the worker yet')
    fleet.s2('credential', 'hint', WORKER)
    const took = await until('the new token is there', () => fleet.token() !== second)
    assert.ok(took < SOON_MS, `${took} ms`)
  })

  await t.test('a hook of the remote does so after every push', async () => {
    fleet.hook()
    const third = fleet.token()
    fleet.s2('credential', 'rotate', WORKER, '--out', fleet.out())
    fleet.push(join(fleet.out(), `${WORKER}-credentials.json`))
    const took = await until('the new token is there', () => fleet.token() !== third)
    assert.ok(took < SOON_MS, `${took} ms`)
  })

  await t.test('strangers are refused by name', () => {
    assert.throws(
      () => fleet.s2('credential', 'hint', 's2-worker-4'),
      /there is no worker "s2-worker-4"\s+next: did you mean s2-worker-3/,
    )
  })
  assert.equal(fleet.said().split('"credential published"').length - 1, 4)
})
