import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { settingIn, withSettings } from '../../services/cli/settings-file.ts'
import { type HostIdentity, makeIdentity, readIdentity } from '../../services/core/identity/identity-file.ts'
import { formatInvitation, type Invitation, makeSecret } from '../../services/core/identity/joining.ts'
import { systemClock } from '../../services/core/runtime/clock.ts'
import { readSettings, withSettingsFile } from '../../services/core/runtime/read-settings.ts'
import { publishCredential } from '../../services/core/spool/credentials.ts'
import { type Outcome, run as runCommand } from './run-command.ts'

const root = mkdtempSync(join(tmpdir(), 's2-init-'))
after(() => rmSync(root, { recursive: true, force: true }))

/** A remote that lets everybody in, and is empty. */
const REMOTE = join(root, 'fleet.git')
execFileSync('git', ['init', '--quiet', '--bare', REMOTE])

/** A machine without a service manager, and a home that is nobody's. */
const bin = join(root, 'bin')
mkdirSync(bin)
writeFileSync(join(bin, 'systemctl'), '#!/bin/sh\nexit 1\n', { mode: 0o755 })
const ENV = { HOME: join(root, 'home'), PATH: `${bin}:${process.env.PATH}` }

async function run(argv: readonly string[], world: Parameters<typeof runCommand>[1] = {}): Promise<Outcome> {
  return await runCommand(argv, { ...world, env: { ...ENV, ...world.env } })
}

/** A settings folder of the test's own. */
function folderWith(files: Readonly<Record<string, string>> = {}): string {
  const folder = mkdtempSync(join(root, 'f'))
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  return folder
}

/** The folder's files by name, with what they hold. */
function held(folder: string): Record<string, string> {
  return Object.fromEntries(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name), 'utf8')]))
}

const HOUR_MS = 3_600_000
const SCREEN = { isTerminal: true, columns: 80, rows: 24, coloured: false }
const WORKER = ['--role', 'worker', '--remote', REMOTE]

test('a worker gets its remote and its wake command, readable by its group alone', async () => {
  const folder = folderWith()
  const { code, out } = await run([
    'init',
    ...WORKER,
    '--wake',
    'tmux send-keys -t agent "s2 check" Enter',
    '--folder',
    folder,
  ])
  assert.equal(code, 0)
  assert.deepEqual(held(folder), {
    's2.env': `S2_GIT_REMOTE=${REMOTE}\n`,
    's2-fs-watcher.env': 'S2_WAKE=tmux send-keys -t agent "s2 check" Enter\n',
  })
  assert.equal(statSync(join(folder, 's2.env')).mode & 0o777, 0o640)
  assert.match(out, /Left to do:\n/)
  assert.match(out, /s2-cred-sync s2-keepalive/)
  assert.match(out, /join the fleet, by the line .*\n {7}s2 worker join\n/)
})

test('what is written is what the services read', async () => {
  const folder = folderWith()
  const wake = String.raw`printf '%s' "a\tb" | cat`
  const refused = await run(['init', ...WORKER, '--wake', wake, '--folder', folder])
  assert.equal(refused.code, 78)
  assert.match(refused.err, /put the value into a script/)
  assert.deepEqual(held(folder), {})
  for (const said of [String.raw`printf "a\tb"`, '"/opt/my agent/wake" now', '["notify-send","mail"]', 'echo #5']) {
    const { code, err } = await run(['init', ...WORKER, '--wake', said, '--folder', folder, '--force'])
    assert.equal(code, 0, err)
    const read = readSettings(withSettingsFile({}, join(folder, 's2-fs-watcher.env')), ['S2_WAKE'])
    assert.equal(read.S2_WAKE, said)
  }
})

test('with both halves on a host the wake command is the worker’s', async () => {
  const folder = folderWith()
  const argv = [
    '--role',
    'both',
    '--remote',
    REMOTE,
    '--worker',
    '3:code review',
    '--bridge-url',
    'https://b.example.org',
    '--wake',
    'true',
  ]
  const { code, out } = await run(['init', ...argv, '--folder', folder, '--json'])
  assert.equal(code, 0)
  const told = JSON.parse(out) as { files: { path: string; changed: boolean }[]; next: string[] }
  assert.deepEqual(
    told.files.map(({ path, changed }) => [path, changed]),
    [
      [join(folder, 's2.env'), true],
      [join(folder, 's2-worker-fs-watcher.env'), true],
    ],
  )
  assert.match(held(folder)['s2.env'] ?? '', /^S2_BRIDGE_URL=https:\/\/b\.example\.org$/m)
  assert.deepEqual(
    told.next.filter((each) => /invite/.test(each)),
    ["invite each worker, once the services run: s2 init --worker '3:code review'"],
  )
})

