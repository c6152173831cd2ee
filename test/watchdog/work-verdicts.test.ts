/** What is found of an agent's work is shown in place of `alive`. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ClientObserver } from '#fleet/client-observer.ts'
import { Roster } from '#fleet/failure-detector.ts'
import { openMemoryStore } from '#store/memory/memory.ts'
import { WorkVerdicts } from '../../services/watchdog/work-verdicts.ts'
import { VerdictWriter } from '../../services/watchdog/write-verdicts.ts'
import { know } from '../core/fleet/know.ts'
import { MovableClock } from '../movable-clock.ts'
import { CONFIG } from './stage.ts'

test('sick, parked and stalled take the place of alive, and of nothing else, and are written at once', async () => {
  const clock = new MovableClock()
  const store = openMemoryStore({ clock })
  const fleet = new Roster(CONFIG)
  const clients = new ClientObserver()
  const names = ['w1', 'w2', 'w3', 'w4']
  know(
    fleet,
    names.map((name) => ({ name, role: 'any', sessions: [`conv_${name}/b`] as const })),
    clock.now(),
  )
  fleet.hear(
    names.map((name) => ({ session: `conv_${name}/b`, host: 'h', incarnation: 'one', seq: 1, work: 0, version: 1 })),
    clock.now(),
  )
  fleet.declareGone('w3', clock.now())
  const work = new WorkVerdicts()
  const writer = new VerdictWriter(CONFIG, {
    observation: { fleet, clients, revision: 0, roundAt: 0 },
    store,
    clock,
    work,
  })
  const shown = async () => {
    while (writer.isDue) await clock.sleep(await writer.step()) // it rests when a write took long
    const { verdicts } = await store.verdicts()
    return Object.fromEntries(verdicts.map(({ agent, verdict, why, until }) => [agent, [verdict, why, until]]))
  }
  const alive = ['alive', null, null]
  assert.deepEqual(await shown(), { w1: alive, w2: alive, w3: ['gone', null, null], w4: alive })
  assert.equal(writer.isDue, false)
  const until = clock.wall() + 60_000
  const secret = `no login\nAuthorization: Bearer ${'Zq7Rm2Kx9T'.repeat(4)}`
  work.replace(
    new Map([
      ['w1', { verdict: 'parked', why: 'usage limit', until }],
      ['w2', { verdict: 'sick', why: secret, until: null, since: 7 }],
      ['w3', { verdict: 'sick', why: 'folder /srv/x does not exist', until: null }],
    ]),
  )
  assert.equal(writer.isDue, true)
  const { w1, w2, w3, w4 } = await shown()
  assert.deepEqual([w1, w3, w4], [['parked', 'usage limit', until], ['gone', null, null], alive])
  assert.match(String(w2), /^sick,no login Authorization: /)
  assert.doesNotMatch(String(w2), /Zq7R|\n/)
  assert.equal((await store.verdicts()).verdicts.find(({ agent }) => agent === 'w2')?.since, 7)
  work.replace(new Map())
  assert.deepEqual((await shown()).w1, alive)
})

test('the same verdicts again are no change', () => {
  const work = new WorkVerdicts()
  const one = { verdict: 'sick', why: 'x', until: null } as const
  work.replace(new Map([['w1', one]]))
  work.replace(new Map([['w1', { ...one }]]))
  assert.equal(work.revision, 1)
  work.replace(new Map([['w1', { ...one, until: 5 }]]))
  assert.equal(work.revision, 2)
})
