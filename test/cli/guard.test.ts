/** Guarded commands: the four stages, and what is run. */
import assert from 'node:assert/strict'
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
import type { AllowedCommand } from '#fleet/guard-rules.ts'
import { type Clock, systemClock } from '#runtime/clock.ts'
import { publishCredential } from '#spool/credentials.ts'
import { Outbox } from '#spool/outbox.ts'
import { demandGrant, endGrant, liveGrant, openGrant, redeemCode } from '../../services/cli/guard/grant.ts'
import { planCommand, runPlanned, tellPartner } from '../../services/cli/guard/run-guarded.ts'
import { findSandbox, guardedEnv, sandboxed } from '../../services/cli/guard/sandbox.ts'
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
  assert.equal(endGrant(host.state), true)
  await assert.rejects(demandGrant(host.state, token, host.wall), { code: 'forbidden' })
  await openGrant(host.state, { mode: 'safe', folder: host.folder, tokenMs: 9e9 }, host.wall)
  assert.equal((await liveGrant(host.state, host.wall))?.tokenMs, 300_000)
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
})

test('a dry run explains and runs nothing, whether it is on or off', async () => {
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
  assert.match(line, / --bind \/src\/app \/src\/app --chdir \/src\/app -- make all$/)
  assert.doesNotMatch(line, /--share-net|\/home| \/etc \//)
  const reading = sandboxed({ kind: 'bubblewrap', path: 'bwrap' }, { ...COMMAND, writes: false, network: true }, '/src')
  assert.match(reading.join(' '), /--share-net .* --ro-bind \/src \/src /)
})

test('systemd-run is given the same bounds', () => {
  const line = sandboxed({ kind: 'systemd-run', path: 'systemd-run' }, COMMAND, '/src/app').join(' ')
  for (const part of [
    'NoNewPrivileges=yes',
    'ProtectSystem=strict',
    'PrivateNetwork=yes',
    'BindPaths=/src/app',
    'MemoryMax=',
  ])
    assert.ok(line.includes(`--property=${part}`), part)
  assert.match(line, / -- make all$/)
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
