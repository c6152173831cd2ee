import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { answerHook } from '#agents/answer-hook.ts'
import { publishCredential } from '#spool/credentials.ts'
import { HeldTasks } from '#spool/held-tasks.ts'
import { Inbox } from '#spool/inbox.ts'
import { credential, letter, READER } from '../spool/sample.ts'
import { event } from './reports.ts'

const base = mkdtempSync(join(tmpdir(), 's2-answer-'))
after(() => rmSync(base, { recursive: true, force: true }))
let states = 0

async function newState(): Promise<string> {
  states += 1
  const state = join(base, String(states))
  mkdirSync(state, { mode: 0o700 })
  await new Inbox(state).recover()
  await publishCredential(state, credential())
  return state
}

const START = event({ hook_event_name: 'SessionStart' })
const STOP = event({ hook_event_name: 'Stop' })
const NOW = 1_750_000_000_000

test('a session is told which agent it is by the only credential of its host', async () => {
  const state = await newState()
  await new Inbox(state).put(letter(1))
  const { text } = await answerHook(state, START, null, NOW)
  assert.match(text, /works as agent \S+ \(role \S+\) of an S2 fleet\. 1 message waits for this agent/)
  assert.ok(!text.includes(credential().token))
})

test('of several sessions on a host each counts its own mail', async () => {
  const state = await newState()
  const other = 'conv_ffffffffffffffff/b' as const
  await publishCredential(state, { ...credential(), session: other })
  await new Inbox(state).put(letter(1))
  assert.equal((await answerHook(state, STOP, other, NOW)).text, '')
  assert.equal((await answerHook(state, STOP, READER, NOW)).isBlocked, true)
})

test('a task that this session took holds its turn once; one that another took does not', async () => {
  const state = await newState()
  const held = {
    session: READER,
    task: 'task-7',
    epoch: 3,
    incarnation: 'life',
    by: { client: 'claude', id: 'one' },
    process: null,
    place: null,
    takenAt: NOW,
    work: 0,
    lost: null,
  }
  await new HeldTasks(state).put({ ...held, task: 'task-8', by: { client: 'claude', id: 'another' } })
  assert.equal((await answerHook(state, STOP, null, NOW)).text, '')
  await new HeldTasks(state).put(held)
  const first = await answerHook(state, STOP, null, NOW)
  assert.match(first.text, /task task-7 is accepted and not ended/)
  assert.ok(!first.text.includes('task-8'))
  assert.equal((await answerHook(state, STOP, null, NOW)).isBlocked, false)
  await new HeldTasks(state).put({ ...held, epoch: 4, lost: 'moved' })
  assert.equal((await answerHook(state, STOP, null, NOW)).isBlocked, false)
})
