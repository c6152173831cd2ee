import assert from 'node:assert/strict'
import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { plain } from '../../services/core/console/terminal-text.ts'
import { systemClock } from '../../services/core/runtime/clock.ts'
import { PROGRAMS, SETTINGS } from '../../services/core/runtime/settings.ts'
import { VERSION } from '../../services/core/runtime/version.ts'
import { publishCredential } from '../../services/core/spool/credentials.ts'
import { Outbox } from '../../services/core/spool/outbox.ts'
import { until } from '../until.ts'
import { run } from './run-command.ts'

const folder = mkdtempSync(join(tmpdir(), 's2-cli-'))
after(() => rmSync(folder, { recursive: true, force: true }))

const COMMANDS = [
  ['up'],
  ['status'],
  ['worker', 'invite'],
  ['worker', 'join'],
  ['worker', 'admit'],
  ['worker', 'prepare'],
  ['worker', 'list'],
  ['worker', 'revoke'],
  ['worker', 'rename'],
  ['conversation', 'create'],
  ['conversation', 'list'],
  ['conversation', 'end'],
  ['credential', 'rotate'],
  ['credential', 'hint'],
  ['send'],
  ['check'],
  ['task', 'add'],
  ['task', 'list'],
  ['task', 'show'],
  ['task', 'cancel'],
  ['work'],
  ['guard', 'enable'],
  ['guard', 'redeem'],
  ['guard', 'run'],
  ['guard', 'status'],
  ['guard', 'disable'],
  ['answer'],
  ['freeze'],
  ['thaw'],
  ['kill'],
  ['health'],
  ['incident', 'list'],
  ['incident', 'show'],
  ['incident', 'open'],
  ['incident', 'close'],
  ['backup'],
  ['backup', 'list'],
  ['backup', 'verify'],
  ['restore'],
  ['init'],
  ['keys', 'tls'],
  ['certificate', 'create'],
  ['certificate', 'show'],
  ['config'],
]

test('the version is that of the package', async () => {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string }
  assert.equal(VERSION, version)
  assert.deepEqual(await run(['--version']), { code: 0, out: `${version}\n`, err: '' })
})

test('every command has help with examples, and knows --json', async () => {
  for (const words of COMMANDS) {
    const { code, out } = await run([...words, '--help'])
    assert.equal(code, 0, words.join(' '))
    assert.match(out, /^Usage: s2 /, words.join(' '))
    assert.match(out, /--json/, words.join(' '))
    const whole = (await run([words[0] ?? '', '--help'])).out
    assert.match(whole, /Examples:\n {2}\S/, words.join(' '))
  }
})

test('the help of s2 lists every command that there is', async () => {
  const { code, out } = await run(['--help'])
  assert.equal(code, 0)
  for (const name of new Set(COMMANDS.map(([first]) => first))) assert.match(out, new RegExp(`^ {2}${name} `, 'm'))
})

test('calling it the wrong way ends with 64 and says what was meant', async () => {
  const unknown = await run(['stauts'])
  assert.equal(unknown.code, 64)
  assert.match(unknown.err, /unknown command 'stauts'/)
  assert.match(unknown.err, /Did you mean status\?/)
  assert.match((await run(['status', '--wach'])).err, /Did you mean --watch\?/)
  for (const argv of [
    ['task', 'add', '-x is wrong', '--role', 'tests'],
    ['send', 's2-worker-1', '- no'],
  ])
    assert.match((await run(argv)).err, / {2}next: .* a text that begins with - stands behind --$/m)
  for (const argv of [[], ['send'], ['work'], ['task', 'add', 'x', '--priority', 'P9'], ['check', '--limit', 'x']]) {
    assert.equal((await run(argv, { folder })).code, 64, argv.join(' '))
  }
  for (const argv of [
    ['help', 'stauts'],
    ['incident', 'show', 'abc'],
    ['status', '--every', '1ms'],
    ['work', '--exec', ' '],
    ['conversation', 'create', '--role-b', 'r', '--agent-b', '../../x', '--show-tokens'],
    ['conversation', 'create', '--role-b', '', '--agent-b', 'x', '--show-tokens'],
    ['conversation', 'create', '--role-b', 'r\x1b[2J', '--agent-b', 'x', '--show-tokens'],
    ['conversation', 'create', '--role-b', 'r', '--agent-b', 'x'],
    ['worker', 'invite', '3', '--role', 'two\nlines'],
    ['worker', 'invite', '3', '--for', 'long'],
    ['worker', 'prepare', '3', '--role', 'tests'],
    ['worker', 'revoke'],
    ['task', 'add', 'x', '--role', 'two\nlines'],
    ['conversation', 'create', '--role-b', 'r', '--agent-b', 'x', '--lifetime', '1ms', '--show-tokens'],
  ]) {
    const { code, err } = await run(argv, { env: { S2_STATE: folder } })
    assert.equal(code, 64, argv.join(' '))
    assert.match(err, /^s2: .+\n(?:.+\n)* {2}next: /, argv.join(' '))
    assert.equal(err, plain(err), 'what was called wrong does not speak to the terminal')
  }
  assert.match((await run(['health', 'keepalvie'])).err, /did you mean keepalive\?/)
  assert.match((await run(['config', 'watchdg'])).err, /did you mean watchdog\?/)
})

