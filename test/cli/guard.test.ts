/** Guarded commands: the four stages, and what is run. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { CommandContext } from '#console/context.ts'
import { EXIT } from '#console/failure.ts'
import type { AllowedCommand } from '#fleet/guard-rules.ts'
import { type Clock, systemClock } from '#runtime/clock.ts'
import { publishCredential } from '#spool/credentials.ts'
import { Outbox } from '#spool/outbox.ts'
import { demandGrant, endGrant, liveGrant, openGrant, redeemCode } from '../../services/cli/guard/grant.ts'
import { planCommand, runPlanned, tellPartner } from '../../services/cli/guard/run-guarded.ts'
import { findProgram, findSandbox, guardedEnv, sandboxed } from '../../services/cli/guard/sandbox.ts'
import { credential, READER } from '../core/spool/sample.ts'
import { type Outcome, run } from './run-command.ts'

class Host implements Disposable {
  readonly state = mkdtempSync(join(tmpdir(), 's2-guard-'))
  readonly folder = join(this.state, 'work folder')
  on: 'on' | 'off' = 'on'
  wall = 1_000_000
  readonly clock: Clock = { ...systemClock, wall: () => this.wall }

  constructor() {
    mkdirSync(this.folder)
    writeFileSync(join(this.folder, 'file'), 'content\n')
  }

  s2(words: readonly string[], world: Partial<CommandContext> & { stdin?: string } = {}): Promise<Outcome> {
    const env = { S2_STATE: this.state, S2_GUARD: this.on, S2_GUARD_FOLDER: this.folder, ...world.env }
    return run(['guard', ...words], { clock: this.clock, ...world, env })
  }

  /** A person allows it. */
  async code(mode = 'safe'): Promise<string> {
    const phrase = `run commands in ${mode} mode`
    const { code, out, err } = await this.s2(['enable', '--mode', mode], { ask: async () => phrase })
    assert.equal(code, 0, err)
    return out.trim()
  }

  async token(mode = 'safe'): Promise<string> {
    const { code, out, err } = await this.s2(['redeem'], { isAttended: false, stdin: `${await this.code(mode)}\n` })
    assert.equal(code, 0, err)
    return out.trim()
  }

  log(): { action: string; details: Record<string, unknown> }[] {
    const lines = readFileSync(join(this.state, 'guard', 'log'), 'utf8')
      .trim()
      .split('\n')
    return lines.map((line) => JSON.parse(line) as { action: string; details: Record<string, unknown> })
  }

  get context(): CommandContext {
    return { clock: this.clock } as CommandContext
  }

  [Symbol.dispose](): void {
    rmSync(this.state, { recursive: true, force: true })
  }
}

test('it is off unless the host says otherwise', async () => {
  using host = new Host()
  host.on = 'off'
  for (const words of [['enable'], ['redeem'], ['run', '--', 'ls']]) {
    const { code, err } = await host.s2(words, { ask: async () => 'run commands in safe mode' })
    assert.equal(code, 1)
    assert.match(err, /off on this host\n {2}next: whoever owns the host sets S2_GUARD=on/)
  }
  assert.equal(existsSync(join(host.state, 'guard')), false)
  assert.match((await host.s2(['status'])).out, /^off/)
})

test('only a person at a terminal who types the words allows it', async () => {
  using host = new Host()
  const alone = await host.s2(['enable'], { isAttended: false, ask: async () => 'run commands in safe mode' })
  assert.match(alone.err, /by a person at a terminal/)
  for (const typed of ['', 'yes', 'run commands in open mode', null]) {
    const { code } = await host.s2(['enable'], { ask: async () => typed })
    assert.equal(code, 1, String(typed))
  }
  assert.equal(await liveGrant(host.state, host.wall), null)
  assert.deepEqual(
    host.log().map(({ action }) => action),
    ['declined', 'declined', 'declined', 'declined'],
  )
})

