/** Graces that follow each other so closely that no verdict can be passed are told of. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Machine } from '../simulation/clock.ts'
import { CONFIG, Stage } from './stage.ts'

const { silentAfterMs: SILENT } = CONFIG
const SECOND = 1_000
const MINUTE = 60_000

async function graces(stage: Stage): Promise<{ summary: string; outcome: string | null; isOpen: boolean }[]> {
  const all = await stage.store.incidents({ open: false })
  return all
    .filter(({ kind }) => kind === 'graces')
    .map(({ summary, outcome, closedAt }) => ({ summary, outcome, isOpen: closedAt === null }))
}

test('a clock that is stepped every 45 s is told of after ten minutes, once, and that it is over when a silence passes', async () => {
  await using stage = await Stage.open(4)
  const watchdog = stage.watchdog()
  await stage.run(20 * SECOND)
  stage.silence('w1')
  for (let n = 0; n < 12; n += 1) {
    stage.machine.stepWall(n % 2 === 0 ? 20_000 : -20_000)
    await stage.run(45 * SECOND)
  }
  assert.deepEqual(await graces(stage), [], 'nine minutes')
  for (let n = 0; n < 80; n += 1) {
    stage.machine.stepWall(n % 2 === 0 ? 20_000 : -20_000)
    await stage.run(45 * SECOND)
  }
  assert.deepEqual(watchdog.convicted, [])
  const [told, ...more] = await graces(stage)
  assert.deepEqual([told?.isOpen, more], [true, []])
  assert.match(
    told?.summary ?? '',
    /^the watchdog could judge nobody for 10m: it began to wait anew 1[34] times, as the clock was stepped 1[34] times; let one program .*clock/,
  )
  await stage.run(20 * SECOND)
  const [over] = await graces(stage)
  assert.equal(over?.outcome, 'the watchdog judges again: it saw a full silence (1m) without a gap')
  assert.deepEqual([watchdog.convicted, await stage.open()], [['w1'], ['silent:w1']])
})

test('a watchdog that stands still for 17 s again and again says so, and what to do', async () => {
  await using stage = await Stage.open(4)
  const watchdog = stage.watchdog()
  await stage.run(20 * SECOND)
  for (let n = 0; n < 16; n += 1) {
    watchdog.life.stop()
    await stage.run(17 * SECOND)
    watchdog.life.goOn()
    await stage.run(25 * SECOND)
  }
  const [told] = await graces(stage)
  assert.match(told?.summary ?? '', /, as the watchdog stood still 1[45] times; its machine is overloaded/)
})

test('pauses between which a full silence passes are no repeated grace', async () => {
  await using stage = await Stage.open(4)
  const watchdog = stage.watchdog()
  await stage.run(20 * SECOND)
  for (let n = 0; n < 20; n += 1) {
    watchdog.life.stop()
    await stage.run(17 * SECOND)
    watchdog.life.goOn()
    await stage.run(SILENT + 2 * SECOND)
  }
  assert.deepEqual(await graces(stage), [])
})

test('long pauses count from when they began: what lies within them was not seen', async () => {
  await using stage = await Stage.open(4)
  const watchdog = stage.watchdog()
  await stage.run(20 * SECOND)
  for (let n = 0; n < 10; n += 1) {
    watchdog.life.stop()
    await stage.run(70 * SECOND)
    watchdog.life.goOn()
    await stage.run(30 * SECOND)
  }
  assert.equal((await graces(stage)).length, 1)
})

test('one long pause is no repeated grace, nor is a bridge that is away for long', async () => {
  await using stage = await Stage.open(4)
  const watchdog = stage.watchdog()
  await stage.run(20 * SECOND)
  watchdog.life.stop()
  await stage.run(30 * MINUTE)
  watchdog.life.goOn()
  await stage.run(2 * MINUTE)
  stage.collects = false
  await stage.run(30 * MINUTE)
  stage.collects = true
  await stage.run(2 * MINUTE)
  assert.deepEqual(await graces(stage), [])
})

test('a bridge that stops collecting again and again is named', async () => {
  await using stage = await Stage.open(4)
  stage.watchdog()
  await stage.run(20 * SECOND)
  for (let n = 0; n < 20; n += 1) {
    stage.collects = false
    await stage.run(20 * SECOND)
    stage.collects = true
    await stage.run(20 * SECOND)
  }
  const [told] = await graces(stage)
  assert.match(told?.summary ?? '', /, as beats were not collected 1[456] times; see s2 health bridge/)
})

test('of two watchdogs one has the trouble: it is told once, and that the other judges', async () => {
  await using stage = await Stage.open(4)
  const sick = new Machine('sick', stage.machine.timeline)
  stage.watchdog()
  stage.watchdog({ machine: sick })
  await stage.run(20 * SECOND)
  for (let n = 0; n < 80; n += 1) {
    sick.stepWall(n % 2 === 0 ? 20_000 : -20_000)
    await stage.run(45 * SECOND)
  }
  const all = await graces(stage)
  assert.deepEqual(
    all.map(({ isOpen }) => isOpen),
    [false],
  )
})
