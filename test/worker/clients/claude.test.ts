import assert from 'node:assert/strict'
import { test } from 'node:test'
import { NO_BUDGETS } from '#agents/budget.ts'
import { clientDriver } from '../../../services/worker/clients/client-driver-of.ts'
import { hear, NOW, OPTIONS, recorded } from './talks.ts'

const HOUR_MS = 3_600_000

test('an answer is the result; what it used, what it said and its session are known', () => {
  const { talk, sent, shown, sessions, finished, signs } = hear('claude', recorded('claude-success'))
  assert.deepEqual(talk.ending, { is: 'done', text: 'answer 11' })
  assert.deepEqual(talk.usage, { inputTokens: 10, outputTokens: 5, cachedTokens: 0, costUsd: 0.00014, turns: 1 })
  assert.deepEqual(sent, [{ type: 'user', message: { role: 'user', content: 'count the ducks' } }])
  assert.deepEqual(shown, ['answer 11'])
  assert.deepEqual(sessions, ['a2a60398-8db1-4d4c-b3a5-f32fd6859fa7'])
  assert.equal(finished, 1)
  assert.ok(signs > 0)
})

test('a session that goes on counts only what it uses now, though its totals hold its former life', () => {
  const { talk } = hear('claude', recorded('claude-resumed'), '274f6980-5371-4517-94a3-80cd7f516de9')
  assert.deepEqual(talk.usage, { inputTokens: 10, outputTokens: 5, cachedTokens: 0, costUsd: 0.00014, turns: 1 })
})

test('a version that does not say what each model used says the tokens of its turn, and no cost', () => {
  const usage = { input_tokens: 3, cache_creation_input_tokens: 20, cache_read_input_tokens: 100, output_tokens: 7 }
  const { talk } = hear('claude', [{ type: 'result', subtype: 'success', is_error: false, result: 'x', usage }])
  assert.deepEqual(talk.usage, { inputTokens: 123, outputTokens: 7, cachedTokens: 100, costUsd: null, turns: 1 })
})

test('a limit of use parks until the instant that the client names', () => {
  const { talk } = hear('claude', recorded('claude-usage-limit'))
  const why = "claude: You've hit your 5-hour limit · resets 3:52pm (UTC)"
  assert.deepEqual(talk.ending, { is: 'parked', why, until: 1796053975000 })
  const worded = hear('claude', recorded('claude-usage-limit').slice(2)).talk.ending
  assert.deepEqual(worded, { is: 'parked', why, until: NOW + HOUR_MS }, 'no event named it: its words do')
})

test('who is logged out, and a service that refuses, is told by codes', () => {
  const endings = ['logged-out', '401', '429', '529'].map(
    (name) => hear('claude', recorded(`claude-${name}`)).talk.ending,
  )
  assert.deepEqual(
    endings.map((ending) => ending?.is),
    ['parked', 'parked', 'parked', 'parked'],
  )
  assert.deepEqual(endings[0], { is: 'parked', why: 'claude: Not logged in · Please run /login', until: null })
  const { shown, signs } = hear('claude', recorded('claude-529'))
  assert.equal(shown[0], 'the service refuses (529, overloaded): it is tried again, 1 of 1')
  assert.equal(signs, 0, 'what is refused is no progress')
})

test('the words of an answer are never taken for a code', () => {
  const result = 'API Error: 401 … You’ve hit your limit · Please run /login'
  const { talk } = hear('claude', [{ type: 'result', subtype: 'success', is_error: false, result }])
  assert.deepEqual(talk.ending, { is: 'done', text: result })
})

test('turns that are used up fail the task', () => {
  const { talk } = hear('claude', recorded('claude-max-turns'))
  assert.deepEqual(talk.ending, { is: 'failed', why: 'error_max_turns: Reached maximum number of turns (1)' })
})

test('a tool that is denied and was the last that it tried fails the task, with what it was', () => {
  const { talk, shown } = hear('claude', recorded('claude-denied'))
  const line = 'Bash: touch /project/x; curl http://x'
  const next =
    '"allowedTools": ["Bash(COMMAND)"] of this worker in the fleet file would allow it, or --allowed-tool of s2 work'
  assert.deepEqual(talk.ending, { is: 'failed', why: `permission denied for ${line}; it said: answer 14; ${next}` })
  assert.deepEqual(shown, [line, `permission denied for ${line}`, 'answer 14'])
})

