import assert from 'node:assert/strict'
import { test } from 'node:test'
import { LookPace } from '../../services/cred-sync/look-pace.ts'

const POLL_MS = 60_000

function scene({ hasCredential = true, pollMs = POLL_MS, chance = 1 } = {}): LookPace {
  return new LookPace({ pollMs, chance: () => chance, hasCredential: async () => hasCredential })
}

test('a host with a credential that counts looks at each poll, and hosts started together drift apart', async () => {
  assert.equal(await scene().after('unchanged'), POLL_MS)
  assert.equal(await scene().after('published'), POLL_MS)
  assert.equal(await scene({ chance: 0 }).after('unchanged'), 0.9 * POLL_MS)
})

test('a host whose credential has ended, or that has none, looks often: no hint reaches it', async () => {
  for (const outcome of ['unchanged', 'refused'] as const)
    assert.equal(await scene({ hasCredential: false }).after(outcome), 10_000)
  assert.equal(await scene({ hasCredential: false, pollMs: 500 }).after('unchanged'), 500)
})

test('a hint that came before what it tells of is followed once more, and no oftener', async () => {
  const pace = scene()
  pace.noteHint()
  assert.equal(await pace.after('unchanged'), 2_000)
  assert.equal(await pace.after('unchanged'), POLL_MS)
  pace.noteHint()
  assert.equal(await pace.after('refused'), 2_000)
  pace.noteHint()
  assert.equal(await pace.after('published'), POLL_MS)
})

test('a look that waits for the remote goes on soon, and the hint that began it is not used up', async () => {
  const pace = scene()
  pace.noteHint()
  assert.equal(await pace.after('waiting'), 5_000)
  assert.equal(await pace.after('unchanged'), 2_000)
  assert.equal(await scene({ pollMs: 500 }).after('waiting'), 500)
})