test('a code is good once, and for two minutes', async () => {
  using host = new Host()
  const code = await host.code()
  assert.match(code, /^[A-Z2-9]{5}-[A-Z2-9]{5}$/)
  const { token } = await redeemCode(host.state, ` ${code.toLowerCase()}\n`, host.wall)
  assert.ok(token.length > 40)
  await assert.rejects(redeemCode(host.state, code, host.wall), { code: 'forbidden' })
  const late = await host.code()
  host.wall += 120_000
  await assert.rejects(redeemCode(host.state, late, host.wall), { code: 'forbidden' })
})

test('one guess voids a code, and of two who redeem at once one gets a token', async () => {
  using host = new Host()
  const code = await host.code()
  await assert.rejects(redeemCode(host.state, 'AAAAA-AAAAA', host.wall), /wrong, and void/)
  await assert.rejects(redeemCode(host.state, code, host.wall), { code: 'forbidden' })
  const again = await host.code()
  const both = await Promise.allSettled([1, 2, 3, 4].map(() => redeemCode(host.state, again, host.wall)))
  assert.equal(both.filter(({ status }) => status === 'fulfilled').length, 1)
})

test('a token is good for five minutes at most, never after a clock was put back, and not for another', async () => {
  using host = new Host()
  const token = await host.token()
  assert.equal((await demandGrant(host.state, token, host.wall + 299_999)).mode, 'safe')
  for (const [shown, now] of [
    [token, host.wall + 300_000],
    [token, host.wall - 1],
    [`${token}x`, host.wall],
    [undefined, host.wall],
  ] as const)
    await assert.rejects(demandGrant(host.state, shown, now), { code: 'forbidden' })
  assert.equal(await endGrant(host.state), true)
  await assert.rejects(demandGrant(host.state, token, host.wall), { code: 'forbidden' })
  await openGrant(host.state, { mode: 'safe', folder: host.folder, tokenMs: 9e9 }, host.wall)
  assert.equal((await liveGrant(host.state, host.wall))?.tokenMs, 300_000)
})

test('what is allowed for answers from afar runs no command, and is its own words to type', async () => {
  using host = new Host()
  const refused = await host.s2(['enable', '--mode', 'answer'], { ask: async () => 'run commands in answer mode' })
  assert.equal(refused.code, 1)
  const { out, err } = await host.s2(['enable', '--mode', 'answer'], { ask: async () => 'answer permission prompts' })
  assert.match(err, /may then answer permission prompts of this host from afar, for 5 min\./)
  const { token } = await redeemCode(host.state, out, host.wall)
  await assert.rejects(demandGrant(host.state, token, host.wall), { code: 'forbidden' })
  assert.match((await host.s2(['status'])).out, /^on: answers from afar, the token is good for 300s$/m)
  assert.equal((await host.s2(['run', '--dry-run', '--mode', 'answer', '--', 'ls'])).code, EXIT.usage)
})

test('a code is no token, and a grant that others may have written allows nothing', async () => {
  using host = new Host()
  const code = await host.code()
  await assert.rejects(demandGrant(host.state, code, host.wall), { code: 'forbidden' })
  const token = await host.token()
  const path = join(host.state, 'guard', 'grant.json')
  assert.equal(statSync(path).mode & 0o777, 0o600)
  chmodSync(path, 0o666)
  await assert.rejects(demandGrant(host.state, token, host.wall), { code: 'forbidden' })
  chmodSync(path, 0o600)
  const grant = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>
  writeFileSync(path, JSON.stringify({ ...grant, until: host.wall + 9e9 }))
  await assert.rejects(demandGrant(host.state, token, host.wall), { code: 'forbidden' })
})

test('neither code nor token lies in a file, in the log, or in what is explained', async () => {
  using host = new Host()
  const code = await host.code()
  const { out } = await host.s2(['redeem'], { isAttended: false, stdin: code })
  const token = out.trim()
  const status = await host.s2(['status', '--json'])
  const texts = ['grant.json', 'log'].map((name) => readFileSync(join(host.state, 'guard', name), 'utf8'))
  for (const text of [...texts, status.out]) assert.ok(!text.includes(code) && !text.includes(token), text)
})

