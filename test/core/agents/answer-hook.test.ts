import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
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
    ended: null,
  }
  await new HeldTasks(state).put({ ...held, task: 'task-8', by: { client: 'claude', id: 'another' } })
  assert.equal((await answerHook(state, STOP, null, NOW)).text, '')
  await new HeldTasks(state).put({ ...held, ended: '0000000000000001-0123456789abcdef' })
  assert.equal((await answerHook(state, STOP, null, NOW)).text, '', 'nobody is held for what was ended')
  await new HeldTasks(state).put(held)
  const first = await answerHook(state, STOP, null, NOW)
  assert.match(first.text, /task task-7 is accepted and not ended/)
  assert.ok(!first.text.includes('task-8'))
  assert.equal((await answerHook(state, STOP, null, NOW)).isBlocked, false)
  await new HeldTasks(state).put({ ...held, epoch: 4, lost: 'moved' })
  assert.equal((await answerHook(state, STOP, null, NOW)).isBlocked, false)
})

test('mail is told of at a start, a prompt, the end of a tool and of a turn, and to no subagent or other event', async () => {
  const state = await newState()
  await new Inbox(state).put(letter(1))
  const told: string[] = []
  const names = ['PreToolUse', 'Notification', 'SessionEnd', 'SessionStart', 'UserPromptSubmit', 'PostToolUse', 'Stop']
  for (const hook_event_name of names) {
    // each of them by a session of its own, which was told nothing
    const heard = event({ hook_event_name, session_id: hook_event_name, prompt: 'go' })
    if ((await answerHook(state, heard, null, NOW)).text !== '') told.push(hook_event_name)
    assert.equal((await answerHook(state, { ...heard, id: 'sub', subagent: 'sub-1' }, null, NOW)).text, '')
  }
  assert.deepEqual(told, ['SessionStart', 'UserPromptSubmit', 'PostToolUse', 'Stop'])
})

test('who has neither mail nor a task is told nothing, save who it is, and nothing is written for that', async () => {
  const state = await newState()
  assert.equal((await answerHook(state, STOP, null, NOW)).text, '')
  assert.equal((await answerHook(state, event({ hook_event_name: 'UserPromptSubmit' }), null, NOW)).text, '')
  assert.ok(!existsSync(join(state, 'agents', 'told')))
  assert.match((await answerHook(state, START, null, NOW)).text, /works as agent/)
})

test('what is told is held back where the disk takes no note of it', async () => {
  const state = await newState()
  await new Inbox(state).put(letter(1))
  mkdirSync(join(state, 'agents'), { mode: 0o700 })
  writeFileSync(join(state, 'agents', 'told'), '')
  await assert.rejects(answerHook(state, STOP, null, NOW))
})