test('errors go out as JSON where JSON was asked for', async () => {
  const usage = JSON.parse((await run(['status', '--jsno', '--json'])).err)
  assert.equal(usage.error.code, 'usage')
  assert.match(usage.error.message, /unknown option/)
  const missing = JSON.parse((await run(['status', '--json'], { env: { S2_STATE: folder } })).err)
  assert.equal(missing.error.code, 'not_found')
  assert.match(missing.error.next, /s2 up/)
})

test('a fleet that cannot be found is told with what to do, and ends with 1', async () => {
  for (const argv of [['status'], ['conversation', 'list'], ['task', 'list'], ['send', 'x', 'y']]) {
    const { code, out, err } = await run(argv, { env: { S2_STATE: folder } })
    assert.equal(code, 1, argv.join(' '))
    assert.equal(out, '')
    assert.match(err, /^s2: no fleet can be reached from .*\n {2}next: .*s2 up FLEET\.json/)
  }
  assert.match(
    (await run(['freeze', 'x'], { env: { S2_STATE: folder } })).err,
    /no local fleet runs with the state folder/,
  )
})

test('what the disk refuses is told with the place and what to do', async () => {
  const file = join(folder, 'no-folder')
  writeFileSync(file, '')
  const { code, err } = await run(['up', 'deploy/fleet/nine.json'], {
    env: { S2_STATE: join(file, 'state') },
    folder: process.cwd(),
  })
  assert.equal(code, 1)
  assert.match(err, /^s2: something is in the way at .*no-folder.*\n {2}next: move that away/)
})

test('a state folder that is none is told by its name, and nobody is told to remove it', async () => {
  const file = join(folder, 'a-file')
  writeFileSync(file, '')
  for (const argv of [['status'], ['check'], ['task', 'list']]) {
    const { code, err } = await run(argv, { env: { S2_STATE: file } })
    assert.equal(code, 1, argv.join(' '))
    assert.match(err, /a-file\/\S+\)\n {2}next: move it away, or set S2_STATE/, argv.join(' '))
  }
  const health = await run(['health'], { env: { S2_STATE: file } })
  assert.deepEqual([health.code, health.out], [1, ''])
})

test('a fleet on one machine is kept in a database, and by no other bridge', async () => {
  const env = { S2_STATE: join(folder, 'up'), S2_STORE: 'https://bridge.example' }
  const { code, err } = await run(['up', 'deploy/fleet/nine.json'], { env, folder: process.cwd() })
  assert.equal(code, 78)
  assert.match(
    err,
    /S2_STORE=https:\/\/bridge\.example cannot be used with s2 up, .*: name one \(S2_STORE=sqlite:\/path\)/,
  )
})

