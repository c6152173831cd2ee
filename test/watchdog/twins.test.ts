/** Two lives of one worker, one of which the store refuses: one incident, opened once and closed once. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TWINS_OVER_MS } from '#fleet/twin-detector.ts'
import { BEAT, CONFIG, Stage, type Watchdog } from './stage.ts'

const MINUTE = 60_000
const { roundMs: ROUND } = CONFIG

/** One life of a worker, on a host of its own; its beats are sent by `play`. */
class Life {
  readonly host: string
  readonly place: string
  beats = true
  #seq = 0

  constructor(host: string, place = host) {
    this.host = host
    this.place = place
  }

  async beat(stage: Stage, agent: string): Promise<void> {
    if (!this.beats) return
    this.#seq += 1
    const { session } = stage.actor(agent)
    const beat = { session, host: this.host, incarnation: this.place, seq: this.#seq, work: 0, place: this.place }
    await stage.store.beat([beat]).catch(() => undefined)
  }
}

/** Lets these lives beat for `w1` in its own place. */
async function play(stage: Stage, lives: readonly Life[], ms: number): Promise<void> {
  stage.silence('w1')
  for (let past = 0; past < ms; past += BEAT) {
    for (const life of lives) await life.beat(stage, 'w1')
    await stage.run(BEAT)
  }
}

async function open(): Promise<{ stage: Stage; watchdog: Watchdog }> {
  const stage = await Stage.open(4)
  stage.silence('w1')
  const watchdog = stage.watchdog()
  await stage.run(CONFIG.lateAfterMs)
  return { stage, watchdog }
}

async function twins(stage: Stage) {
  return (await stage.store.incidents({ open: false })).filter(({ kind }) => kind === 'twins')
}

test('two lives are one incident with both hosts, which opens at once, and closes when nobody was refused for ten minutes', async () => {
  const { stage, watchdog } = await open()
  await using _stage = stage
  const [first, second] = [new Life('box-1'), new Life('box-2')]
  await play(stage, [first], MINUTE)
  await play(stage, [first, second], 3 * BEAT)
  const [incident] = await twins(stage)
  assert.match(
    incident?.summary ?? '',
    /^w1 runs on box-1 and box-2 with the same keys, and box-2 was told to stand aside/,
  )
  assert.match(
    incident?.summary ?? '',
    /stop one of them, or let it join under a name of its own \(s2 worker invite\)$/,
  )
  await play(stage, [first, second], 60 * MINUTE)
  assert.equal((await twins(stage)).length, 1)
  assert.equal((await stage.open()).includes('twins:w1'), true)

  second.beats = false
  stage.machine.stepWall(-3 * 60 * MINUTE) // the wall clock says nothing
  await play(stage, [first], TWINS_OVER_MS - MINUTE)
  assert.equal((await stage.open()).includes('twins:w1'), true)
  stage.machine.stepWall(3 * 60 * MINUTE)
  await play(stage, [first], 2 * MINUTE + ROUND)
  const [ended, ...more] = await twins(stage)
  assert.deepEqual([more.length, ended?.closedAt !== null], [0, true])
  assert.equal(ended?.outcome, 'w1 has run in one place only for 10m')
  await play(stage, [first], 30 * MINUTE)
  assert.equal((await twins(stage)).length, 1)
  assert.deepEqual(watchdog.convicted, [])
})

test('a machine that is cloned with its name is told as such', async () => {
  const { stage } = await open()
  await using _stage = stage
  await play(stage, [new Life('box', 'here'), new Life('box', 'there')], MINUTE)
  const [incident] = await twins(stage)
  assert.match(
    incident?.summary ?? '',
    /^w1 runs twice on box, or on two hosts of that name, with the same keys, and the later one/,
  )
})

test('a machine that was started again, and one that takes over from a dead one, are no twins', async () => {
  const { stage, watchdog } = await open()
  await using _stage = stage
  const lives = [new Life('box', 'start 1'), new Life('box', 'start 2'), new Life('box-2')]
  for (const life of lives) await play(stage, [life], 5 * MINUTE)
  assert.deepEqual(await twins(stage), [])
  assert.deepEqual(watchdog.convicted, [])
})

test('another watchdog, or the same one started again, goes on with that incident', async () => {
  const { stage, watchdog } = await open()
  await using _stage = stage
  const [first, second] = [new Life('box-1'), new Life('box-2')]
  await play(stage, [first, second], 5 * MINUTE)
  assert.equal((await twins(stage)).length, 1)
  await watchdog.stop()
  stage.watchdog()
  await play(stage, [first, second], 15 * MINUTE)
  second.beats = false
  await play(stage, [first], TWINS_OVER_MS - MINUTE)
  assert.deepEqual(
    (await twins(stage)).map(({ closedAt }) => closedAt),
    [null],
  )
  await play(stage, [first], 2 * MINUTE + ROUND)
  assert.equal((await twins(stage)).length, 1)
  assert.equal((await stage.open()).includes('twins:w1'), false)
})

test('a watchdog that begins after they were told apart says nothing of them', async () => {
  const stage = await Stage.open(4)
  await using _stage = stage
  const [first, second] = [new Life('box-1'), new Life('box-2')]
  await play(stage, [first, second], MINUTE)
  stage.watchdog()
  await play(stage, [first], 5 * MINUTE)
  assert.deepEqual(await twins(stage), [])
})
