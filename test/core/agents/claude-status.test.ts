import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after as afterAll, test } from 'node:test'
import { type ClaudeStatus, readClaudeStatus, withClaudeStatus } from '#agents/claude-status.ts'
import { after } from './reports.ts'

const home = mkdtempSync(join(tmpdir(), 's2-claude-'))
afterAll(() => rmSync(home, { recursive: true, force: true }))
const folder = join(home, '.claude/sessions')
mkdirSync(folder, { recursive: true })

const PROMPT = { hook_event_name: 'UserPromptSubmit', prompt: 'go' }
const SESSION = {
  ...after(PROMPT),
  process: { pid: 77, startTicks: '188177' },
  transcript: `${home}/.claude/projects/-work/one.jsonl`,
}

/** As Claude Code 2.1.332 writes it. */
const FILE = {
  pid: 77,
  sessionId: 'one',
  cwd: '/work',
  procStart: '188177',
  version: '2.1.332',
  messagingSocketPath: '/tmp/cc-socks/77.sock',
  status: 'waiting',
  statusUpdatedAt: 5_000,
  waitingFor: 'dialog open',
}

function status(fields: Partial<ClaudeStatus>): ClaudeStatus {
  return { status: 'idle', waitingFor: null, at: 5_000, version: null, inboxSocket: null, ...fields }
}

test('a dialog that no hook tells of is read off the file of the session', () => {
  writeFileSync(join(folder, '77.json'), JSON.stringify(FILE))
  const session = withClaudeStatus(SESSION, readClaudeStatus(SESSION))
  assert.deepEqual(session.activity, { state: 'waiting', what: 'dialog open', until: null })
  assert.deepEqual([session.since, session.version, session.inboxSocket], [5_000, '2.1.332', '/tmp/cc-socks/77.sock'])
  assert.equal(withClaudeStatus(session, readClaudeStatus(session)), session)
})

test('the file of another session, or of an earlier process with its number, says nothing', () => {
  for (const other of [
    { sessionId: 'two' },
    { procStart: '5' },
    { pid: 78 },
    { status: 'odd' },
    { statusUpdatedAt: 'x' },
  ]) {
    writeFileSync(join(folder, '77.json'), JSON.stringify({ ...FILE, ...other }))
    assert.equal(readClaudeStatus(SESSION), null)
  }
  for (const content of ['', '[]', 'x'.repeat(100_000)]) {
    writeFileSync(join(folder, '77.json'), content)
    assert.equal(readClaudeStatus(SESSION), null)
  }
  rmSync(join(folder, '77.json'))
  assert.equal(readClaudeStatus(SESSION), null)
  symlinkSync('/etc/passwd', join(folder, '77.json'))
  assert.equal(readClaudeStatus(SESSION), null)
  assert.equal(readClaudeStatus({ ...SESSION, process: null }), null)
  assert.equal(readClaudeStatus({ ...SESSION, transcript: null }), null)
})

test('an interrupted turn ends, an answered dialog goes on, and what a later hook told counts more', () => {
  assert.equal(withClaudeStatus(SESSION, status({})).activity.state, 'idle')
  const asks = after(PROMPT, { hook_event_name: 'PermissionRequest', tool_name: 'Bash' })
  assert.equal(withClaudeStatus(asks, status({ status: 'busy' })).activity.state, 'working')
  assert.equal(withClaudeStatus(asks, status({ status: 'waiting', waitingFor: 'permission prompt' })), asks)
  assert.equal(withClaudeStatus(asks, status({ at: 2_000 })), asks)
  const parked = after(PROMPT, { hook_event_name: 'StopFailure', error: 'rate_limit' })
  assert.equal(withClaudeStatus(parked, status({})), parked)
})