test('an agent without a credential says what it waits for, once', async () => {
  const state = mkdtempSync(join(tmpdir(), 's2-unseated-'))
  try {
    mkdirSync(join(state, 'credentials'))
    const file = join(state, 'credentials', 'conv_0123456789abcdef-b.json')
    writeFileSync(file, '{')
    chmodSync(file, 0o644) // whatever the umask is
    const { err } = await run(['status'], { env: { S2_STATE: state } })
    assert.match(
      err,
      /^s2: no credential in \S+ can be used: credentials\/conv_.* may be read by others.*\n {2}next: mend/,
    )
    let end = (): void => undefined
    let told = ''
    let looks = 0
    const { code } = await run(['work', '--exec', 'true', '--once'], {
      env: { S2_STATE: state, PATH: process.env.PATH },
      folder: state,
      clock: {
        ...systemClock,
        // Two more looks, and it is told to end.
        sleep: async (ms, signal) => {
          if (ms < 5_000) looks += 1
          if (looks === 3) end()
          await systemClock.sleep(Math.min(ms, 5), signal)
        },
      },
      onSignal: (_, heard) => {
        end = () => heard('SIGTERM')
        return { [Symbol.dispose]: () => undefined }
      },
      tell: (text) => {
        told += text
      },
    })
    assert.equal(code, 0)
    assert.match(told, /^s2: waiting for a credential of a worker in \S+\/credentials: s2-cred-sync fetches it\n/)
    assert.match(told, /\ns2: credentials\/conv_0123456789abcdef-b\.json .*\n$/)
    assert.equal(told.split('\n').length, 3, told)
  } finally {
    rmSync(state, { recursive: true })
  }
})

test('durations in help are written as durations', async () => {
  assert.match((await run(['status', '--help'])).out, /\(default: 1s\)/)
  assert.match((await run(['credential', 'rotate', '--help'])).out, /\(default:\s+10m\)/)
})

test('a bridge that is named but not spoken to for want of a credential is told as that', async () => {
  const { code, err } = await run(['status'], { env: { S2_STATE: folder, S2_STORE: 'https://bridge.example.org' } })
  assert.equal(code, 1)
  assert.match(
    err,
    /^s2: https:\/\/bridge\.example\.org requires a credential, and .* holds none.*\n {2}next: wait for s2-cred-sync/,
  )
})

test('no message overtakes those that wait in the outbox, though no keepalive runs just now', async () => {
  const state = mkdtempSync(join(tmpdir(), 's2-overtaking-'))
  try {
    await publishCredential(state, {
      session: 'conv_0123456789abcdef/b',
      agent: 's2-worker-1',
      role: 'tests',
      token: 'ab'.repeat(32),
      bridgeUrl: 'http://127.0.0.1:1',
      createdAt: Date.now(),
      expiresAt: Date.now() + 3_600_000,
    })
    const first = await run(['send', 'orchestrator', 'first'], { env: { S2_STATE: state } })
    assert.equal(first.code, 1, 'with nothing that waits it speaks to the bridge, which is away')
    const outbox = new Outbox(state)
    await outbox.put({ kind: 'send', from: 'conv_0123456789abcdef/b', draft: { text: 'second' } })
    const third = await run(['send', 'orchestrator', 'third'], { env: { S2_STATE: state } })
    assert.match(third.out, /^waiting: .*; no s2-keepalive runs on this host: nothing carries it until one does\n$/)
    const elsewhere = await run(['send', 'reviewer', 'fourth'], { env: { S2_STATE: state } })
    assert.match(elsewhere.out, /^waiting: .* reviewer /, 'off the network the bridge is left to know the name')
    const unheard = await run(['send', 'orchestrator', 'fifth'], { env: { S2_STATE: state }, flush: async () => false })
    const [, key] = /is done\n {2}next: say it again with --key (\S+): it is not done twice\n$/.exec(unheard.err) ?? []
    assert.ok((await outbox.names()).includes(key ?? ''), unheard.err)
    const names = await outbox.names()
    const items = await Promise.all(names.map((name) => outbox.read(name)))
    assert.deepEqual(
      items.map((item) => item !== null && 'draft' in item && item.draft.text),
      ['second', 'third', 'fourth', 'fifth'],
    )
  } finally {
    rmSync(state, { recursive: true })
  }
})

