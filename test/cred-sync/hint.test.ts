import assert from 'node:assert/strict'
import { execFileSync, type StdioOptions } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { freePort } from '../port.ts'
import { mainOf, Program } from '../program.ts'
import { until } from '../until.ts'

const WORKER = 's2-worker-3'

/** A bridge and an issuer, a worker's keepalive and a cred-sync that polls so seldom that only a hint makes it ask. */
class Fleet implements AsyncDisposable {
  readonly #folder = mkdtempSync(join(tmpdir(), 's2-hint-'))
  readonly remote = join(this.#folder, 'remote.git')
  readonly #lead = join(this.#folder, 'lead')
  readonly #worker = join(this.#folder, 'worker')
  readonly #programs = new AsyncDisposableStack()
  #settings: Readonly<Record<string, string>> = {}

  /** Answers the program that brings the worker's credential. */
  async raise(): Promise<Program> {
    const port = await freePort()
    this.#settings = { S2_BRIDGE_URL: `http://127.0.0.1:${port}`, S2_GIT_REMOTE: this.remote }
    this.git('init', '--quiet', '--bare', '--initial-branch=main', this.remote)
    this.#start('bridge', { S2_STATE: this.#lead, S2_LISTEN: `127.0.0.1:${port}` })
    await until('the bridge answers', () => existsSync(join(this.#lead, 'run/admin.sock')))
    this.#start('cred-sync', { ...this.#settings, S2_STATE: this.#lead, S2_ISSUER: 'yes', S2_GIT_POLL: '1h' })
    const credSync = this.#start('cred-sync', { S2_STATE: this.#worker, S2_GIT_POLL: '1h' })
    await credSync.says('trouble')
    const line = this.s2('worker', 'invite', '3', '--role', 'tests')
    this.#run({ S2_STATE: this.#worker }, ['worker', 'join', '-'], line)
    // no hint of the bridge reaches who has no credential yet: joining leaves one here
    await this.#start('keepalive', { S2_STATE: this.#worker, S2_BEAT: '500ms' }).says('link open')
    return credSync
  }

  s2(...words: string[]): string {
    return this.#run({ ...this.#settings, S2_STATE: this.#lead }, words)
  }

  #run(settings: Readonly<Record<string, string>>, words: readonly string[], input = ''): string {
    const env = { ...plainEnv(), ...settings }
    const stdio: StdioOptions = ['pipe', 'pipe', 'pipe']
    return execFileSync(process.execPath, [mainOf('cli'), ...words], { env, encoding: 'utf8', input, stdio })
  }

  /** Every push tells the bridge, as the README has it. */
  hook(): void {
    const script = `#!/bin/sh\nS2_STATE='${this.#lead}' exec '${process.execPath}' '${mainOf('cli')}' credential hint\n`
    writeFileSync(join(this.remote, 'hooks/post-receive'), script, { mode: 0o755 })
  }

  /** Pushes something by git alone. */
  push(): void {
    const work = mkdtempSync(join(this.#folder, 'work-'))
    this.git('clone', '--quiet', this.remote, work)
    writeFileSync(join(work, 'README'), work)
    this.git('-C', work, 'add', 'README')
    this.git('-C', work, 'commit', '--quiet', '-m', 'by hand')
    this.git('-C', work, 'push', '--quiet', 'origin', 'HEAD:main')
  }

  looks(): number {
    return Number(/s2_cred_sync_looks_total (\d+)/.exec(this.#metrics())?.[1] ?? 0)
  }

  #metrics(): string {
    const socket = join(this.#worker, 'run/cred-sync.sock')
    const ask = `require('http').get({ socketPath: process.argv[1], path: '/metrics' }, (answer) => answer.pipe(process.stdout))`
    return execFileSync(process.execPath, ['-e', ask, socket], { encoding: 'utf8', timeout: 10_000 })
  }

  git(...args: string[]): void {
    const who = ['-c', 'user.name=t', '-c', 'user.email=t@example.org']
    execFileSync('git', [...who, ...args], { env: { ...plainEnv(), GIT_CONFIG_NOSYSTEM: '1', HOME: this.#folder } })
  }

  token(): string | null {
    const folder = join(this.#worker, 'credentials')
    const names = existsSync(folder) ? readdirSync(folder) : []
    const name = names.find((each) => /^[^.]+\.json$/.test(each))
    return name === undefined ? null : (JSON.parse(readFileSync(join(folder, name), 'utf8')) as { token: string }).token
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#programs.disposeAsync()
    rmSync(this.#folder, { recursive: true, force: true })
  }

  #start(program: string, settings: Readonly<Record<string, string>>): Program {
    return this.#programs.use(new Program(mainOf(program), settings))
  }
}

function plainEnv(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(S2_|GIT_)/.test(name)))
}

test('what is pushed is in force soon after a hint, and would else wait for the poll', async (t) => {
  await using fleet = new Fleet()
  const credSync = await fleet.raise()
  const first = fleet.token()

  await t.test('s2 hints by itself after its push', async () => {
    fleet.s2('credential', 'rotate', WORKER)
    const took = await until('the new token is there', () => fleet.token() !== first)
    t.diagnostic(`${Math.round(took)} ms; the poll would take an hour`)
  })

  await t.test('a person’s hint makes it look', async () => {
    const before = fleet.looks()
    fleet.s2('credential', 'hint', WORKER)
    const took = await until('it has looked', () => fleet.looks() > before)
    t.diagnostic(`${Math.round(took)} ms; the poll would take an hour`)
  })

  await t.test('a hook of the remote does so after every push', async () => {
    fleet.hook()
    const before = fleet.looks()
    fleet.push()
    const took = await until('it has looked', () => fleet.looks() > before)
    t.diagnostic(`${Math.round(took)} ms; the poll would take an hour`)
  })

  await t.test('strangers are refused by name', () => {
    assert.throws(
      () => fleet.s2('credential', 'hint', 's2-worker-4'),
      /there is no worker "s2-worker-4"\s+next: did you mean s2-worker-3/,
    )
  })
  await credSync.says('credential published', 2)
  assert.equal(credSync.eventsOf('credential published').length, 2)
})
