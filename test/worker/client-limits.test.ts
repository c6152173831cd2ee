import assert from 'node:assert/strict'
import { test } from 'node:test'
import { clientKindOf, limitIn } from '../../services/worker/client-limits.ts'

test('the client of a command line is known by its program or its package', () => {
  assert.equal(clientKindOf(['claude']), 'claude')
  assert.equal(clientKindOf(['cd', '/opt/bin/claude']), 'claude')
  assert.equal(clientKindOf(['npx', '@anthropic-ai/claude-code@2.1.197']), 'claude')
  assert.equal(clientKindOf(['timeout', '1h', 'codex']), 'codex')
  assert.equal(clientKindOf(['npx', '@openai/codex']), 'codex')
  for (const program of ['sh', './agent', 'claude-wrapper', 'my-codex', '', '/', '@'])
    assert.equal(clientKindOf([program]), null)
})

/** Lines of real clients, and what they say. */
const CLAUDE: readonly (readonly [line: string, said: string])[] = [
  ["You've hit your session limit · resets 8:47pm (UTC)", "You've hit your session limit · resets 8:47pm (UTC)"],
  [
    "You've hit your weekly limit · resets Dec 3, 8:47pm (UTC)",
    "You've hit your weekly limit · resets Dec 3, 8:47pm (UTC)",
  ],
  ["You've hit your limit · resets 1pm (Europe/Lisbon)", "You've hit your limit · resets 1pm (Europe/Lisbon)"],
  ['Claude AI usage limit reached|1760000400', 'Claude AI usage limit reached|1760000400'],
  ['⎿ 5-hour limit reached ∙ resets 18:00', '5-hour limit reached ∙ resets 18:00'],
  [
    'Claude usage limit reached. Your limit will reset at 3pm',
    'Claude usage limit reached. Your limit will reset at 3pm',
  ],
  ['Not logged in · Please run /login', 'Not logged in · Please run /login'],
  ['Invalid API key · Fix external API key', 'Invalid API key · Fix external API key'],
  ['Credit balance is too low', 'Credit balance is too low'],
  [
    'Failed to authenticate. API Error: 401 OAuth token has expired. Please obtain a new token.',
    'Failed to authenticate. API Error: 401 OAuth token has expired. Please obtain a new token.',
  ],
  ['API Error: 401 {"type":"error","error":{}} · Please run /login', 'API Error: 401 {'],
  [
    'Your account does not have access to Claude. Please login again.',
    'Your account does not have access to Claude. Please login again.',
  ],
  ['API Error: Request rejected (429) · made up', 'Request rejected (429) · made up'],
  ['API Error: 529 Overloaded. This is a server-side issue', 'API Error: 529 Overloaded. This is a server-side issue'],
  [
    `{"type":"result","subtype":"success","is_error":true,"result":"You've hit your session limit · resets 8:48pm (UTC)","stop_reason":"x"}`,
    "You've hit your session limit · resets 8:48pm (UTC)",
  ],
]
const CODEX: readonly (readonly [line: string, said: string])[] = [
  [
    'ERROR: You’ve hit your usage limit. Visit https://x/y or try again at 8:48 PM.',
    'You’ve hit your usage limit. Visit https://x/y or try again at 8:48 PM.',
  ],
  ["■ You've hit your usage limit. Try again later.", "You've hit your usage limit. Try again later."],
  [
    '{"type":"turn.failed","error":{"message":"You’ve hit your usage limit. Try again later."}}',
    'You’ve hit your usage limit. Try again later.',
  ],
  [
    'ERROR: unexpected status 401 Unauthorized: Incorrect API key',
    'unexpected status 401 Unauthorized: Incorrect API key',
  ],
  [
    'Failed to refresh token: 401 Unauthorized: Please try again',
    'Failed to refresh token: 401 Unauthorized: Please try again',
  ],
  [
    'ERROR: exceeded retry limit, last status: 429 Too Many Requests',
    'exceeded retry limit, last status: 429 Too Many Requests',
  ],
  [
    'ERROR: Quota exceeded. Check your plan and billing details.',
    'Quota exceeded. Check your plan and billing details.',
  ],
]

test('what a client says of a limit, of its login or of its service is found in its last lines', () => {
  for (const [line, said] of CLAUDE) assert.equal(limitIn('claude', ['Reading files', line]), said)
  for (const [line, said] of CODEX) assert.equal(limitIn('codex', ['warning: x', line, 'tokens used']), said)
})

test('what it says is cut between characters', () => {
  for (const end of ['', '.']) {
    const said = limitIn('claude', [`You've hit your limit${end} ${'😀'.repeat(200)}`]) ?? ''
    assert.deepEqual([said.isWellFormed(), said.length >= 199 && said.length <= 200], [true, true])
  }
})

test('a task that speaks of limits is no client that reached one', () => {
  const lines = [
    'I changed the banner that says "You’ve hit your usage limit".',
    "AssertionError: expected 'usage limit reached' to be shown",
    'not ok 3 - Please run /login is told to whoever is logged out',
    '  src/limits.ts:12  usage limit reached',
    'the test server answered 401 Unauthorized, as it should not',
    '{"type":"result","subtype":"error_max_turns","result":"The docs of the usage limit are done"}',
    'FAIL  API Error: 401 is not handled',
  ]
  for (const line of lines) {
    assert.equal(limitIn('claude', [line]), null, line)
    assert.equal(limitIn('codex', [line]), null, line)
  }
})