test('a message that left the outbox by nobody knows whom is told as that, with its key', async () => {
  const state = mkdtempSync(join(tmpdir(), 's2-vanished-'))
  try {
    await publishCredential(state, {
      session: 'conv_0123456789abcdef/b',
      agent: 's2-worker-1',
      role: 'tests',
      token: 'ab'.repeat(32),
      bridgeUrl: 'http://127.0.0.1:1',
      createdAt: Date.now(),
      expiresAt: Date.now() + 3_600_000,
    })
    const outbox = new Outbox(state)
    const before = await outbox.put({ kind: 'send', from: 'conv_0123456789abcdef/b', draft: { text: 'before' } })
    const sending = run(['send', 'orchestrator', 'vanishes', '--wait'], { env: { S2_STATE: state } })
    const others = async (): Promise<string[]> => (await outbox.names()).filter((name) => name !== before)
    await until('it waits', async () => (await others()).length === 1)
    const [name = ''] = await others()
    rmSync(join(outbox.folder('new'), `${name}.json`))
    const { code, err } = await sending
    assert.equal(code, 1)
    assert.match(err, /left the outbox, and nothing says whether the bridge has it/)
    assert.match(err, new RegExp(`next: send it again with --key ${name}: `))
  } finally {
    rmSync(state, { recursive: true })
  }
})

test('a message that keepalive cannot carry is told as that, and with --wait as not done', async () => {
  const state = mkdtempSync(join(tmpdir(), 's2-not-carried-'))
  const troubles: Record<string, string> = {}
  const server = createServer((_, response) => {
    response.end(JSON.stringify({ ready: false, state: 'ready', status: '', troubles }))
  })
  try {
    await publishCredential(state, {
      session: 'conv_0123456789abcdef/b',
      agent: 's2-worker-1',
      role: 'tests',
      token: 'ab'.repeat(32),
      bridgeUrl: 'http://127.0.0.1:1',
      createdAt: Date.now(),
      expiresAt: Date.now() + 3_600_000,
    })
    mkdirSync(join(state, 'run'))
    await once(server.listen(join(state, 'run', 'keepalive.sock')), 'listening')
    const send = async (...options: string[]) =>
      await run(['send', 'orchestrator', 'done', ...options], { env: { S2_STATE: state } })
    assert.match((await send()).out, /; keepalive carries it to the bridge\n$/)
    troubles['session conv_0123456789abcdef/b'] = 'locked out: its conversation has ended'
    assert.match((await send()).out, /; keepalive cannot carry it now: locked out: its conversation has ended\n$/)
    const waited = await send('--wait-for', '50ms')
    assert.equal(waited.code, 69)
    assert.match(
      waited.err,
      /^s2: waiting: .* keepalive cannot carry it now: .*\n {2}next: nothing is to be sent again: /,
    )
  } finally {
    server.close()
    server.closeAllConnections()
    rmSync(state, { recursive: true })
  }
})

test('an inbox that nobody fills is told as such', async () => {
  const { code, out, err } = await run(['check'], { env: { S2_STATE: folder } })
  assert.deepEqual([code, out], [0, 'no new messages\n'])
  assert.match(err, /^s2: no s2-keepalive serves .*: no new mail arrives until one does\n$/)
})

test('wrong settings end with 78, named with the value and an example', async () => {
  const { code, err } = await run(['status'], { env: { S2_STATE: folder, S2_STORE: 'oracle:x', S2_STAET: '1' } })
  assert.equal(code, 78)
  assert.match(err, /S2_STORE="oracle:x" must be/)
  assert.match(err, /S2_STAET is not a setting; did you mean S2_STATE\?/)
})

test('config shows every value with where it comes from, and no secret', async () => {
  const env = {
    S2_STATE: folder,
    S2_ALERT_WEBHOOK: 'https://alerts.example.org/very-secret-path',
    S2_SILENT_AFTER: '5m',
  }
  const { code, out } = await run(['config'], { env })
  assert.equal(code, 0)
  assert.match(out, /^S2_SILENT_AFTER +5m +environment$/m)
  assert.match(out, /^S2_LATE_AFTER +15s +default$/m)
  assert.match(out, /^S2_ALERT_WEBHOOK +… +environment$/m)
  assert.doesNotMatch(out, /very-secret-path/)
  const rows = JSON.parse((await run(['config', '--json'], { env })).out) as { name: string }[]
  assert.deepEqual(
    rows.map(({ name }) => name),
    Object.keys(SETTINGS),
  )
  for (const program of PROGRAMS) {
    const { code, err } = await run(['config', program], { env })
    assert.deepEqual([code, err], [0, ''], `${program}: what is not set yet is not wrong`)
  }
})