test('what is set stays without --force, and comments stay with it', async () => {
  const before = '# mine\nS2_GIT_REMOTE=/elsewhere.git \n# its rate\nS2_RATE=50\n'
  const folder = folderWith({ 's2.env': before })
  const refused = await run(['init', ...WORKER, '--wake', 'true', '--folder', folder])
  assert.equal(refused.code, 1)
  assert.match(
    refused.err,
    /nothing was written: in .*s2\.env S2_GIT_REMOTE is "\/elsewhere\.git"\n {2}next: add --force/,
  )
  assert.deepEqual(held(folder), { 's2.env': before }, 'not even the file that had no conflict')
  assert.equal((await run(['init', ...WORKER, '--folder', folder, '--force'])).code, 0)
  assert.equal(held(folder)['s2.env'], before.replace('/elsewhere.git ', REMOTE))
  const again = await run(['init', ...WORKER, '--folder', folder])
  assert.equal(again.code, 0)
  assert.match(again.out, /set already/)
})

test('wrong answers are told together, before anything is written', async () => {
  const folder = folderWith()
  const { code, err } = await run([
    'init',
    '--role',
    'both',
    '--remote',
    '-x y',
    '--bridge-url',
    'here!',
    '--folder',
    folder,
  ])
  assert.equal(code, 78)
  for (const name of ['S2_GIT_REMOTE', 'S2_BRIDGE_URL']) assert.match(err, new RegExp(`${name}=.*for example`))
  assert.deepEqual(held(folder), {})
})

test('what is set and would be refused by the services is refused here too', async () => {
  const folder = folderWith({ 's2.env': 'S2_GIT_REMOTE=https://user:hunter2@127.0.0.1:1/r.git\n' })
  const { code, err } = await run(['init', '--role', 'worker', '--folder', folder])
  assert.equal(code, 78)
  assert.match(err, /S2_GIT_REMOTE=.*must not carry a password/)
  assert.doesNotMatch(err, /hunter2/)
})

test('nothing is asked where nobody can answer, though the output is a terminal', async () => {
  const screen = { isTerminal: true, columns: 80, rows: 24, coloured: false }
  const ask = async (question: string): Promise<string> => assert.fail(question)
  const { code, err } = await run(['init', '--folder', folderWith()], { ask, screen, isAttended: false })
  assert.equal(code, 64)
  assert.match(err, /missing --role/)
})

