/** An agent that is lost and comes back again and again is one incident. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Incident } from '#fleet/incident.ts'
import { CONFIG, Stage, Supervisor } from './stage.ts'

const { silentAfterMs: SILENT } = CONFIG
const SECOND = 1_000
const MINUTE = 60_000
const HOUR = 60 * MINUTE

/** The agent is lost, and heard again, so often: each time takes four minutes. */
async function flap(stage: Stage, agent: string, times: number): Promise<void> {
  for (let n = 0; n < times; n += 1) {
    stage.silence(agent)
    await stage.run(SILENT + 30 * SECOND)
    stage.heal(agent)
    await stage.run(4 * MINUTE - SILENT - 30 * SECOND)
  }
}

async function ofKind(stage: Stage, kind: Incident['kind']): Promise<Incident[]> {
  return (await stage.store.incidents({ open: false })).filter((each) => each.kind === kind)
}

test('an agent that flaps for six hours is one incident that says how often, and its tasks are moved all the same', async () => {
  await using stage = await Stage.open(4)
  const watchdogs = [stage.watchdog(), stage.watchdog()]
  await stage.run(20 * SECOND)
  await flap(stage, 'w1', 3)
  const [incident] = await ofKind(stage, 'flapping')
  assert.equal(incident?.cause, 'flapping:w1')
  assert.match(incident?.summary ?? '', /^w1 on host-w1 was lost and came back 3 times within 1?[0-9]m: /)
  await stage.addTask('t1', 'w1')
  await flap(stage, 'w1', 87)
  assert.notEqual((await stage.holders()).t1, 'w1')
  assert.deepEqual(await stage.incidents(), ['-silent:w1', '-silent:w1', '-silent:w1', 'flapping:w1'])
  const told = watchdogs.flatMap(({ log }) => log.records).filter(({ event }) => event.startsWith('incident '))
  assert.equal(told.length, 8, 'of 180 losses and returns')
  assert.equal(told.filter(({ event }) => event === 'incident lasts').length, 1)
  await stage.run(20 * MINUTE)
  assert.deepEqual(await stage.open(), ['flapping:w1'])
  await stage.run(10 * MINUTE)
  assert.deepEqual(await stage.open(), [])
  const [over] = await ofKind(stage, 'flapping')
  assert.equal(over?.outcome, 'w1 has been heard without a gap for 30m; it was lost 90 times in all')
})

test('three losses within more than an hour are three incidents', async () => {
  await using stage = await Stage.open(4)
  stage.watchdog()
  await stage.run(20 * SECOND)
  for (let n = 0; n < 5; n += 1) {
    await flap(stage, 'w1', 1)
    await stage.run(30 * MINUTE)
  }
  assert.deepEqual(await stage.incidents(), Array(5).fill('-silent:w1'))
})

test('a watchdog that was restarted goes on counting by what the store holds', async () => {
  await using stage = await Stage.open(4)
  const first = stage.watchdog()
  await stage.run(20 * SECOND)
  await flap(stage, 'w1', 2)
  await first.stop()
  const second = stage.watchdog()
  await stage.run(10 * SECOND)
  await flap(stage, 'w1', 1)
  assert.deepEqual(await stage.open(), ['flapping:w1'])
  await flap(stage, 'w1', 2)
  await second.stop()
  stage.watchdog()
  await stage.run(10 * SECOND)
  await flap(stage, 'w1', 2)
  assert.deepEqual(await stage.incidents(), ['-silent:w1', '-silent:w1', '-silent:w1', 'flapping:w1'])
  await stage.run(31 * MINUTE)
  const [over] = await ofKind(stage, 'flapping')
  assert.equal(over?.outcome, 'w1 has been heard without a gap for 30m; it was lost at least 5 times in all')
})

test('deaths count too, and a watchdog that cannot see them does not end what they opened', async () => {
  await using stage = await Stage.open(4)
  const engine = new Supervisor()
  engine.set('w1', 'living')
  const seeing = stage.watchdog({ sources: [engine] })
  stage.watchdog()
  await stage.run(20 * SECOND)
  for (let n = 0; n < 30; n += 1) {
    engine.set('w1', 'ended')
    await stage.run(2 * MINUTE)
    stage.actor('w1').incarnation = `life ${n}`
    engine.set('w1', 'living')
    await stage.run(2 * MINUTE)
  }
  assert.deepEqual(await stage.incidents(), ['-gone:w1', '-gone:w1', '-gone:w1', 'flapping:w1'])
  await stage.run(30 * MINUTE)
  const [over] = await ofKind(stage, 'flapping')
  assert.equal(over?.outcome, 'w1 has been heard without a gap for 30m; it was lost 30 times in all')
  assert.deepEqual(seeing.errors, [])
})

test('an agent that flaps gets new work when it has been back for a full silence, and not before', async () => {
  await using stage = await Stage.open(2)
  stage.watchdog()
  await stage.run(20 * SECOND)
  await flap(stage, 'w1', 4)
  stage.silence('w1')
  await stage.run(SILENT + 10 * SECOND)
  stage.heal('w1')
  await stage.run(20 * SECOND)
  for (const id of ['t1', 't2', 't3']) await stage.addTask(id, null)
  await stage.run(5 * SECOND)
  assert.deepEqual(await stage.holders(), { t1: 'w2', t2: 'w2', t3: 'w2' })
  await stage.run(SILENT)
  await stage.addTask('t4', null)
  await stage.run(5 * SECOND)
  assert.equal((await stage.holders()).t4, 'w1')
})

test('what flaps and then dies is told of again when a person has ended the incident', async () => {
  await using stage = await Stage.open(3)
  stage.watchdog()
  await stage.run(20 * SECOND)
  await flap(stage, 'w1', 4)
  stage.silence('w1')
  await stage.run(HOUR)
  assert.deepEqual(await stage.open(), ['flapping:w1'])
  await stage.store.closeIncident('flapping:w1', [], 'flapping:w1 was closed by hand')
  await stage.run(2 * MINUTE)
  assert.deepEqual(await stage.open(), ['silent:w1'])
})

test('an agent that flaps and leaves the fleet flaps no more', async () => {
  await using stage = await Stage.open(3)
  stage.watchdog()
  await stage.run(20 * SECOND)
  await flap(stage, 'w1', 4)
  await stage.store.inviteWorker({ agent: 'w1', role: 'any', secretHash: 'x', endsAt: 0 })
  await stage.store.revokeWorker('w1')
  await stage.store.endConversation(stage.actor('w1').session.slice(0, -2))
  await stage.run(2 * MINUTE)
  assert.deepEqual(await stage.open(), [])
  assert.equal((await ofKind(stage, 'flapping'))[0]?.outcome, 'w1 was revoked')
})