test('config of a program tells what that program refuses, though each setting is well by itself', async () => {
  for (const [program, env, why] of [
    [
      'watchdog',
      { S2_ALERT_ON: 'silnet' },
      /^s2-watchdog: wrong settings:\n {2}S2_ALERT_ON names silnet, .*the kinds are/,
    ],
    ['watchdog', { S2_LATE_AFTER: '1s' }, /S2_LATE_AFTER=1s must be at least 2\.5 times S2_BEAT=5s/],
  ] as const) {
    const { code, out, err } = await run(['config', program], { env: { S2_STATE: folder, ...env } })
    assert.equal(code, 78, program)
    assert.match(out, /^S2_STATE /m, 'what is in force is shown nevertheless')
    assert.match(err, why)
  }
  const file = join(folder, 'refused.env')
  writeFileSync(file, 'S2_ALERT_ON=silnet\n')
  assert.equal((await run(['config', 'watchdog', '--file', file], { env: { S2_STATE: folder } })).code, 78)
})

test('config tells wrong values where they stand, and ends with 78', async () => {
  const { code, out, err } = await run(['config', 'watchdog'], { env: { S2_SILENT_AFTER: 'soon' } })
  assert.equal(code, 78)
  assert.match(out, /S2_SILENT_AFTER +soon ✗ is not a duration/)
  assert.match(err, /S2_SILENT_AFTER="soon" is not a duration; for example S2_SILENT_AFTER=300s/)
})

test('the table of settings for the README is the same on every machine', async () => {
  const { out } = await run(['config', '--markdown'])
  const lines = out.trimEnd().split('\n')
  assert.equal(lines.length, Object.keys(SETTINGS).length + 2)
  assert.ok(lines.every((line) => line.startsWith('|') && line.endsWith('|')))
  assert.match(out, /^\| `S2_HOST` \| .* \| the machine's name \|/m)
})

test('nothing is sent that no store would keep', async () => {
  const env = { S2_STATE: folder }
  assert.match((await run(['send', 'x', ''], { env })).err, /the message is empty/)
  assert.match(
    (await run(['send', 'x', '-'], { env, stdin: 'a'.repeat(50_001) })).err,
    /the 50000 characters that are allowed/,
  )
})

test('input that is no text is refused, and an answer that cannot be written is told without a stack', () => {
  const s2 = (words: string, input: Buffer, out = ''): SpawnSyncReturns<string> =>
    spawnSync('/bin/sh', ['-c', `exec "$0" services/cli/main.ts ${words} ${out}`, process.execPath], {
      env: { S2_STATE: folder },
      input,
      encoding: 'utf8',
    })
  const binary = s2('send x -', Buffer.from([0xff, 0xfe, 0x80]))
  assert.equal(binary.status, 64)
  assert.match(binary.stderr, /^s2: standard input is not text in UTF-8\n {2}next: /)
  const text = s2('send x -', Buffer.from('é'))
  assert.match(text.stderr, /no fleet can be reached/)
  const full = s2('config', Buffer.alloc(0), '> /dev/full')
  assert.equal(full.status, 1)
  assert.match(full.stderr, /^s2: the answer could not be written: ENOSPC.*\n$/)
})

test('a name that no observer may have is refused with the reason', async () => {
  for (const name of ['Wall Board!', '']) {
    const { code, out, err } = await run(['observer', 'create', name, '--out', 'wallboard'], { folder })
    assert.deepEqual([code, out], [64, ''])
    assert.match(err, /^s2: .*It must be at most 100 letters, digits, dots, dashes/)
  }
})

test('in a folder that was removed it answers, and work says which folder is missing', () => {
  const gone = join(folder, 'gone')
  mkdirSync(gone)
  const main = join(import.meta.dirname, '../../services/cli/main.ts')
  const script = 'cd "$1" && rmdir "$1" && exec "$0" "$2" work --once --exec true'
  const { status, stderr } = spawnSync('/bin/sh', ['-c', script, process.execPath, gone, main], {
    env: { PATH: process.env.PATH, S2_STATE: join(folder, 'state-of-gone') },
    encoding: 'utf8',
  })
  assert.equal(status, 69, stderr)
  assert.match(stderr, new RegExp(`the folder ${gone} does not exist`))
})