test('without a terminal, what is missing is named', async () => {
  const folder = folderWith()
  const cases: [string[], RegExp][] = [
    [['init'], /missing --role\n {2}next: say --role orchestrator\|worker\|both/],
    [['init', '--role', 'boss'], /Allowed choices are orchestrator, worker, both/],
    [['init', '--role', 'orchestrator', '--join', 'x'], /only a worker joins/],
    [['init', '--role', 'both', '--join', 'x'], /only a worker joins/],
    [['init', ...WORKER, '--bridge-url', 'https://x'], /it comes with the invitation/],
    [['init', ...WORKER, '--worker', '3:tests'], /the orchestrator’s host invites/],
    [['init', '--role', 'orchestrator', '--worker', '0:tests'], /at least 1/],
    [['init', '--role', 'orchestrator', '--worker', 'tests'], /a number and a role/],
    [['init', ...WORKER, '--folder', 'etc'], /must begin with \//],
  ]
  for (const [argv, words] of cases) {
    const { code, err } = await run([...argv, ...(argv.includes('--folder') ? [] : ['--folder', folder])])
    assert.equal(code, 64, argv.join(' '))
    assert.match(err, words)
  }
  assert.deepEqual(held(folder), {})
})

test('at a terminal it asks for what was not said, and no more', async () => {
  const folder = folderWith()
  const asked: string[] = []
  const ask = async (question: string): Promise<string> => {
    asked.push(question)
    return question.startsWith('What is') ? ' worker ' : ''
  }
  const { code, out } = await run(['init', '--folder', folder], { ask, screen: SCREEN })
  assert.equal(code, 0)
  assert.deepEqual(
    asked.map((question) => question.split(' ').slice(0, 2).join(' ')),
    ['What is', 'Which line', 'Which command'],
    'a worker is told the remote by its invitation',
  )
  assert.match(out, /nothing has to be set/)
  assert.deepEqual(held(folder), {})
})

test('at a terminal a wrong answer is asked for again, and Ctrl-C writes nothing', async () => {
  const folder = folderWith()
  const answers = ['boss', 'orchestrator', 'here!', '', '-x y', REMOTE, '']
  const first = await run(['init', '--folder', folder], { ask: async () => answers.shift() ?? null, screen: SCREEN })
  assert.equal(first.code, 0, first.err)
  assert.match(
    first.err,
    /one of orchestrator, worker, both\n(?:.*\n)*? {2}it must .*for example .*\n(?:.*\n)*? {2}it must .*for example/,
  )
  assert.deepEqual(held(folder), { 's2.env': `S2_GIT_REMOTE=${REMOTE}\n` })

  const other = folderWith()
  const some = ['worker', 'no invitation']
  const second = await run(['init', '--folder', other], { ask: async () => some.shift() ?? null, screen: SCREEN })
  assert.equal(second.code, 64)
  assert.match(second.err, /is not an invitation/)
  assert.match(second.err, /^s2: nothing was written/m)
  assert.deepEqual(held(other), {})
})

/** The keys of a fleet whose bridge is away, and the lines of its invitations. */
async function makeFleet() {
  const { key, recipient } = await makeIdentity()
  return (over: Partial<Invitation> = {}): string =>
    formatInvitation({
      agent: 's2-worker-3',
      orchestrator: { key, recipient },
      bridgeUrl: 'http://127.0.0.1:1',
      remote: REMOTE,
      branch: 'main',
      secret: makeSecret().secret,
      endsAt: Date.now() + HOUR_MS,
      ...over,
    })
}

/** A home of the test's own, and the keys in it. */
function home() {
  const HOME = folderWith()
  const identity = join(HOME, '.local/state/s2/keys/identity.json')
  const init = async (argv: readonly string[], world: Parameters<typeof runCommand>[1] = {}): Promise<Outcome> =>
    await run(['init', '--role', 'worker', ...argv], { ...world, env: { HOME } })
  const identityNow = async (): Promise<HostIdentity | null> => await readIdentity(identity)
  return { HOME, init, identityNow }
}

test('a host joins by a line on standard input, and joins once however often it is asked to', async () => {
  const { HOME, init, identityNow } = home()
  const line = (await makeFleet())()
  const first = await init(['--join', '-'], { stdin: line })
  assert.equal(first.code, 0, first.err)
  assert.match(first.out, /the request of s2-worker-3 lies at the git remote/, 'the bridge is away')
  assert.ok(!first.out.includes(line) && !first.err.includes(line))
  const keys = await identityNow()
  assert.deepEqual([keys?.membership?.agent, keys?.membership?.remote], ['s2-worker-3', REMOTE])
  assert.ok(!existsSync(join(HOME, '.config/s2/s2.env')), 'what the invitation says is not set over it')
  const refs = execFileSync('git', ['--git-dir', REMOTE, 'for-each-ref', 'refs/s2/requests'], { encoding: 'utf8' })
  assert.equal(refs.trim().split('\n').length, 1)
  // A script runs it again the next day, when the line has ended.
  const tomorrow = { ...systemClock, wall: () => Date.now() + 24 * HOUR_MS }
  const again = await init(['--join', '-'], { stdin: line, clock: tomorrow })
  assert.equal(again.code, 0, again.err)
  assert.match(again.err, /this host is s2-worker-3 of the bridge http:\/\/127\.0\.0\.1:1/)
  assert.doesNotMatch(again.out, /join the fleet/)
  assert.deepEqual(await identityNow(), keys)
})

test('the line stands in the arguments of no process', async () => {
  const { HOME } = home()
  const line = (await makeFleet())()
  const [spy, seen] = [folderWith(), join(HOME, 'seen')]
  const git = execFileSync('/bin/sh', ['-c', 'command -v git'], { encoding: 'utf8' }).trim()
  const look = `cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' >>'${seen}'`
  writeFileSync(join(spy, 'git'), `#!/bin/sh\n${look}\nexec '${git}' "$@"\n`, { mode: 0o755 })
  const argv = ['init', '--role', 'worker', '--join', '-']
  const { code, err } = await run(argv, { stdin: line, env: { HOME, PATH: `${spy}:${ENV.PATH}` } })
  assert.equal(code, 0, err)
  const processes = readFileSync(seen, 'utf8')
  assert.match(processes, / worker join - --json /, 'it was looked while the host joined')
  assert.ok(!processes.includes('s2-join-') && !processes.includes('s2-request-'))
})

test('a line that has ended, or is none, writes nothing', async () => {
  const { HOME, init, identityNow } = home()
  const late = await init(['--join', (await makeFleet())({ endsAt: Date.now() - 1_000 }), '--wake', 'true', '--json'])
  assert.equal(late.code, 1)
  const { error } = JSON.parse(late.err) as { error: { code: string; message: string; next: string } }
  assert.equal(error.code, 'expired')
  assert.match(error.next, /s2 worker invite/)
  const none = await init(['--join', 'no invitation'])
  assert.equal(none.code, 1)
  assert.match(none.err, /is not an invitation.*\n {2}next: /)
  assert.deepEqual([await identityNow(), existsSync(join(HOME, '.config'))], [null, false])
})

test('a host of another fleet is left in it, unless --force is given', async () => {
  const { HOME, init, identityNow } = home()
  assert.equal((await init(['--join', (await makeFleet())()])).code, 0)
  const before = await identityNow()
  // Only a credential says that the host was admitted.
  await publishCredential(join(HOME, '.local/state/s2'), {
    ...{ session: 'conv_0000000000000000/b', agent: 's2-worker-3', role: 'tests', token: '0a'.repeat(32) },
    ...{ bridgeUrl: 'http://127.0.0.1:7433', createdAt: Date.now(), expiresAt: Date.now() + 3_600_000 },
  })
  const other = (await makeFleet())({ agent: 's2-worker-9' })
  const refused = await init(['--join', other])
  assert.equal(refused.code, 1, 'a step that was tried has failed')
  assert.match(refused.out, /join the fleet: this host belongs to another fleet already.*--force/)
  assert.deepEqual(await identityNow(), before)
  assert.equal((await init(['--join', other, '--force'])).code, 0)
  const after = await identityNow()
  assert.equal(after?.membership?.agent, 's2-worker-9')
  assert.notEqual(after?.key, before?.key, 'keys of one fleet are not shown to another')
})

test('where neither bridge nor remote is reached, the line to carry is among the steps', async () => {
  const { init } = home()
  const { code, out } = await init(['--join', (await makeFleet())({ remote: null })])
  assert.equal(code, 0)
  assert.match(out, /neither bridge nor git remote took .*\n {7}sudo s2 worker admit\n {7}s2-request-\S+\n/)
})

test('a folder that cannot be written is told', async () => {
  const file = join(folderWith({ file: '' }), 'file')
  const { code, err } = await run(['init', ...WORKER, '--folder', join(file, 's2')])
  assert.equal(code, 78)
  assert.match(err, /\/file\/s2\/s2\.env cannot be (read|written): /)
})

test('the folder is the one of this user unless said', async () => {
  const folder = folderWith()
  const argv = ['init', ...WORKER]
  assert.equal((await run(argv, { env: { HOME: folder } })).code, 0)
  assert.match(readFileSync(join(folder, '.config/s2/s2.env'), 'utf8'), /S2_GIT_REMOTE=/)
  assert.equal((await run(argv, { env: { HOME: '/nonexistent', XDG_CONFIG_HOME: folder } })).code, 0)
  assert.match(readFileSync(join(folder, 's2/s2.env'), 'utf8'), /S2_GIT_REMOTE=/)
})

test('the last line that sets a name is the one in force, and the one that is changed', () => {
  const text = 'S2_RATE=1\n  S2_RATE=2'
  assert.equal(settingIn(text, 'S2_RATE'), '2')
  assert.equal(withSettings(text, { S2_RATE: '3' }), 'S2_RATE=1\nS2_RATE=3\n')
  assert.equal(withSettings('', {}), '')
})

test('the shell that services run wakes in is given the command as it was said', async () => {
  const folder = folderWith()
  await run(['init', ...WORKER, '--wake', 'printf "%s" "two  words"', '--folder', folder])
  const { S2_WAKE = '' } = withSettingsFile({}, join(folder, 's2-fs-watcher.env'))
  assert.equal(execFileSync('/bin/sh', ['-c', S2_WAKE], { encoding: 'utf8' }), 'two  words')
})

test('the task for Windows names this distribution, and nothing is written', async () => {
  const folder = folderWith()
  const { code, out }: Outcome = await run(['init', '--wsl-task', '--folder', folder], {
    env: { WSL_DISTRO_NAME: 'Debian' },
  })
  assert.equal(code, 0)
  assert.match(out, /Register-ScheduledTask/)
  assert.match(out, /--distribution Debian --exec \/bin\/sleep infinity/)
  assert.deepEqual(held(folder), {})
})

test('a distribution by any name is data in the task for Windows', async () => {
  const task = async (name: string): Promise<Outcome> =>
    await run(['init', '--wsl-task'], { env: { WSL_DISTRO_NAME: name } })
  const hostile = `my "box\\"; Remove-Item 'C:' $(x) \`y\u2019 z\\`
  const { code, out } = await task(hostile)
  assert.equal(code, 0)
  // As PowerShell reads it: single quotes of any kind end a text unless there are two.
  const argument = /-Argument '((?:[^'\u2018-\u201b]|(['\u2018-\u201b])\2)*)'\n/
    .exec(out)?.[1]
    ?.replace(/(['\u2018-\u201b])\1/g, '$1')
  assert.equal(
    argument,
    `--distribution "my \\"box\\\\\\"; Remove-Item 'C:' $(x) \`y\u2019 z\\\\" --exec /bin/sleep infinity`,
  )
  assert.equal(out.trim().split('\n').length, 6)
  assert.match((await task('Ubuntu-24.04')).out, /--distribution Ubuntu-24\.04 --exec/)
  const broken = await task('a\nRemove-Item b')
  assert.equal(broken.code, 64)
  assert.equal(broken.out, '')
})
