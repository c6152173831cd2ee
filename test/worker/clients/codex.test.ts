import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hear, NOW, recorded } from './talks.ts'

test('a turn that is completed is the result; its words, thread and tokens are known', () => {
  const { talk, sent, shown, sessions, finished } = hear('codex', recorded('codex-success'))
  assert.deepEqual(talk.ending, { is: 'done', text: 'answer 5' })
  assert.deepEqual(talk.usage, { inputTokens: 10, outputTokens: 5, cachedTokens: 0, costUsd: null, turns: 1 })
  assert.deepEqual(
    sent.map((message) => (message as { method: string }).method),
    ['initialize', 'initialized', 'thread/start', 'turn/start'],
  )
  assert.deepEqual((sent[2] as { params: unknown }).params, { cwd: '/project', approvalPolicy: 'never' })
  assert.deepEqual(shown, ['answer 5'])
  assert.deepEqual(sessions, ['01a22cef-1146-79c1-9887-3fa4e00f570e'])
  assert.equal(finished, 1)
})

test('a command that it runs is shown, and runs until its end', () => {
  const lines = recorded('codex-shell')
  const { talk, shown } = hear('codex', lines)
  assert.deepEqual(shown, ["shell: /bin/bash -lc 'echo hi'", 'answer 7'])
  assert.deepEqual(talk.usage, { inputTokens: 20, outputTokens: 10, cachedTokens: 0, costUsd: null, turns: 1 })
  const began = lines.findIndex((line) => line.includes('"commandExecution"'))
  assert.equal(hear('codex', lines.slice(0, began + 1)).talk.runsTool, true)
  assert.equal(talk.runsTool, false)
})

test('a thread that goes on counts only what it uses now', () => {
  const [total, last] = [
    { inputTokens: 110, cachedInputTokens: 50, outputTokens: 25 },
    { inputTokens: 10, cachedInputTokens: 5, outputTokens: 5 },
  ]
  const lines = recorded('codex-success').map((line) => JSON.parse(line) as { method?: string })
  const told = lines.map((line) =>
    line.method === 'thread/tokenUsage/updated' ? { ...line, params: { tokenUsage: { total, last } } } : line,
  )
  const { talk, sent } = hear('codex', told, '01a22cef-1146-79c1-9887-3fa4e00f570e')
  assert.deepEqual(talk.usage, { inputTokens: 10, outputTokens: 5, cachedTokens: 5, costUsd: null, turns: 1 })
  assert.equal((sent[2] as { method: string }).method, 'thread/resume')
})

test('a limit of use, a login that has ended and a busy service park', () => {
  const endings = ['usage-limit', '401', '529'].map((name) => hear('codex', recorded(`codex-${name}`)).talk.ending)
  assert.deepEqual(
    endings.map((ending) => ending?.is),
    ['parked', 'parked', 'parked'],
  )
  assert.equal(endings[0]?.is === 'parked' && endings[0].until, NOW + 59 * 60_000, 'try again at 3:51 PM')
  const { shown } = hear('codex', recorded('codex-529'))
  assert.equal(shown[0], 'Reconnecting... 1/5')
})

test('windows of use that are full say when they begin anew', () => {
  const resetsAt = NOW / 1000 + 7_200
  const limits = {
    method: 'account/rateLimits/updated',
    params: { rateLimits: { primary: { usedPercent: 100, resetsAt }, secondary: { usedPercent: 40, resetsAt: 1 } } },
  }
  const ending = hear('codex', [limits, ...recorded('codex-usage-limit')]).talk.ending
  assert.equal(ending?.is === 'parked' && ending.until, resetsAt * 1000)
})

test('a thread that is not there is begun anew, and is no failure', () => {
  const [first = ''] = recorded('codex-success')
  const refused = { id: 2, error: { code: -32600, message: 'no rollout found for thread id x' } }
  assert.deepEqual(hear('codex', [first, refused], 'x').talk.ending, { is: 'no_session' })
  assert.equal(hear('codex', [first, refused]).talk.ending?.is, 'sick')
})

test('an answer to nothing that was asked is passed over, whatever its id is', () => {
  for (const id of [{ toString: 1, valueOf: 1 }, [1], '1', null, true])
    assert.equal(hear('codex', [{ id, error: { message: 'no' } }]).talk.ending, null, JSON.stringify(id))
})

test('an interrupt names the turn, and what it asks a person for is declined', () => {
  const lines = recorded('codex-interrupted')
  const { talk, sent } = hear('codex', lines.slice(0, 6))
  talk.interrupt()
  assert.equal((sent.at(-1) as { method: string }).method, 'turn/interrupt')
  talk.hear({ id: 9, method: 'item/commandExecution/requestApproval', params: {} })
  assert.deepEqual(sent.at(-1), { id: 9, result: { decision: 'decline' } })
  talk.hear({ id: 10, method: 'item/tool/requestUserInput', params: {} })
  assert.deepEqual((sent.at(-1) as { error: { code: number } }).error.code, -32_601)
})

test('a declined command that was the last that it tried fails the task, and one that goes well after it does not', () => {
  const lines = recorded('codex-shell')
  const item = (status: string) => ({
    method: 'item/completed',
    params: {
      threadId: '01a22cef-13cb-75b3-968d-fa9a505d30f6',
      item: { type: 'commandExecution', id: 'x', command: 'rm x', status },
    },
  })
  const end = lines.at(-1) ?? ''
  const denied = hear('codex', [...lines.slice(0, -1), item('declined'), end]).talk.ending
  assert.deepEqual(denied, {
    is: 'failed',
    why: 'permission denied for shell: rm x; it said: answer 7; "permissionMode" of this worker in the fleet file, or --permission-mode of s2 work, says what it may do: read-only, workspace-write or danger-full-access (now as Codex is set)',
  })
  const around = hear('codex', [...lines.slice(0, -1), item('declined'), item('completed'), end]).talk.ending
  assert.equal(around?.is, 'done')
})

test('it is given the tools of S2 for its thread, unless its settings name an address for them', () => {
  const tools = { command: ['/node', '/s2.js', 'mcp'], env: { S2_STATE: '/state' }, envNames: ['S2_TASK_ID'] } as const
  const server = { command: '/node', args: ['/s2.js', 'mcp'], env: { S2_STATE: '/state' }, env_vars: ['S2_TASK_ID'] }
  const configOf = (answer: object): unknown => {
    const { sent } = hear(
      'codex',
      [
        { id: 1, result: {} },
        { id: 2, ...answer },
      ],
      null,
      tools,
    )
    assert.deepEqual((sent[2] as { method: string; params: object }).params, { cwd: '/project' })
    const { method, params } = sent[3] as { method: string; params: { config?: object } }
    assert.equal(method, 'thread/start')
    return params.config
  }
  assert.deepEqual(configOf({ result: { config: { mcp_servers: { other: {} } } } }), { 'mcp_servers.s2': server })
  assert.deepEqual(configOf({ result: { config: {} } }), { 'mcp_servers.s2': server })
  const own = { command: 's2', args: ['mcp'], url: null }
  assert.deepEqual(configOf({ result: { config: { mcp_servers: { s2: own } } } }), { 'mcp_servers.s2': server })
  assert.equal(configOf({ result: { config: { mcp_servers: { s2: { url: 'http://localhost' } } } } }), undefined)
  assert.equal(configOf({ error: { code: -32601, message: 'unknown' } }), undefined)
})
