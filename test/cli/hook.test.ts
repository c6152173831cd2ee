import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, test } from 'node:test'
import type { HookReport } from '#agents/hook-report.ts'
import { Inbox } from '#spool/inbox.ts'
import { openGrant } from '../../services/cli/guard/grant.ts'
import { ANSWER_ACTION, answerMessage } from '../../services/cli/guard/permission-answer.ts'
import { recorded } from '../core/agents/reports.ts'
import { letter } from '../core/spool/sample.ts'
import { until } from '../until.ts'

const base = mkdtempSync(join(tmpdir(), 's2-hook-'))
after(() => rmSync(base, { recursive: true, force: true }))
let states = 0

function newState(): string {
  states += 1
  const state = join(base, `state-${states}`)
  mkdirSync(state, { mode: 0o700 })
  return state
}

interface Hooked {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

/** Runs `s2 hook` as a client does. With `null` for input its standard input stays open; it may come late, or not be closed. */
async function hook(
  args: readonly string[],
  input: string | null,
  env: NodeJS.ProcessEnv = {},
  { lateMs = 0, closes = true } = {},
): Promise<Hooked> {
  const child = spawn(process.execPath, ['services/cli/main.ts', 'hook', ...args], {
    env: { PATH: process.env.PATH, HOME: base, ...env },
  })
  let out = ''
  let err = ''
  child.stdout.on('data', (data: Buffer) => {
    out += data.toString()
  })
  child.stderr.on('data', (data: Buffer) => {
    err += data.toString()
  })
  child.stdin.on('error', () => undefined)
  const give = (): void => void (closes ? child.stdin.end(input) : child.stdin.write(input ?? ''))
  if (input !== null) setTimeout(give, lateMs)
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
  return { code, out, err }
}

function reportsIn(state: string): HookReport[] {
  const folder = join(state, 'agents/events/new')
  return readdirSync(folder).map((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')) as HookReport)
}

function line(name: string, client: 'claude' | 'codex' = 'claude'): string {
  return recorded(client).find((each) => each.includes(`"hook_event_name":"${name}"`)) ?? ''
}

test('an event is left for keepalive with what only a child of the client knows', async () => {
  const state = newState()
  const env = {
    S2_STATE: state,
    TMUX: '/tmp/tmux-1000/default,12,0',
    TMUX_PANE: '%5',
    CLAUDE_CODE_MESSAGING_SOCKET: '/tmp/cc-socks/12.sock',
    CLAUDE_CODE_MESSAGING_TOKEN: 'not-for-anybody',
    S2_TASK_SESSION: 'conv_0123456789abcdef/b',
  }
  assert.deepEqual(await hook(['UserPromptSubmit', '--agent', 'claude'], line('UserPromptSubmit'), env), {
    code: 0,
    out: '',
    err: '',
  })
  const [report] = reportsIn(state)
  assert.equal(report?.event.kind, 'prompt')
  assert.deepEqual(report?.facts, {
    process: null,
    sharesProcess: false,
    pane: { socket: '/tmp/tmux-1000/default', id: '%5' },
    inboxSocket: '/tmp/cc-socks/12.sock',
    version: null,
    session: 'conv_0123456789abcdef/b',
  })
  assert.ok(!JSON.stringify(report).includes('not-for-anybody'))
})

test('a hook tells the version of the client whose child it is, at its start and its prompts', async () => {
  const state = newState()
  const program = join(state, 'node_modules/@openai/codex-linux-x64/bin/codex')
  mkdirSync(dirname(program), { recursive: true })
  copyFileSync('/bin/sh', program)
  const named = { name: '@openai/codex', version: '0.171.0-linux-x64' }
  writeFileSync(join(state, 'node_modules/@openai/codex-linux-x64/package.json'), JSON.stringify(named))
  for (const name of ['SessionStart', 'PreToolUse']) {
    const script = `"$0" services/cli/main.ts hook ${name} --agent codex; :`
    const env = { PATH: process.env.PATH, HOME: base, S2_STATE: state }
    const told = spawnSync(program, ['-c', script, process.execPath], { env, input: line(name, 'codex') })
    assert.equal(told.status, 0, told.stderr.toString())
  }
  const versions = reportsIn(state).map(({ event, facts }) => [event.name, facts?.version])
  assert.deepEqual(Object.fromEntries(versions), { SessionStart: '0.171.0', PreToolUse: null })
})

test('Stop goes on once while a message waits, and not again for the same one', async () => {
  const state = newState()
  await new Inbox(state).recover()
  await new Inbox(state).put(letter(1))
  for (const client of ['claude', 'codex'] as const) {
    const args = ['Stop', '--agent', client, '--state', state]
    const first = await hook(args, line('Stop', client))
    assert.equal(JSON.parse(first.out).decision, 'block')
    assert.match(JSON.parse(first.out).reason, /s2 check/)
    assert.deepEqual(await hook(args, line('Stop', client)), { code: 0, out: '', err: '' })
  }
  assert.deepEqual(
    reportsIn(state)
      .map(({ isBlocked }) => isBlocked)
      .sort(),
    [false, false, true, true],
  )
})

test('what is told once must be remembered: where it cannot be, no turn is held up', async () => {
  const state = newState()
  await new Inbox(state).recover()
  await new Inbox(state).put(letter(1))
  mkdirSync(join(state, 'agents'))
  writeFileSync(join(state, 'agents/told'), '')
  const { code, out } = await hook(['Stop', '--agent', 'claude', '--state', state], line('Stop'))
  assert.deepEqual([code, out], [0, ''])
})

test('whatever is wrong, a hook answers nothing and ends well', async () => {
  const state = newState()
  const asked = ['Stop', '--agent', 'claude', '--state']
  const file = join(base, 'file')
  writeFileSync(file, '')
  for (const [args, input] of [
    [[...asked, join(base, 'nowhere')], line('Stop')],
    [[...asked, file], line('Stop')],
    [[...asked, '/dev/null'], line('Stop')],
    [[...asked, state], 'garbage'],
    [[...asked, state], ''],
    [[...asked, state], null],
    [['Stop'], line('Stop')],
    [['Stop', '--agent', 'nobody'], line('Stop')],
    [[], ''],
  ] as const) {
    const { code, out, err } = await hook(args, input)
    assert.deepEqual([code, out], [0, ''], args.join(' '))
    assert.ok(err.split('\n').length <= 2, err)
  }
})

test('what comes late on a busy machine is heard, and the end of an object is enough', async () => {
  const state = newState()
  const late = await hook(
    ['Stop', '--agent', 'claude'],
    line('Stop'),
    { S2_STATE: state },
    { lateMs: 1_000, closes: false },
  )
  assert.deepEqual([late.code, late.err], [0, ''])
  assert.equal(reportsIn(state).length, 1)
})

/** As Claude Code gives it to the hook of a prompt. */
const ASKED = JSON.stringify({
  ...{ session_id: 'session-1', cwd: '/work', hook_event_name: 'PermissionRequest', permission_mode: 'default' },
  ...{ tool_name: 'Bash', tool_input: { command: 'touch one', description: 'makes one' } },
})

test('a permission prompt is told without a name, and nothing waits, unless the guard is on and a terminal shows the dialog', async () => {
  for (const [client, env] of [
    ['claude', { CLAUDE_CODE_ENTRYPOINT: 'cli' }],
    ['claude', { CLAUDE_CODE_ENTRYPOINT: 'cli', S2_GUARD: 'off' }],
    ['claude', { CLAUDE_CODE_ENTRYPOINT: 'sdk-cli', S2_GUARD: 'on' }],
    ['codex', { S2_GUARD: 'on' }],
  ] as const) {
    const state = newState()
    const done = await hook(['PermissionRequest', '--agent', client, '--state', state], ASKED, env)
    assert.deepEqual(done, { code: 0, out: '', err: '' })
    assert.deepEqual(
      reportsIn(state).map(({ event }) => event.what),
      ['permission prompt: Bash: touch one'],
    )
  }
})

test('with the guard on a permission prompt is told with a name, and what is answered to it is given to the client', async () => {
  const state = newState()
  const inbox = new Inbox(state)
  await inbox.recover()
  const env = { CLAUDE_CODE_ENTRYPOINT: 'cli', S2_GUARD: 'on' }
  const done = hook(['PermissionRequest', '--agent', 'claude', '--state', state], ASKED, env)
  const named = /^permission prompt ([0-9a-f]{12}): Bash: touch one$/
  const nameIn = (): string | undefined => named.exec(reportsIn(state)[0]?.event.what ?? '')?.[1]
  await until('it is told', () => existsSync(join(state, 'agents/events/new')) && nameIn() !== undefined, 20_000)
  const code = await openGrant(state, { mode: 'answer', folder: state, tokenMs: 60_000 }, Date.now())
  const text = answerMessage({ prompt: nameIn() ?? '', decision: 'deny', reason: 'not now' }, code)
  await inbox.put({ ...letter(1, text), action: ANSWER_ACTION })
  const { out, err } = await done
  assert.equal(err, '')
  const decision = { behavior: 'deny', message: 'not now' }
  assert.deepEqual(JSON.parse(out), { hookSpecificOutput: { hookEventName: 'PermissionRequest', decision } })
})
