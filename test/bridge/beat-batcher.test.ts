import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Beat } from '#fleet/beat.ts'
import { S2Error } from '#fleet/errors.ts'
import { type SessionId, sessionId } from '#fleet/session-id.ts'
import { openMemoryStore } from '#store/memory/memory.ts'
import { BeatBatcher } from '../../services/bridge/beat-batcher.ts'
import { ManualClock, settle } from '../manual-clock.ts'

function beat(session: SessionId, host: string, seq: number): Beat {
  return { session, host, incarnation: host, seq, work: 0, place: host }
}

test('a host that is refused in a turn is told so, and the other hosts of that turn are heard', async () => {
  const store = openMemoryStore({ clock: new ManualClock() })
  const sessions: SessionId[] = []
  for (const agent of ['w1', 'w2']) {
    const agents = { a: 'orchestrator', b: agent }
    const opened = await store.openConversation({ roles: { a: 'o', b: 'tests' }, agents, lifetimeMs: 3_600_000 })
    sessions.push(sessionId(opened.id, 'b'))
  }
  const [contested, other] = sessions as [SessionId, SessionId]
  const batcher = new BeatBatcher(store)
  const told: string[] = []
  const host = (name: string) => ({
    onBeatTaken: (n: number) => told.push(`${name} ${n} taken`),
    onBeatFailed: (n: number, error: unknown) => told.push(`${name} ${n} ${(error as S2Error).code}`),
  })
  batcher.add(host('box-1'), 1, [beat(contested, 'box-1', 1)])
  batcher.add(host('box-2'), 1, [beat(contested, 'box-2', 1)])
  batcher.add(host('box-3'), 7, [beat(other, 'box-3', 1)])
  await settle()
  assert.deepEqual(told.sort(), ['box-1 1 taken', 'box-2 1 conflict', 'box-3 7 taken'])
  const { pulses } = await store.pulses(0)
  assert.deepEqual(pulses.map(({ host: name }) => name).sort(), ['box-1', 'box-3'])
})

test('what fails for all is not asked for again, one by one', async () => {
  let asked = 0
  const store = {
    beat: async () => {
      asked += 1
      throw new S2Error('unavailable', 'the disk is full')
    },
  }
  const batcher = new BeatBatcher(store)
  const failed: number[] = []
  const host = { onBeatTaken: () => assert.fail('taken'), onBeatFailed: (n: number) => failed.push(n) }
  for (const n of [1, 2, 3]) batcher.add(host, n, [])
  await settle()
  assert.deepEqual([failed, asked], [[1, 2, 3], 1])
})
