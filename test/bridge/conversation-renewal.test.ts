/** Agents of the Python bridge in conversations that S2 made, which have S2's lifetime. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sessionId } from '#fleet/session-id.ts'
import { ConversationRenewal } from '../../services/bridge/conversation-renewal.ts'
import { Ground, noPython } from '../core/store/sqlite-ground.ts'
import { MovableClock } from '../movable-clock.ts'

const LIFETIME_MS = 6 * 3_600_000

test('a conversation of S2 lives while an agent of the Python bridge does; that bridge’s own keep its lifetime', {
  skip: noPython,
}, async () => {
  const clock = new MovableClock()
  const pass = (ms: number): void => {
    clock.pass(ms)
    clock.elapse(ms)
  }
  await using ground = await Ground.make({ clock })
  const store = await ground.open()
  const python = await ground.startPython()
  const open = (agent: string) =>
    store.openConversation({
      roles: { a: 'orchestrator', b: 'tests' },
      agents: { a: 'orchestrator', b: agent },
      lifetimeMs: LIFETIME_MS,
    })
  const [lively, quiet] = [await open('lively'), await open('quiet')]
  const theirs = await python.call('create_conversation', { my_role: 'orchestrator', partner_role: 'docs' })
  const renewals = new ConversationRenewal(LIFETIME_MS, { store, clock, log: ground.log })
  const ends = async () => new Map((await store.conversations()).map(({ id, expiresAt }) => [id, expiresAt]))
  const before = await ends()
  await renewals.round()
  /** Both agents write a heartbeat, which the bridge's upkeep takes in. */
  const beatByPython = async (): Promise<void> => {
    const sessions = [
      { conversation_id: lively.id, session_id: 'b', token: lively.tokens.b },
      { conversation_id: theirs.conversation_id, session_id: 'b', token: theirs.b },
    ]
    for (const session of sessions) await python.call('update_my_status', { ...session, status: 'working' })
    pass(1_000)
    await store.tend()
  }
  await beatByPython()
  pass(2 * 3_600_000)
  await renewals.round()
  assert.deepEqual(await ends(), before, 'they were heard long ago, and there is time yet')
  pass(45 * 60_000) // 15 min before the end of the Python bridge's, with less than half of ours left after that
  await beatByPython()
  await renewals.round()
  const id = String(theirs.conversation_id)
  assert.equal((await ends()).get(id), before.get(id))
  pass(20 * 60_000)
  await beatByPython()
  await renewals.round()
  const now = await ends()
  assert.equal(now.has(id), false, 'it has ended')
  assert.ok((now.get(lively.id) ?? 0) > lively.expiresAt + 3_600_000)
  assert.equal(now.get(quiet.id), quiet.expiresAt)
  assert.equal((await store.tokens(sessionId(lively.id, 'b'))).length, 1)
})
