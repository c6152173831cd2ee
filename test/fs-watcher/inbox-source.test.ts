import assert from 'node:assert/strict'
import { test } from 'node:test'
import { recordingLog } from '#runtime/log.ts'
import { publishCredential } from '#spool/credentials.ts'
import { Inbox } from '#spool/inbox.ts'
import { InboxSource } from '../../services/fs-watcher/inbox-source.ts'
import { countFolderOpens } from '../core/spool/file-system-calls.ts'
import { credential, letter, READER, tempState } from '../core/spool/sample.ts'
import { ManualClock } from '../manual-clock.ts'

test('a thousand messages are read with a few looks into their folder, and hinted at once', async () => {
  using home = tempState()
  const inbox = new Inbox(home.state)
  await inbox.putAll(Array.from({ length: 1000 }, (_, index) => letter(index + 1)))
  const clock = new ManualClock()
  const abort = new AbortController()
  const hints: string[] = []
  let looked = Promise.withResolvers<void>()
  const source = new InboxSource({
    clock,
    log: recordingLog(),
    means: 'none',
    signal: abort.signal,
    inbox,
    state: home.state,
    pollMs: 1_000,
    onHint: (target) => hints.push(target),
    onLook: () => looked.resolve(),
    onTrouble: assert.fail,
  })
  using counted = countFolderOpens()
  const watching = source.watch()
  const both = await Promise.all([source.unread(READER), source.unread(READER), looked.promise])
  assert.deepEqual([both[0].length, both[1].length], [1000, 1000])
  assert.ok(counted.opens < 50, `${counted.opens} folders were opened`)
  assert.deepEqual(new Set(hints), new Set([READER]))
  const before = hints.length
  for (let looks = 0; looks < 8; looks += 1) {
    looked = Promise.withResolvers()
    await clock.advance(2_000)
    await looked.promise
  }
  assert.equal(hints.length, before, 'what is known is not hinted at again')
  await inbox.put(letter(1001))
  looked = Promise.withResolvers()
  await clock.advance(2_000)
  await looked.promise
  assert.equal(hints.length, before + 1)
  abort.abort()
  await watching
})

test('tasks that the mail assigns and takes away are told, each once', async () => {
  using home = tempState()
  const inbox = new Inbox(home.state)
  const told: string[] = []
  const source = new InboxSource({
    clock: new ManualClock(),
    log: recordingLog(),
    signal: new AbortController().signal,
    inbox,
    state: home.state,
    pollMs: 1_000,
    onHint: () => undefined,
    onTask: (to, { type, task, epoch }) => told.push(`${to} ${type} ${task} ${epoch}`),
    onLook: () => undefined,
    onTrouble: assert.fail,
  })
  const say = (fields: object): string => JSON.stringify({ task_id: 't-1', ...fields })
  await inbox.put({ ...letter(1), text: say({ type: 'task_assignment', epoch: 3, description: 'x' }) })
  await inbox.put({ ...letter(2), text: say({ type: 'status_update', status: 'done' }) })
  await source.unread(READER)
  await inbox.put({ ...letter(3), text: say({ type: 'task_revoked', epoch: 3, reason: 'cancelled' }) })
  await source.unread(READER)
  assert.deepEqual(told, [`${READER} task_assignment t-1 3`, `${READER} task_revoked t-1 3`])
})

test('an agent is known by its credential before any mail of it has come', async () => {
  using home = tempState()
  await publishCredential(home.state, credential({ session: READER, agent: 'w-1' }))
  const source = new InboxSource({
    clock: new ManualClock(),
    log: recordingLog(),
    signal: new AbortController().signal,
    inbox: new Inbox(home.state),
    state: home.state,
    pollMs: 1_000,
    onHint: () => undefined,
    onLook: () => undefined,
    onTrouble: assert.fail,
  })
  assert.equal(await source.targetOf(READER), 'w-1')
  assert.equal(await source.targetOf('conv_00000000000000ff/b'), 'conv_00000000000000ff/b')
})
