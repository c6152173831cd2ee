import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import type { ClientSession } from '#agents/client-session.ts'
import { publishClientSession } from '#agents/client-sessions-folder.ts'
import { whatIsUnseen } from '../../../services/cli/client-hooks/what-is-unseen.ts'
import { sampleSession } from '../../core/agents/sample-session.ts'
import { standInClient } from '../../core/agents/stand-in-client.ts'
import { run } from '../run-command.ts'

const base = mkdtempSync(join(tmpdir(), 's2-unseen-'))
after(() => rmSync(base, { recursive: true, force: true }))

const TRANSCRIPT = { transcript: '/home/ann/.claude/projects/-work/one.jsonl' }
const FILES: Partial<ClientSession> = { ...TRANSCRIPT, unseen: ['files'] }

test('hooks status and wake-test say what keepalive cannot see, and what to set', async (t) => {
  const state = join(base, 'state')
  await publishClientSession(state, sampleSession({ ...FILES, process: standInClient(t) }))
  const env = { S2_STATE: state, HOME: base, PATH: '/nonexistent' }
  const status = await run(['hooks', 'status', '--agent', 'claude'], { env })
  const trial = await run(['wake-test', '--agent', 'claude', '--only', 'tmux', '--yes'], { env })
  for (const { err } of [status, trial]) {
    assert.match(err, /s2-keepalive cannot look into \/home\/ann\/\.claude: /)
    assert.match(err, /next: sudo systemctl edit s2-keepalive, with the lines \[Service\] and ProtectHome=read-only/)
    assert.doesNotMatch(err, /another user/)
  }
  const codex = await run(['hooks', 'status', '--agent', 'codex'], { env })
  assert.doesNotMatch(codex.err, /cannot look/)
  await publishClientSession(state, sampleSession({ ...TRANSCRIPT, process: standInClient(t) }))
  assert.doesNotMatch((await run(['hooks', 'status', '--agent', 'claude'], { env })).err, /cannot look/)
})

test('a folder that several sessions share is named once; nothing can be set where it is another user’s', () => {
  const sessions = ['one-one-one', 'two-two-two'].map((id) =>
    sampleSession({ ...FILES, id, unseen: ['files', 'process'] }),
  )
  const told = whatIsUnseen(sessions, false)
  assert.equal(told.length, 2)
  assert.match(told[0]?.next ?? '', /another user.*AGENT=name/)
  assert.match(told[1]?.what ?? '', /process of claude one-one-one, claude two-two-two/)
  assert.match(told[1]?.next ?? '', /ProtectProc=default/)
  assert.deepEqual(whatIsUnseen([sampleSession(TRANSCRIPT)], true), [])
})
