import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nextSession, strongestActivity } from '#agents/next-session.ts'
import { after, recorded, report } from './reports.ts'

const START = { hook_event_name: 'SessionStart', source: 'startup' }
const PROMPT = { hook_event_name: 'UserPromptSubmit', prompt: 'go' }
const TOOL = { hook_event_name: 'PreToolUse', tool_name: 'Bash', tool_input: { command: 'make' } }
const TOOL_ENDED = { ...TOOL, hook_event_name: 'PostToolUse' }
const STOP = { hook_event_name: 'Stop', stop_hook_active: false }
const ASKS = { ...TOOL, hook_event_name: 'PermissionRequest' }
const SUBAGENT = { agent_id: 'sub-1' }

function failure(error: string, text: string): Readonly<Record<string, unknown>> {
  return { hook_event_name: 'StopFailure', error, last_assistant_message: text }
}

test('a turn begins with its prompt and ends with Stop', () => {
  assert.equal(after(START).activity.state, 'idle')
  assert.equal(after(START, PROMPT).activity.state, 'working')
  assert.equal(after(START, PROMPT, TOOL, TOOL_ENDED).activity.state, 'working')
  const ended = after(START, PROMPT, TOOL, TOOL_ENDED, STOP)
  assert.deepEqual([ended.activity.state, ended.since, ended.heardAt, ended.signs], ['idle', 5_000, 5_000, 4])
})

test('a turn that a hook makes go on has not ended', () => {
  const session = nextSession(after(START, PROMPT), { ...report(STOP, 9_000), isBlocked: true }, 'UTC')
  assert.equal(session.activity.state, 'working')
})

test('a dialog is waited at until it is answered, and says what it asks', () => {
  const asks = after(START, PROMPT, TOOL, ASKS)
  assert.deepEqual(asks.activity, { state: 'waiting', what: 'permission prompt: Bash: make', until: null })
  const reminded = { hook_event_name: 'Notification', notification_type: 'permission_prompt', message: 'it needs you' }
  assert.deepEqual(after(START, PROMPT, TOOL, ASKS, reminded).activity, asks.activity)
  assert.equal(after(START, PROMPT, reminded).activity.what, 'it needs you')
  const byFile = {
    ...after(START, PROMPT),
    activity: { state: 'waiting', what: 'permission prompt', until: null } as const,
  }
  assert.equal(nextSession(byFile, report(reminded, 9_000), 'UTC').activity.what, 'it needs you')
  assert.equal(after(START, PROMPT, TOOL, ASKS, TOOL_ENDED).activity.state, 'working')
  assert.equal(after(START, PROMPT, TOOL, ASKS, { hook_event_name: 'PermissionDenied' }).activity.state, 'working')
  assert.equal(after(START, PROMPT, TOOL, ASKS, STOP).activity.state, 'idle')
})

