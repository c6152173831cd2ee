import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { settingIn, withSettings } from '../../services/cli/settings-file.ts'
import { readSettings, withSettingsFile } from '../../services/core/runtime/read-settings.ts'
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

const WORKER = ['--role', 'worker', '--remote', REMOTE, '--number', '3']

test('a worker gets its remote, its number and its wake command, readable by its group alone', async () => {
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
    's2.env': `S2_GIT_REMOTE=${REMOTE}\nS2_WORKER=3\n`,
    's2-fs-watcher.env': 'S2_WAKE=tmux send-keys -t agent "s2 check" Enter\n',
  })
  assert.equal(statSync(join(folder, 's2.env')).mode & 0o777, 0o640)
  assert.match(out, /Left to do:\n/)
  assert.match(out, /s2-cred-sync s2-keepalive/)
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
    '--number',
    '0',
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
  assert.ok(told.next.length > 0)
})

test('what is set stays without --force, and comments stay with it', async () => {
  const before = `# mine\nS2_WORKER=1 \n# its rate\nS2_RATE=50\nS2_GIT_REMOTE=${REMOTE}\n`
  const folder = folderWith({ 's2.env': before })
  const refused = await run(['init', ...WORKER, '--wake', 'true', '--folder', folder])
  assert.equal(refused.code, 1)
  assert.match(refused.err, /nothing was written: in .*s2\.env S2_WORKER is "1"\n {2}next: add --force/)
  assert.deepEqual(held(folder), { 's2.env': before }, 'not even the file that had no conflict')
  assert.equal((await run(['init', ...WORKER, '--folder', folder, '--force'])).code, 0)
  assert.equal(held(folder)['s2.env'], before.replace('S2_WORKER=1 ', 'S2_WORKER=3'))
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
    '--number',
    'two',
    '--bridge-url',
    'here!',
    '--folder',
    folder,
  ])
  assert.equal(code, 78)
  for (const name of ['S2_GIT_REMOTE', 'S2_WORKER', 'S2_BRIDGE_URL'])
    assert.match(err, new RegExp(`${name}=.*for example`))
  assert.deepEqual(held(folder), {})
})

test('what is set and would be refused by the services is refused here too', async () => {
  const folder = folderWith({ 's2.env': 'S2_GIT_REMOTE=https://user:hunter2@127.0.0.1:1/r.git\nS2_WORKER=3\n' })
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
    [['init', '--role', 'worker'], /a worker needs --remote and --number/],
    [['init', '--role', 'orchestrator', '--number', '3'], /only a worker has one/],
    [['init', ...WORKER, '--bridge-url', 'https://x'], /it comes with the credential/],
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
    return question.startsWith('What is') ? ' worker ' : question.includes('remote') ? REMOTE : ''
  }
  const screen = { isTerminal: true, columns: 80, rows: 24, coloured: false }
  const { code } = await run(['init', '--number', '4', '--folder', folder], { ask, screen })
  assert.equal(code, 0)
  assert.deepEqual(
    asked.map((question) => question.split(' ')[0]),
    ['What', 'Which', 'Which'],
  )
  assert.deepEqual(held(folder), { 's2.env': `S2_GIT_REMOTE=${REMOTE}\nS2_WORKER=4\n` })
})

test('at a terminal a wrong answer is asked for again, and Ctrl-C writes nothing', async () => {
  const folder = folderWith()
  const screen = { isTerminal: true, columns: 80, rows: 24, coloured: false }
  const answers = ['boss', 'worker', '', '-x y', REMOTE, 'three', '03', '']
  const first = await run(['init', '--folder', folder], { ask: async () => answers.shift() ?? null, screen })
  assert.equal(first.code, 0, first.err)
  assert.match(
    first.err,
    /one of orchestrator, worker, both\n {2}a worker needs one\n {2}it must .*for example .*\n[\s\S]*for example/,
  )
  assert.deepEqual(held(folder), { 's2.env': `S2_GIT_REMOTE=${REMOTE}\nS2_WORKER=3\n` })

  const other = folderWith()
  const some = ['worker', REMOTE]
  const second = await run(['init', '--folder', other], { ask: async () => some.shift() ?? null, screen })
  assert.equal(second.code, 64)
  assert.match(second.err, /^s2: nothing was written/m)
  assert.deepEqual(held(other), {})
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
  assert.match(readFileSync(join(folder, '.config/s2/s2.env'), 'utf8'), /S2_WORKER=3/)
  assert.equal((await run(argv, { env: { HOME: '/nonexistent', XDG_CONFIG_HOME: folder } })).code, 0)
  assert.match(readFileSync(join(folder, 's2/s2.env'), 'utf8'), /S2_WORKER=3/)
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