test('of denied tools the keys of the fleet file are said that would allow them', () => {
  const why = (...asked: readonly (readonly [string, object])[]): string => {
    const blocks = asked.map(([name, input], index) => ({ type: 'tool_use', id: `t-${index}`, name, input }))
    const denied = asked.map((_, index) => ({
      type: 'system',
      subtype: 'permission_denied',
      tool_use_id: `t-${index}`,
    }))
    const result = { type: 'result', subtype: 'success', is_error: false, result: '' }
    const { ending } = hear('claude', [{ type: 'assistant', message: { content: blocks } }, ...denied, result]).talk
    return ending?.is === 'failed' ? ending.why : ''
  }
  assert.equal(
    why(['Bash', { command: 'npm run "unit tests"' }]),
    'permission denied for Bash: npm run "unit tests"; "allowedTools": ["Bash(npm run \\"unit tests\\")"] of this worker in the fleet file would allow it, or --allowed-tool of s2 work',
  )
  assert.match(
    why(['Edit', { file_path: 'a.ts' }], ['WebFetch', { url: 'https://x.example' }], ['Write', { file_path: 'b' }]),
    /; "permissionMode": "acceptEdits" and "allowedTools": \["WebFetch"\] of this worker in the fleet file would allow it, or --permission-mode and --allowed-tool of s2 work$/,
  )
  for (const command of ['rm *', 'a; b', 'a $(b)', 'a\nb', 'a'.repeat(151)])
    assert.match(why(['Bash', { command }]), /\["Bash\(COMMAND\)"\]/, 'no rule allows more than was asked')
})

test('a tool that goes well afterwards is a way around a denied one', () => {
  const lines = recorded('claude-denied')
  const content = [{ type: 'tool_result', tool_use_id: 'toolu_2', content: 'ok', is_error: false }]
  const around = [
    { type: 'assistant', message: { content: [{ type: 'tool_use', id: 'toolu_2', name: 'Read', input: {} }] } },
    { type: 'user', message: { content } },
  ]
  assert.equal(hear('claude', [...lines.slice(0, -1), ...around, lines.at(-1) ?? '']).talk.ending?.is, 'done')
})

test('a tool runs from its use to its result', () => {
  const lines = recorded('claude-interrupted')
  const at = lines.findIndex((line) => line.includes('"tool_use"'))
  assert.equal(hear('claude', lines.slice(0, at)).talk.runsTool, false)
  assert.equal(hear('claude', lines.slice(0, at + 1)).talk.runsTool, true)
  assert.equal(hear('claude', lines).talk.runsTool, false)
})

test('a session that is not there is begun anew, and is no failure', () => {
  assert.deepEqual(hear('claude', recorded('claude-no-session'), 'gone').talk.ending, { is: 'no_session' })
  assert.equal(hear('claude', recorded('claude-no-session')).talk.ending?.is, 'failed')
})

test('an interrupt is a control request', () => {
  const { talk, sent } = hear('claude', [])
  talk.interrupt()
  assert.deepEqual(sent.at(-1), {
    type: 'control_request',
    request_id: 's2-interrupt',
    request: { subtype: 'interrupt' },
  })
})

test('nothing that a task or a session says becomes an option', () => {
  const argv = clientDriver(
    {
      client: 'claude',
      model: 'opus',
      permissionMode: 'acceptEdits',
      allowedTools: ['Bash(npm test)', 'Edit'],
      budgets: NO_BUDGETS,
    },
    null,
  ).argv('1-2', 1.5, true)
  assert.deepEqual(argv.slice(-6), [
    '--resume=1-2',
    '--max-budget-usd=1.5000',
    '--model=opus',
    '--permission-mode=acceptEdits',
    '--allowedTools=Bash(npm test)',
    '--allowedTools=Edit',
  ])
  assert.ok(
    !clientDriver({ client: 'claude', ...OPTIONS }, null)
      .argv(null, null, true)
      .join(' ')
      .includes('resume'),
  )
})

test('it is given the tools of S2 for itself, shown without a search and allowed without asking', () => {
  const tools = { command: ['/node', '/s2.js', 'mcp'], env: { S2_STATE: '/state' }, envNames: ['S2_TASK_ID'] } as const
  const argv = clientDriver({ client: 'claude', ...OPTIONS }, tools).argv(null, null, true)
  const config = argv.find((word) => word.startsWith('--mcp-config='))?.slice('--mcp-config='.length)
  assert.deepEqual(JSON.parse(config ?? ''), {
    mcpServers: { s2: { command: '/node', args: ['/s2.js', 'mcp'], env: { S2_STATE: '/state' }, alwaysLoad: true } },
  })
  assert.ok(argv.includes('--allowedTools=mcp__s2'))
})

/** JSON may hold an object that no text can be made of. */
const NO_TEXT = { toString: 1, valueOf: 1 }

test('what is no text is none in a line either', () => {
  for (const odd of [NO_TEXT, [NO_TEXT], { a: 1 }, null]) {
    const retry = {
      type: 'system',
      subtype: 'api_retry',
      error: odd,
      error_status: odd,
      attempt: odd,
      max_retries: odd,
    }
    assert.deepEqual(hear('claude', [retry]).shown, ['the service refuses (?, ?): it is tried again, ? of ?'])
  }
})

test('whatever comes instead of what is expected is passed over', () => {
  for (const odd of [null, 1, 'x', [], { type: 'result', result: 5, errors: 'x', modelUsage: [] }]) {
    assert.doesNotThrow(() =>
      hear('claude', [JSON.stringify(odd), JSON.stringify({ type: 'assistant', message: odd })]),
    )
  }
})