test('what a dialog asks is without secrets', () => {
  const command = `curl -H "Authorization: Bearer ${'ghp_'}${'a1B2'.repeat(9)}" example.org`
  const { what } = after(PROMPT, { ...ASKS, tool_input: { command } }).activity
  assert.match(what ?? '', /\[redacted/)
})

test('a subagent begins and ends no turn of the session, but the dialog that it opens is one', () => {
  assert.equal(after(START, PROMPT, STOP, { ...TOOL_ENDED, ...SUBAGENT }).activity.state, 'idle')
  assert.equal(after(START, PROMPT, { ...STOP, ...SUBAGENT }).activity.state, 'working')
  assert.equal(after(START, PROMPT, { ...failure('rate_limit', 'x'), ...SUBAGENT }).activity.state, 'working')
  const asks = { ...ASKS, ...SUBAGENT }
  assert.equal(after(START, PROMPT, asks).activity.state, 'waiting')
  assert.equal(after(START, PROMPT, asks, { ...TOOL_ENDED, ...SUBAGENT }).activity.state, 'working')
  assert.equal(after(START, PROMPT, { ...STOP, ...SUBAGENT }).signs, 1)
})

test('a failure of the service says what the session does next', () => {
  const states = [
    'rate_limit',
    'authentication_failed',
    'billing_error',
    'server_error',
    'overloaded',
    'invalid_request',
    'toString',
  ]
  assert.deepEqual(
    states.map((error) => after(PROMPT, failure(error, 'it said so')).activity.state),
    ['parked', 'logged_out', 'logged_out', 'overloaded', 'overloaded', 'idle', 'idle'],
  )
  const limit = "You've hit your session limit · resets 8:47pm (UTC)"
  const at = Date.parse('2026-11-29T17:46:00Z')
  const parked = nextSession(after(PROMPT), report(failure('rate_limit', limit), at), 'UTC')
  assert.deepEqual(parked.activity, { state: 'parked', what: limit, until: Date.parse('2026-11-29T20:47:00Z') })
  const idle = { hook_event_name: 'Notification', notification_type: 'idle_prompt', message: 'waiting for input' }
  assert.deepEqual(nextSession(parked, report(idle, at + 60_000), 'UTC').activity, parked.activity)
  assert.equal(nextSession(parked, report(PROMPT, at + 60_000), 'UTC').activity.state, 'working')
})

test('a session that has ended begins again only with a start or a prompt', () => {
  const end = { hook_event_name: 'SessionEnd', reason: 'other' }
  assert.equal(after(START, PROMPT, end).activity.state, 'gone')
  assert.equal(after(START, PROMPT, end, TOOL_ENDED, STOP, ASKS).activity.state, 'gone')
  assert.equal(after(START, PROMPT, end, { ...START, source: 'resume' }).activity.state, 'idle')
})

test('a compaction in the middle of a turn does not end it', () => {
  assert.equal(after(START, PROMPT, { ...START, source: 'compact' }).activity.state, 'working')
})

test('what runs behind an ended turn is told', () => {
  assert.equal(after(PROMPT, { ...STOP, background_tasks: [{}, {}] }).activity.what, '2 commands in the background')
})

test('notifications are no signs of progress', () => {
  const note = { hook_event_name: 'Notification', notification_type: 'idle_prompt', message: 'x' }
  assert.equal(after(START, note, note, note).signs, 0)
})

test('the wakes that were read are remembered, the newest last, and not without end', () => {
  const wake = (index: number) => ({ ...PROMPT, prompt: `S2 wake ${index.toString(16).padStart(12, '0')}` })
  assert.deepEqual(after(wake(1), wake(2), wake(1)).wakesRead, ['000000000002', '000000000001'])
  const many = after(...Array.from({ length: 80 }, (_, index) => wake(index)))
  assert.equal(many.wakesRead.length, 50)
  assert.equal(many.wakesRead.at(-1), '00000000004f')
})

test('whole recorded sessions end gone, and were never anything odd', () => {
  for (const client of ['claude', 'codex', 'gemini'] as const) {
    const lines = recorded(client).map((line) => JSON.parse(line) as Record<string, unknown>)
    const last = after(...lines.map((line) => ({ ...line, session_id: 'one' })))
    assert.equal(last.activity.state, 'gone')
    assert.equal(last.folder, '/home/agent/project')
  }
})

test('of several sessions the one counts that needs a person, then the one that works', () => {
  const idle = after(START)
  const working = after(START, PROMPT)
  const waiting = after(START, PROMPT, ASKS)
  const parked = after(PROMPT, failure('rate_limit', 'x'))
  assert.equal(strongestActivity([idle, waiting, working])?.state, 'waiting')
  assert.equal(strongestActivity([parked, idle, working])?.state, 'working')
  assert.equal(strongestActivity([idle, parked])?.state, 'parked')
  assert.equal(strongestActivity([]), null)
})

test('a reminder of a dialog that is over, and of a turn that ended, is rest', () => {
  const idle = { hook_event_name: 'Notification', notification_type: 'idle_prompt', message: 'waiting for input' }
  assert.equal(after(START, PROMPT, idle).activity.state, 'idle')
  assert.equal(after(START, PROMPT, TOOL, ASKS, idle).activity.state, 'idle')
})

test('a subagent that begins another tool ends no dialog, and one whose dialog is answered does', () => {
  const asks = { ...ASKS, ...SUBAGENT }
  assert.equal(after(START, PROMPT, asks, { ...TOOL, ...SUBAGENT }).activity.state, 'waiting')
  const answered = { hook_event_name: 'PermissionDenied', ...SUBAGENT }
  assert.equal(after(START, PROMPT, asks, answered).activity.state, 'working')
})

test('a failure without words is told by its code, and one that is no limit has no end, whatever it says', () => {
  const bare = after(PROMPT, { hook_event_name: 'StopFailure', error: 'billing_error' }).activity
  assert.deepEqual([bare.state, bare.what], ['logged_out', 'billing_error'])
  const overloaded = after(PROMPT, failure('overloaded', 'overloaded, try again in 2h 13m')).activity
  assert.deepEqual([overloaded.state, overloaded.until], ['overloaded', null])
  assert.equal(after(PROMPT, failure('rate_limit', 'it said so')).activity.until, null)
})

test('what hooks tell of the process of a client is kept until another tells of it', () => {
  const process = { pid: 10, startTicks: '1', namespace: 'pid:[1]' }
  const pane = { socket: '/tmp/tmux', id: '%1' }
  const facts = { process, sharesProcess: false, pane, inboxSocket: '/run/one.sock', session: null, version: '9' }
  const told = nextSession(after(START), { ...report(PROMPT, 2_000), facts }, 'UTC')
  assert.deepEqual([told.pane, told.inboxSocket, told.sharesProcess, told.version], [pane, '/run/one.sock', false, '9'])
  const overHttp = nextSession(told, report(STOP, 3_000), 'UTC')
  assert.deepEqual([overHttp.pane, overHttp.inboxSocket], [pane, '/run/one.sock'])
  const shared = nextSession(told, { ...report(STOP, 3_000), facts: { ...facts, sharesProcess: true } }, 'UTC')
  assert.deepEqual([shared.pane, shared.sharesProcess], [null, true])
  const unseen = { ...facts, process: null, sharesProcess: false, pane: null }
  assert.equal(nextSession(shared, { ...report(STOP, 4_000), facts: unseen }, 'UTC').sharesProcess, true)
})

test('what an event does not name stays as it was told before', () => {
  const told = { ...START, transcript_path: '/one.jsonl', permission_mode: 'plan', version: '2.1.332', cwd: '/work' }
  const session = 'conv_00000000000000aa/b' as const
  const first = { ...after(told), session }
  const { cwd: _, ...bare } = { ...PROMPT, cwd: undefined }
  const next = nextSession(first, report(bare, 9_000), 'UTC')
  assert.deepEqual(
    [next.session, next.transcript, next.permissionMode, next.version, next.folder],
    [session, '/one.jsonl', 'plan', '2.1.332', first.folder],
  )
})

test('a session that names no folder has one all the same', () => {
  assert.equal(nextSession(null, report({ ...START, cwd: undefined }), 'UTC').folder, '/')
})

test('of two sessions that do the same the younger one counts', () => {
  const one = { ...after(START, { ...STOP, background_tasks: [{}] }), since: 1_000 }
  const two = { ...after(START, { ...STOP, background_tasks: [{}, {}] }), since: 2_000 }
  for (const both of [
    [one, two],
    [two, one],
  ])
    assert.match(strongestActivity(both)?.what ?? '', /^2 commands/)
})