test('what is allowed runs in the work folder, and both sessions are told', async () => {
  using host = new Host()
  await publishCredential(host.state, credential())
  const grant = await demandGrant(host.state, await host.token(), host.wall)
  const words = ['cat', 'file']
  const plan = await planCommand('safe', grant.folder, words, host.context)
  assert.ok(plan.argv !== null)
  const result = await runPlanned(host.state, plan, grant, words, host.context)
  assert.deepEqual([result.exitCode, result.output], [0, 'content\n'])
  await tellPartner(host.state, READER, result)
  const items = (await new Outbox(host.state).list()).map(({ item }) => item)
  const told = items.find(({ kind }) => kind === 'send')
  assert.ok(told?.kind === 'send' && told.from === READER)
  const stages = items.flatMap((item) => (item.kind === 'act' && item.holder === READER ? [item.act.action] : []))
  assert.deepEqual(stages, ['guard_enabled', 'guard_redeemed', 'guard_started', 'guard_ended'])
  assert.match(told.draft.text, /^guarded command \(safe\): \["cat","file"\]\nended: exit code 0\n\ncontent/)
  assert.deepEqual(
    host.log().map(({ action }) => action),
    ['enabled', 'redeemed', 'started', 'ended'],
  )
})

test('a link out of the work folder is not followed', async () => {
  using host = new Host()
  symlinkSync('/etc/passwd', join(host.folder, 'link'))
  symlinkSync('/etc', join(host.folder, 'etc'))
  for (const path of ['link', 'etc/passwd']) {
    const plan = await planCommand('safe', host.folder, ['cat', path], host.context)
    assert.ok(!plan.judged.allowed && /leads out of the work folder/.test(plan.judged.why))
  }
})

test('the environment of a guarded command holds nothing of the caller', () => {
  const env = guardedEnv('/tmp')
  assert.ok(Object.keys(env).every((name) => /^(PATH|HOME|LANG|TERM|GIT_|PIP_|npm_config_)/.test(name)))
})

test('root runs no guarded command, and a refusal is written down', { skip: process.getuid?.() !== 0 }, async () => {
  using host = new Host()
  const { code, err } = await host.s2(['run', '--', 'ls'], { env: { GUARD_TOKEN: await host.token() } })
  assert.equal(code, 1)
  assert.match(err, /not run as root/)
  const dry = await host.s2(['run', '--dry-run', '--', 'ls'])
  assert.equal(dry.code, 1, 'a dry run judges as the run does')
  assert.equal(dry.out, 'refused: guarded commands are not run as root\n  next: run this as the user of the agent\n')
})

test('a dry run explains and runs nothing, whether it is on or off', async (t) => {
  t.mock.method(process as { getuid: () => number }, 'getuid', () => 1000)
  using host = new Host()
  host.on = 'off'
  const good = await host.s2(['run', '--dry-run', '--', 'cat', 'file'])
  assert.equal(good.code, 0, good.err)
  assert.match(
    good.out,
    /^allowed in safe mode \(S2_GUARD is off\)\n.*may only read, without network\n.*sandbox: \S+\n {2}runs: \["cat","--","file"\]/,
  )
  const bad = await host.s2(['run', '--dry-run', '--mode', 'restricted', '--', 'git', 'push'])
  assert.equal(bad.code, 1)
  assert.match(bad.out, /^refused: restricted mode has no git "push"\n {2}next: /)
  assert.equal(existsSync(join(host.state, 'guard', 'log')), false)
})

const COMMAND: AllowedCommand = {
  allowed: true,
  argv: ['make', 'all'],
  paths: [],
  writes: true,
  network: false,
  needsSandbox: true,
}

