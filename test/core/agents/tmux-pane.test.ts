import assert from 'node:assert/strict'
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { hasEmptyPrompt } from '#agents/wake/pane-screen.ts'
import { tmuxPane } from '#agents/wake/tmux-pane.ts'
import { systemClock } from '#runtime/clock.ts'
import { processStart } from '#runtime/process-stat.ts'
import { until } from '../../until.ts'
import { sampleSession } from './sample-session.ts'

const folder = mkdtempSync(join(tmpdir(), 's2-tmux-'))
const socket = join(folder, 'tmux')
const env = { PATH: process.env.PATH, LANG: 'C.UTF-8' }
const tmux = (...args: string[]): string => execFileSync('tmux', ['-S', socket, ...args], { env, encoding: 'utf8' })
const missing = spawnSync('tmux', ['-V'], { env }).status === 0 ? false : 'tmux is not installed'
before(() => {
  // the server lives as long as one session does
  if (missing === false) tmux('-f', '/dev/null', 'new-session', '-d', '-s', 'base')
})
after(() => {
  if (missing === false) spawnSync('tmux', ['-S', socket, 'kill-server'], { env })
  rmSync(folder, { recursive: true })
})

const signal = AbortSignal.timeout(120_000)
const pane = tmuxPane({ clock: systemClock, env })
const TEXT = 'S2 wake 0123456789ab: 1 unread message. The command "s2 check" reads messages.'

/** A pane in which a program reads lines behind a prompt, as clients do, and writes them to a file. */
async function openPane(name: string, t: TestContext, { width = 120, argument = '', program: argv0 = 'claude' } = {}) {
  const lines = join(folder, `${name}.lines`)
  const program = `echo $$ > ${lines}.pid; while IFS= read -r -e -p '❯ ' line; do printf '%s\\n' "$line" >> ${lines}; done`
  writeFileSync(`${lines}.sh`, program)
  // behind a shell, as clients run: tmux lets its own children go on when they are stopped
  tmux(
    'new-session',
    '-d',
    '-s',
    name,
    '-x',
    String(width),
    '-y',
    '20',
    'sh',
    '-c',
    `bash --norc -c 'exec -a ${argv0} bash --norc ${lines}.sh ${argument}'; :`,
  )
  t.after(() => spawnSync('tmux', ['-S', socket, 'kill-session', '-t', name], { env }))
  const id = tmux('display-message', '-p', '-t', name, '#{pane_id}').trim()
  await until('the prompt shows', () => tmux('capture-pane', '-p', '-t', id).includes('❯'))
  const pid = Number(readFileSync(`${lines}.pid`, 'utf8'))
  const session = sampleSession({ process: { pid, startTicks: processStart(pid) ?? '' }, pane: { socket, id } })
  return { id, session, typed: () => (existsSync(lines) ? readFileSync(lines, 'utf8') : '') }
}

test('a text is typed into an empty prompt and sent by Enter, once', { skip: missing }, async (t) => {
  const { session, typed } = await openPane('empty', t)
  assert.equal(await pane.whyNot(session, signal), null)
  await pane.wake(session, TEXT, signal)
  await until('it was read', () => typed() !== '')
  await sleep(500)
  assert.equal(typed(), `${TEXT}\n`)
})

test('a text that is wider than the pane arrives whole', { skip: missing }, async (t) => {
  const { session, typed } = await openPane('narrow', t, { width: 30 })
  await pane.wake(session, TEXT, signal)
  await until('it was read', () => typed() === `${TEXT}\n`)
})

test('copy mode is left; control characters never reach the terminal', { skip: missing }, async (t) => {
  const { id, session, typed } = await openPane('mode', t)
  tmux('copy-mode', '-t', id)
  await pane.wake(session, 'S2 wake 0123456789ab: a\u0003b\u001b[201~\u0015c\nd', signal)
  await until('it was read', () => typed() !== '')
  assert.equal(typed(), 'S2 wake 0123456789ab: a b [201~ c d\n')
})

