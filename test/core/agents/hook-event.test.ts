import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HOOK_INPUT_MAX, readHookEvent } from '#agents/hook-event.ts'
import { readHookReport } from '#agents/hook-report.ts'
import { event, recorded, report } from './reports.ts'

test('what Claude Code gave its hooks is read', () => {
  const events = recorded('claude').map((line) => readHookEvent('claude', null, line))
  assert.deepEqual(
    events.slice(0, 6).map((each) => each?.kind),
    ['start', 'prompt', 'tool_begun', 'tool_ended', 'turn_ended', 'end'],
  )
  const asking = events.find((each) => each?.kind === 'asking')
  assert.equal(asking?.what, 'permission prompt: Bash: touch /tmp/x')
  assert.equal(asking?.permissionMode, 'default')
  assert.deepEqual(
    events.filter((each) => each?.kind === 'failure').map((each) => each?.failure),
    ['authentication_failed', 'rate_limit', 'server_error'],
  )
})

test('what Codex gave its hooks is read', () => {
  const events = recorded('codex').map((line) => readHookEvent('codex', null, line))
  assert.deepEqual(
    events.map((each) => each?.kind),
    ['start', 'prompt', 'tool_begun', 'tool_ended', 'turn_ended', 'end'],
  )
  assert.ok(events.every((each) => each?.folder === '/home/agent/project' && each.id === events[0]?.id))
})

test('what Gemini CLI gave its hooks is read, with a turn that a hook made go on', () => {
  const events = recorded('gemini').map((line) => readHookEvent('gemini', null, line))
  assert.deepEqual(
    events.map((each) => each?.kind),
    ['start', 'prompt', 'tool_begun', 'tool_ended', 'turn_ended', 'prompt', 'turn_ended', 'end'],
  )
  assert.deepEqual(
    events.map((each) => each?.isStopHookActive),
    [false, false, false, false, false, false, true, false],
  )
  assert.ok(events.every((each) => each?.folder === '/home/agent/project' && each.id === events[0]?.id))
})

test('a prompt is kept by the wakes that it names, and by nothing else', () => {
  const read = event({
    hook_event_name: 'UserPromptSubmit',
    prompt: 'S2 wake 0123456789ab\n2 messages; and a secret plan',
  })
  assert.deepEqual(read.wakes, ['0123456789ab'])
  assert.ok(!JSON.stringify(read).includes('plan'))
})

test('an end that is cut off costs only the field that it lies in', () => {
  const whole = JSON.stringify({
    session_id: 'one',
    hook_event_name: 'PostToolUse',
    tool_input: { text: 'a "quoted", {braced} one\\' },
    tool_name: 'Bash',
    tool_response: 'x'.repeat(2 * HOOK_INPUT_MAX),
  })
  assert.equal(readHookEvent('claude', null, whole)?.kind, 'tool_ended')
  for (const cut of [whole.slice(0, 200), `${whole.slice(0, 100)}`]) {
    assert.equal(readHookEvent('claude', null, cut)?.id, 'one', cut)
  }
})

test('hostile inputs are no events, and cost little', () => {
  const began = performance.now()
  const deep = `${'{"a":['.repeat(100_000)}`
  for (const input of [
    '',
    'null',
    '[]',
    '"text"',
    '{',
    '{"session_id":',
    deep,
    `{"session_id":"one","tool_input":${deep}`,
    `{"session_id":"../../etc","hook_event_name":"Stop"}`,
    `{"session_id":"${'x'.repeat(200)}","hook_event_name":"Stop"}`,
    '{"session_id":{"toString":1},"hook_event_name":["Stop"]}',
    '{"session_id":"one","hook_event_name":"\\u001b[2J"}',
    '\u0000\uffff'.repeat(500_000),
    `{"session_id":"one"${',"a":"\\\\"'.repeat(200_000)}`,
  ])
    assert.equal(readHookEvent('claude', null, input), null, input.slice(0, 60))
  assert.ok(performance.now() - began < 5_000)
})

test('fields of wrong types count as left out', () => {
  const odd = {
    notification_type: { toString: 1 },
    tool_name: 5,
    cwd: 'relative',
    permission_mode: ['x'],
    agent_id: {},
  }
  for (const name of [
    'Notification',
    'PermissionRequest',
    'PreToolUse',
    'Stop',
    'StopFailure',
    '__proto__',
    'toString',
  ]) {
    const read = event({ ...odd, hook_event_name: name, prompt: 7, background_tasks: 'many', tool_input: 'none' })
    assert.equal(read.folder, null)
    assert.equal(read.subagent, null)
    assert.equal(read.background, 0)
  }
})

test('what a dialog asks is one line without what steers a terminal', () => {
  const read = event({
    hook_event_name: 'PermissionRequest',
    tool_name: 'Bash',
    tool_input: { command: 'echo \u001b[31mred\n\u202erm -rf /' },
  })
  assert.equal(read.what, 'permission prompt: Bash: echo [31mred rm -rf /')
})