test('without a sandbox git is refused, and open mode cannot even be enabled', {
  skip: existsSync('/usr/bin/bwrap'),
}, async () => {
  using host = new Host()
  assert.equal(await findSandbox(host.folder, systemClock, '/nonexistent'), null)
  if ((await findSandbox(host.folder, systemClock)) !== null) return
  const plan = await planCommand('safe', host.folder, ['git', 'status'], host.context)
  assert.ok(!plan.judged.allowed && /in a sandbox, and this host has none/.test(plan.judged.why))
  const { code, err } = await host.s2(['enable', '--mode', 'open'], { ask: async () => 'run commands in open mode' })
  assert.equal(code, 1)
  assert.match(err, /open mode runs programs in a sandbox/)
  assert.equal(await liveGrant(host.state, host.wall), null)
})

test('bubblewrap shows the system read-only, the work folder, and no network', () => {
  const words = sandboxed({ kind: 'bubblewrap', path: '/usr/bin/bwrap' }, COMMAND, '/src/app')
  const line = words.join(' ')
  assert.match(line, /--unshare-all --cap-drop ALL --clearenv/)
  assert.match(line, / --bind \/src\/app \/src\/app --chdir \/src\/app -- prlimit --nproc=256 -- make all$/)
  assert.doesNotMatch(line, /--share-net|\/home| \/etc \//)
  const reading = sandboxed({ kind: 'bubblewrap', path: 'bwrap' }, { ...COMMAND, writes: false, network: true }, '/src')
  assert.match(reading.join(' '), /--share-net .* --ro-bind \/src \/src /)
})

test('systemd-run is given the same bounds', () => {
  const line = sandboxed({ kind: 'systemd-run', path: 'systemd-run' }, COMMAND, '/src/app').join(' ')
  for (const part of [
    'NoNewPrivileges=yes',
    'TemporaryFileSystem=/:ro',
    'ProtectControlGroups=yes',
    'PrivateNetwork=yes',
    'BindPaths="/src/app"',
    'MemoryMax=',
  ])
    assert.ok(line.includes(`--property=${part}`), part)
  assert.doesNotMatch(line, /BindReadOnlyPaths=\S*(?:\/home|\/var|\/etc )/)
  assert.match(line, / -- unshare .*--pid .*-- prlimit --nproc=256 -- make all$/, 'it can end no process of its user')
  const reading = sandboxed({ kind: 'systemd-run', path: 'systemd-run' }, { ...COMMAND, writes: false }, '/src/a "b"')
  assert.ok(reading.includes(String.raw`--property=BindReadOnlyPaths="/src/a \"b\""`), reading.join('\n'))
})

/** What a program in the sandbox tries, as its output says it. */
const ESCAPE = `
const fs = require('node:fs')
const tried = {}
const attempt = (name, act) => { try { tried[name] = act() ?? 'done' } catch (error) { tried[name] = error.code } }
const [secret, victim] = process.argv.slice(2)
attempt('write here', () => fs.writeFileSync('made', 'x'))
attempt('read outside', () => fs.readFileSync(secret, 'utf8'))
attempt('write outside', () => fs.writeFileSync(secret + '.new', 'x'))
attempt('follow a link', () => fs.readFileSync('link', 'utf8'))
attempt('write the system', () => fs.writeFileSync('/usr/made', 'x'))
attempt('end a process', () => { process.kill(Number(victim), 'SIGKILL') })
tried.network = Object.keys(require('node:os').networkInterfaces()).filter((name) => name !== 'lo').length
tried.env = Object.keys(process.env).filter((name) => /TOKEN|STATE|SECRET/.test(name)).length
console.log(JSON.stringify(tried))
`

test('what runs in the sandbox of this host reaches nothing but the work folder', async (t) => {
  using host = new Host()
  const sandbox = await findSandbox(host.folder, systemClock)
  const node = ['/usr/bin/node', '/usr/local/bin/node'].find(existsSync)
  if (sandbox === null || node === undefined) return t.skip('no sandbox works here, or no node lies in the system')
  const secret = join(host.state, 'secret')
  writeFileSync(secret, 'SECRET')
  symlinkSync(secret, join(host.folder, 'link'))
  writeFileSync(join(host.folder, 'escape.cjs'), ESCAPE)
  const victim = spawn('sleep', ['60'])
  try {
    const plan = await planCommand('open', host.folder, [node, 'escape.cjs', secret, String(victim.pid)], host.context)
    const grant = await demandGrant(host.state, await host.token('open'), host.wall)
    const { output } = await runPlanned(host.state, plan, grant, ['node'], host.context)
    const tried = JSON.parse(output.split('\n').find((line) => line.startsWith('{')) ?? output) as Record<
      string,
      unknown
    >
    assert.deepEqual(tried, {
      'write here': 'done',
      'read outside': 'ENOENT',
      'write outside': tried['write outside'],
      'follow a link': 'ENOENT',
      'write the system': 'EROFS',
      'end a process': 'ESRCH',
      network: 0,
      env: 0,
    })
    assert.equal(readFileSync(join(host.folder, 'made'), 'utf8'), 'x')
    assert.ok(!existsSync(`${secret}.new`))
    assert.equal(victim.exitCode ?? victim.signalCode, null)
  } finally {
    victim.kill('SIGKILL')
  }
})

test('npm runs in the sandbox, and calls no program that the folder names', { timeout: 60_000 }, async (t) => {
  using host = new Host()
  const sandbox = await findSandbox(host.folder, systemClock)
  if (sandbox === null || findProgram('npm') === null) return t.skip('no sandbox works here, or there is no npm')
  const evil = join(host.folder, 'evil')
  writeFileSync(evil, '#!/bin/sh\ntouch ran\nexit 1\n', { mode: 0o755 })
  writeFileSync(join(host.folder, '.npmrc'), `git=${evil}\nfetch-retries=0\noffline=true\n`)
  const address = `git+https://127.0.0.1:1/x.git#${'0'.repeat(40)}`
  writeFileSync(join(host.folder, 'package.json'), JSON.stringify({ name: 'n', dependencies: { x: address } }))
  const grant = await demandGrant(host.state, await host.token('restricted'), host.wall)
  const said = async (...words: string[]): Promise<string> => {
    const plan = await planCommand('restricted', host.folder, words, host.context)
    return (await runPlanned(host.state, plan, grant, words, host.context)).output
  }
  assert.match(await said('npm', 'ls'), /UNMET DEPENDENCY x@git/)
  assert.match(await said('npm', 'install', 'left-pad'), /npm error/)
  assert.ok(!existsSync(join(host.folder, 'ran')), 'what the folder names as git was run, with the network')
})

test('a command is ended at its limit of time, which is never longer than the token', { timeout: 20_000 }, async () => {
  using host = new Host()
  const token = await host.token()
  const grant = await demandGrant(host.state, token, host.wall)
  const plan = await planCommand('safe', host.folder, ['cat', 'file'], host.context)
  const slow = { ...plan, argv: ['/bin/sleep', '30'] as const }
  const result = await runPlanned(host.state, slow, { ...grant, until: host.wall + 200 }, ['cat'], host.context)
  assert.equal(result.how, 'it took too long')
  assert.equal(result.exitCode, null)
})

test('a command that a suspend carried beyond its token is ended after it', { timeout: 20_000 }, async () => {
  using host = new Host()
  const token = await host.token()
  const grant = await demandGrant(host.state, token, host.wall)
  const plan = await planCommand('safe', host.folder, ['cat', 'file'], host.context)
  const slow = { ...plan, argv: ['/bin/sh', '-c', ': > begun; exec sleep 15'] as const }
  const running = runPlanned(host.state, slow, grant, ['cat'], host.context)
  while (!existsSync(join(host.folder, 'begun'))) await systemClock.sleep(5)
  host.wall = grant.until // the machine slept: of its two clocks this one went on
  const { how } = await running
  assert.equal(how, 'it took too long')
})