test('who reads in a pane is not taken out of it, unless the terminal was left', { skip: missing }, async (t) => {
  const { id, session, typed } = await openPane('reader', t)
  const terminal = spawn('tmux', ['-S', socket, '-C', 'attach', '-t', 'reader'], {
    env,
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  t.after(() => terminal.kill('SIGKILL'))
  await until('it is attached', () => tmux('display-message', '-p', '-t', id, '#{session_attached}').trim() === '1')
  tmux('copy-mode', '-t', id)
  const reader = { name: 'PassingRefusal', message: /a person reads/ }
  await assert.rejects(pane.whyNot(session, signal), reader)
  await assert.rejects(pane.wake(session, TEXT, signal), reader)
  assert.equal(tmux('display-message', '-p', '-t', id, '#{pane_in_mode}').trim(), '1')
  const later = tmuxPane({ clock: { ...systemClock, wall: () => systemClock.wall() + 660_000 }, env })
  await later.wake(session, TEXT, signal)
  await until('it was read', () => typed() === `${TEXT}\n`)
})

test('nothing is typed beside a draft or into a dialog', { skip: missing }, async (t) => {
  const { id, session, typed } = await openPane('draft', t)
  tmux('send-keys', '-t', id, 'half a thought')
  await until('the draft shows', () => tmux('capture-pane', '-p', '-t', id).includes('thought'))
  const draft = { name: 'PassingRefusal', message: /a draft or a dialog/ }
  await assert.rejects(pane.whyNot(session, signal), draft)
  await assert.rejects(pane.wake(session, TEXT, signal), draft)
  assert.equal(typed(), '')
})

test('panes of other programs, panes that are gone and stopped clients are refused', { skip: missing }, async (t) => {
  const one = await openPane('one', t)
  const other = await openPane('other', t)
  const why = async (fields: object) => await pane.whyNot({ ...one.session, ...fields }, signal)
  assert.match((await why({ pane: other.session.pane })) ?? '', /another program runs in the pane/)
  assert.match((await why({ pane: { socket, id: '%999' } })) ?? '', /%999/)
  assert.match((await why({ pane: { socket: join(folder, 'none'), id: '%0' } })) ?? '', /is not there/)
  assert.match((await why({ pane: { socket: '/etc/passwd', id: '%0' } })) ?? '', /is no socket/)
  assert.match((await why({ pane: null })) ?? '', /in no pane/)
  assert.match((await why({ client: 'codex' })) ?? '', /is no client of this user/)
  assert.match((await why({ process: { ...one.session.process, startTicks: '1' } })) ?? '', /has ended/)
  process.kill(one.session.process?.pid ?? 0, 'SIGSTOP')
  await until('it is stopped', async () => /is stopped/.test((await why({})) ?? ''), 10_000)
})

test('a pane that is known by a daemon of several terminals is not typed into', { skip: missing }, async (t) => {
  const { session } = await openPane('daemon', t, { argument: 'app-server', program: 'codex' })
  assert.match((await pane.whyNot({ ...session, client: 'codex' }, signal)) ?? '', /its own pane is not known/)
})

test('of two wakes at once for one pane one types', { skip: missing }, async (t) => {
  const { session, typed } = await openPane('twice', t)
  const both = await Promise.allSettled([pane.wake(session, TEXT, signal), pane.wake(session, TEXT, signal)])
  assert.deepEqual(both.map(({ status }) => status).sort(), ['fulfilled', 'rejected'])
  await until('it was read', () => typed() !== '')
  await sleep(300)
  assert.equal(typed(), `${TEXT}\n`)
})

/** Lines as the clients drew them in their panes. */
const RULE = `\u001b[0m\u001b[38;5;244m${'─'.repeat(20)}`
const SCREENS: readonly [boolean, string, readonly string[]][] = [
  [true, 'Claude Code, empty', ['\u001b[39m❯\u00a0\u001b[7m', RULE]],
  [true, 'Claude Code after a turn', ['\u001b[39m❯\u00a0\u001b[7m \u001b[0m\u001b[39m\u001b[49m', RULE]],
  [
    true,
    'Claude Code with an example',
    ['\u001b[39m❯\u00a0\u001b[7mT\u001b[0m\u001b[2mry "fix the tests"\u001b[0m', RULE],
  ],
  [
    true,
    'Codex with an example',
    ['\u001b[1m›\u001b[0m\u001b[39m\u001b[49m \u001b[2mAsk Codex to do anything', '\u001b[0m\u001b[39m\u001b[49m'],
  ],
  [
    true,
    'Gemini CLI with an example',
    [
      '\u001b[39m\u001b[48;5;240m \u001b[38;5;183m> \u001b[7m\u001b[39m \u001b[0m\u001b[38;5;248m\u001b[48;5;240m Type your message or @path/to/file\u001b[39m',
      '\u001b[38;5;240m\u001b[49m▀▀▀▀',
    ],
  ],
  [false, 'Gemini CLI, a draft', [' > Type your message or not', '▀▀▀▀']],
  [true, 'in a box', ['│ > \u001b[7m \u001b[0m            │', `╰${'─'.repeat(16)}╯`]],
  [false, 'Claude Code, a draft', ['\u001b[39m❯\u00a0hello draft\u001b[7m', RULE]],
  [false, 'a draft of one letter', ['\u001b[39m❯\u00a0x\u001b[7m', RULE]],
  [false, 'a second line of a draft', ['\u001b[39m❯\u00a0\u001b[7m ', '  second line']],
  [false, 'Codex, a draft', ['\u001b[1m›\u001b[0m\u001b[39m\u001b[49m hello codex', '']],
  [false, 'a choice', ['❯ 1. Yes', '  2. No']],
  [false, 'a question', ['Do you want to proceed?', '']],
  [false, 'nothing', ['', '']],
]

test('a prompt is told from drafts and dialogs by what the clients draw', () => {
  for (const [isEmpty, what, lines] of SCREENS) assert.equal(hasEmptyPrompt(lines, 0), isEmpty, what)
  assert.equal(hasEmptyPrompt(['❯ '], 7), false, 'a cursor outside of what was captured')
})