test('a held message and a question say what they are', () => {
  const held = event({
    hook_event_name: 'Notification',
    notification_type: 'permission_prompt',
    message: 'A message from another session needs your approval',
  })
  assert.deepEqual(
    [held.kind, held.what],
    ['asking', 'held message: A message from another session needs your approval'],
  )
  const question = event({
    hook_event_name: 'PreToolUse',
    tool_name: 'AskUserQuestion',
    tool_input: { questions: [{ question: 'Which database?' }] },
  })
  assert.deepEqual([question.kind, question.what], ['asking', 'question: Which database?'])
})

test('a report is read as it was left, and anything planted beside it is none', () => {
  const left = report({ hook_event_name: 'UserPromptSubmit', prompt: 'S2 wake 0123456789ab' })
  assert.deepEqual(readHookReport(JSON.stringify(left)), left)
  const facts = {
    process: { pid: 77, startTicks: '123', namespace: 'pid:[4026531836]' },
    sharesProcess: true,
    pane: { socket: '/tmp/tmux-1/default', id: '%3' },
    inboxSocket: '/tmp/cc-socks/77.sock',
    version: '2.1.332',
    session: 'conv_0123456789abcdef/b' as const,
  }
  assert.deepEqual(readHookReport(JSON.stringify({ ...left, facts })), { ...left, facts })
  for (const planted of ['', '{}', '[]', JSON.stringify({ ...left, at: 'now' }), JSON.stringify({ ...left, event: 7 })])
    assert.equal(readHookReport(planted), null)
  const odd = { process: { pid: -1, startTicks: {} }, pane: { socket: 5, id: '%x' }, version: 7, session: '../..' }
  assert.deepEqual(readHookReport(JSON.stringify({ ...left, facts: odd }))?.facts, {
    process: null,
    sharesProcess: false,
    pane: null,
    inboxSocket: null,
    version: null,
    session: null,
  })
})

test('clients that call things otherwise are read too', () => {
  const opencode = { type: 'permission.asked', sessionID: 'ses_one', permission: 'bash', client_version: '1.18.33' }
  const read = readHookEvent('opencode', null, JSON.stringify(opencode))
  assert.deepEqual(
    [read?.name, read?.id, read?.version, read?.what],
    ['permission.asked', 'ses_one', '1.18.33', 'permission prompt: bash'],
  )
  assert.equal(readHookEvent('claude', 'Stop', '{"session_id": "one"}')?.name, 'Stop')
  const both = { hook_event_name: 'Stop', type: 'other', session_id: 'one', sessionID: 'two', version: '2' }
  const first = readHookEvent('claude', 'Start', JSON.stringify({ ...both, client_version: '1' }))
  assert.deepEqual([first?.name, first?.id, first?.version], ['Stop', 'one', '2'])
})

test('a dialog says with what a tool is to be used, the command before a file, an address or a description', () => {
  const asked = (input: object): string | null =>
    event({ hook_event_name: 'PermissionRequest', tool_name: 'Tool', tool_input: input }).what
  const all = { command: 'make', file_path: '/a', url: 'https://example.org', description: 'it builds' }
  const { command: _, ...noCommand } = all
  const { file_path: __, ...noFile } = noCommand
  assert.deepEqual([all, noCommand, noFile, { description: 'it builds' }, {}].map(asked), [
    'permission prompt: Tool: make',
    'permission prompt: Tool: /a',
    'permission prompt: Tool: https://example.org',
    'permission prompt: Tool: it builds',
    'permission prompt: Tool',
  ])
  assert.equal(event({ hook_event_name: 'PermissionRequest' }).what, 'it asks something')
  const question = { hook_event_name: 'PermissionRequest', tool_name: 'AskUserQuestion', tool_input: { questions: [] } }
  assert.equal(event(question).what, 'question: it asks something')
})

test('a failure says what the client said of it, in the words that it has', () => {
  const failed = (fields: object): string | null => event({ hook_event_name: 'StopFailure', ...fields }).what
  const all = { last_assistant_message: 'the last words', message: 'a message', error: 'rate_limit' }
  const { last_assistant_message: _, ...noWords } = all
  assert.deepEqual([all, noWords, { error: 'rate_limit' }, {}].map(failed), [
    'the last words',
    'a message',
    'rate_limit',
    null,
  ])
  assert.equal(event({ hook_event_name: 'StopFailure' }).failure, 'unknown')
})

test('what runs in the background is counted, whatever it is', () => {
  assert.equal(event({ hook_event_name: 'Stop', background_tasks: [1, 2], session_crons: [3] }).background, 3)
})

test('a path is as long as the system lets one be', () => {
  const path = (length: number): string => `/${'x'.repeat(length - 1)}`
  assert.equal(event({ hook_event_name: 'Stop', cwd: path(4_096) }).folder, path(4_096))
  assert.equal(event({ hook_event_name: 'Stop', cwd: path(4_097) }).folder, null)
})
