import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, test } from 'node:test'
import { publishClientSession } from '../../../services/core/agents/client-sessions-folder.ts'
import { publishCredential } from '../../../services/core/spool/credentials.ts'
import { parseFleet } from '../../../services/local/parse-fleet-description.ts'
import { planPrograms } from '../../../services/local/process-plan.ts'
import { run } from '../run-command.ts'

const base = mkdtempSync(join(tmpdir(), 's2-missing-'))
after(() => rmSync(base, { recursive: true, force: true }))
let homes = 0

class Home {
  readonly path: string

  constructor() {
    homes += 1
    this.path = join(base, `${homes}`)
    mkdirSync(join(this.path, 'project'), { recursive: true })
  }

  get state(): string {
    return join(this.path, 'state')
  }

  put(name: string, content: object): void {
    mkdirSync(dirname(join(this.path, name)), { recursive: true })
    writeFileSync(join(this.path, name), JSON.stringify(content))
  }

  async install(agent: string, ...more: readonly string[]): Promise<string> {
    return await this.installWith({ S2_STATE: this.state }, agent, ...more)
  }

  async installWith(env: Record<string, string>, agent: string, ...more: readonly string[]): Promise<string> {
    const words = ['hooks', 'install', '--agent', agent, ...more]
    const folder = join(this.path, 'project')
    const { code, err } = await run(words, { env: { HOME: this.path, PATH: join(this.path, 'bin'), ...env }, folder })
    assert.equal(code, 0, err)
    return err
  }

  /** A program that answers for its health. */
  async serve(program: string): Promise<AsyncDisposable> {
    const server = createServer((_, response) => {
      response.end(JSON.stringify({ ready: true, state: 'ready', status: '', troubles: {}, warnings: {} }))
    })
    mkdirSync(join(this.state, 'run'), { recursive: true })
    await new Promise<void>((resolve) => server.listen(join(this.state, 'run', `${program}.sock`), resolve))
    return { [Symbol.asyncDispose]: async () => void server.close() }
  }
}

test('what is missing for being heard and woken is told, once the hooks are there', async () => {
  const home = new Home()
  const err = await home.install('claude')
  assert.match(err, /no s2-keepalive answers in .*\/state: .*\n {2}next: .*s2 up/)
  assert.match(err, /no s2-fs-watcher answers .*\n {2}next: sudo systemctl enable --now s2-fs-watcher/)
  assert.match(err, /no credential of the fleet/)
  assert.match(err, /the command s2 is not in PATH: .*\n {2}next: .*deploy\/env\.sh/)
  assert.doesNotMatch(err, /bypass/)
})

test('below the folder of a fleet of s2 up, its state folders are named', async () => {
  const home = new Home()
  mkdirSync(join(home.path, '.s2', 'run'), { recursive: true })
  const err = await home.installWith({}, 'claude')
  const state = join(home.path, '.s2')
  assert.ok(
    err.includes(
      `  next: the fleet of s2 up in ${home.path} is meant by S2_STATE=${state}, and one of its workers by S2_STATE=`,
    ),
    err,
  )
  for (const command of [['task', 'list'], ['freeze', 'docs'], ['check']]) {
    const { err } = await run(command, { env: { HOME: home.path }, folder: join(home.path, 'project') })
    assert.match(err, /\n {2}next: the fleet of s2 up in /, command.join(' '))
  }
})

test('in the place of a worker of s2 up, what is to be put into the fleet file is said word for word', async () => {
  const home = new Home()
  const S2_STATE = join(home.path, '.s2', 'workers', 's2-worker-4')
  mkdirSync(S2_STATE, { recursive: true })
  const err = await home.installWith({ S2_STATE }, 'claude')
  const said =
    /no s2-fs-watcher answers .*\n {2}next: put ("settings": \{.*\}) into worker 4 of the fleet file, and start s2 up again\n/
  const line = said.exec(err)?.[1]
  assert.ok(line !== undefined, err)
  const fleet = parseFleet({ workers: [{ number: 4, role: 'review', ...JSON.parse(`{${line}}`) }] }, 'fleet.json')
  const plans = planPrograms(fleet, { state: '/state', folder: '/here', env: {} })
  assert.ok(plans.some(({ agent, program }) => agent === 's2-worker-4' && program === 'fs-watcher'))
})

test('where all is there nothing is told', async () => {
  const home = new Home()
  home.put('bin/s2', {})
  await using _keepalive = await home.serve('keepalive')
  await using _watcher = await home.serve('fs-watcher')
  await publishCredential(home.state, {
    session: 'conv_0123456789abcdef/b',
    agent: 'worker-1',
    role: 'worker',
    token: 'a'.repeat(43),
    bridgeUrl: 'http://127.0.0.1:7433',
    createdAt: Date.now(),
    expiresAt: Date.now() + 60_000,
  })
  assert.equal(await home.install('claude'), '')
  assert.equal(await home.install('gemini'), '')
})

test('a dry run and JSON say nothing more', async () => {
  const home = new Home()
  assert.equal(await home.install('claude', '--dry-run'), '')
  assert.equal(await home.install('claude', '--json'), '')
})

test('tools that Claude Code would ask a person for are told of, where it has them', async () => {
  const asks = /asks a person before it uses a tool of S2: .*\n {2}next: put "mcp__s2" into permissions\.allow/
  for (const project of [[], ['--project']]) {
    const home = new Home()
    assert.doesNotMatch(await home.install('claude', ...project), asks)
    assert.match(await home.install('claude', '--mcp', ...project), asks)
    home.put('project/.claude/settings.json', { permissions: { allow: ['Bash(ls)', 'mcp__s2'] } })
    assert.doesNotMatch(await home.install('claude', ...project), asks)
    home.put('project/.claude/settings.json', { permissions: { defaultMode: 'bypassPermissions' } })
    assert.doesNotMatch(await home.install('claude', ...project), asks)
  }
})

test('bypass mode is told of where messages would be held, whoever set it', async () => {
  const mode = { permissions: { defaultMode: 'bypassPermissions' } }
  for (const file of [
    '.claude/settings.json',
    'project/.claude/settings.json',
    'project/.claude/settings.local.json',
  ]) {
    const home = new Home()
    home.put(file, mode)
    assert.match(await home.install('claude'), /"crossSessionInbound": "accept"/, file)
    assert.doesNotMatch(await home.install('codex'), /bypass/)
    home.put('.claude/settings.json', { crossSessionInbound: 'accept', ...mode })
    assert.doesNotMatch(await home.install('claude'), /bypass/, file)
  }
  const home = new Home()
  await publishClientSession(home.state, {
    client: 'claude',
    id: 'a',
    session: null,
    process: null,
    sharesProcess: false,
    folder: '/',
    transcript: null,
    version: null,
    permissionMode: 'bypassPermissions',
    inboxSocket: null,
    pane: null,
    activity: { state: 'idle', what: null, until: null },
    since: 1,
    heardAt: 1,
    signs: 0,
    unseen: [],
    wakesRead: [],
  })
  assert.match(await home.install('claude'), /bypass mode/)
})
