import assert from 'node:assert/strict'
import { test } from 'node:test'
import { S2Error } from '#fleet/errors.ts'
import { Roster } from '#fleet/failure-detector.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { partnerOf } from '#fleet/session-id.ts'
import type { StoreTrouble } from '#fleet/store-trouble.ts'
import { findSingleLosses } from '../../services/watchdog/decide.ts'
import { FleetObservation } from '../../services/watchdog/fleet-observation.ts'
import { storeTrouble } from '../../services/watchdog/incident-texts.ts'
import { ReportedLosses } from '../../services/watchdog/reported-losses.ts'
import { statusLine } from '../../services/watchdog/watchdog.ts'
import { know } from '../core/fleet/know.ts'
import { Machine } from '../simulation/clock.ts'
import { BEAT, CONFIG, Stage, through } from './stage.ts'

const { silentAfterMs: SILENT, lateAfterMs: LATE, moveEveryMs: TURN } = CONFIG
const SECOND = 1_000
const MINUTE = 60_000

test('an agent that dies is convicted at its exact deadline, and its work is another’s in the same look', async () => {
  await using stage = await Stage.open(4, { w1: 'backend', w3: 'backend' })
  // so that deadlines do not happen to fall on one of its regular looks
  const watchdog = stage.watchdog({ config: { watchMs: 170 } })
  await stage.addTask('t1', 'w1')
  await stage.addTask('t2', 'w1')
  await stage.run(30 * SECOND)
  assert.deepEqual(await stage.verdicts(), { boss: 'alive', w1: 'alive', w2: 'alive', w3: 'alive', w4: 'alive' })
  stage.silence('w1')
  await stage.run(SILENT + 1)

  const [late, silent] = watchdog.changes
  assert.deepEqual([late?.agent, late?.to, silent?.to, watchdog.changes.length], ['w1', 'late', 'silent', 2])
  assert.equal(silent?.passedAt, silent?.at, 'not a millisecond late')
  const sinceBeat = (silent?.at ?? 0) - stage.actor('w1').lastBeatAt
  assert.ok(sinceBeat >= SILENT && sinceBeat <= SILENT + CONFIG.watchMs, `${sinceBeat} ms after the last beat`)
  assert.deepEqual(await stage.holders(), { t1: 'w3', t2: 'w3' }, 'the one of the same role')
  assert.equal(watchdog.moved, 2)
  const task = await stage.store.task('t1')
  assert.deepEqual(
    [task.epoch, task.priority, task.state, task.moves, task.originalAssignee],
    [2, 'P2', 'assigned', 1, stage.actor('w1').session],
  )
  assert.deepEqual(await stage.letters(stage.actor('w3').session), ['task_assignment t1', 'task_assignment t2'])
  assert.deepEqual(await stage.letters(partnerOf(stage.actor('w1').session)), ['task_moved t1', 'task_moved t2'])
  const acts = (await stage.store.audit(0, 1_000)).filter(({ action }) => action === 'task_moved')
  assert.equal(acts.length, 2)
  assert.deepEqual(await stage.open(), ['silent:w1'])
  assert.equal((await stage.verdicts()).w1, 'silent')
})

test('one cause, one incident, one alert, however long it lasts; and one more when it is over', async () => {
  await using stage = await Stage.open(4)
  const watchdog = stage.watchdog()
  await stage.run(10 * SECOND)
  stage.silence('w2')
  await stage.run(30 * MINUTE)
  assert.deepEqual(await stage.incidents(), ['silent:w2'])
  assert.equal(watchdog.said('incident opened').length, 1)
  stage.heal('w2')
  await stage.run(MINUTE)
  assert.deepEqual(await stage.incidents(), ['-silent:w2'])
  assert.equal(watchdog.said('incident opened').length, 1)
  assert.equal(watchdog.said('incident closed').length, 1)
  assert.equal((await stage.verdicts()).w2, 'alive')
})

test('an agent that returns is told what it lost, and its late result is refused', async () => {
  await using stage = await Stage.open(3)
  stage.watchdog()
  await stage.addTask('t1', 'w1')
  const { session } = stage.actor('w1')
  const leased = await stage.store.leaseTask(session, 'life')
  await stage.run(20 * SECOND)
  stage.silence('w1')
  await stage.run(2 * MINUTE)
  stage.heal('w1')
  await stage.run(MINUTE)
  assert.deepEqual((await stage.letters(session)).slice(-1), ['task_revoked t1'])
  const done = { task: 't1', epoch: leased?.epoch ?? 0, state: 'completed', progress: null, result: null } as const
  await assert.rejects(stage.store.report(session, done), { code: 'stale_epoch' })
  assert.equal((await stage.store.evidence('t1')).length, 1)
})

test('the work of one silent agent is moved in ten seconds, and of no more', async () => {
  await using stage = await Stage.open(9)
  const watchdog = stage.watchdog()
  for (const name of ['w1', 'w2', 'w3']) for (const n of [1, 2]) await stage.addTask(`${name}-${n}`, name)
  await stage.run(20 * SECOND)
  stage.silence('w1', 'w2', 'w3')
  const taken: (number | undefined)[] = []
  for (const [index, name] of ['w1', 'w2', 'w3'].entries()) {
    for (;;) {
      const holders = await stage.holders()
      assert.equal(holders[`${name}-1`] === name, holders[`${name}-2`] === name, 'all of one agent’s at once')
      if (holders[`${name}-1`] !== name) break
      await stage.run(100)
      assert.ok(stage.clock.now() < 10 * MINUTE, `${name} keeps its tasks for ever`)
    }
    taken[index] = stage.clock.now()
  }
  const [first = 0, second = 0, third = 0] = taken
  const deadline = watchdog.changes.find(({ to }) => to === 'silent')?.at ?? 0
  assert.ok(first - deadline <= SECOND, `${first - deadline} ms after the verdict`)
  for (const pause of [second - first, third - second])
    assert.ok(pause >= TURN - 100 && pause < TURN + SECOND, `${pause}`)
})

test('a restarted watchdog convicts nobody for a full silence, and repeats no alert', async () => {
  await using stage = await Stage.open(9)
  const first = stage.watchdog()
  await stage.addTask('t1', 'w1')
  await stage.addTask('t2', 'w2')
  await stage.run(20 * SECOND)
  stage.silence('w1')
  await stage.run(2 * MINUTE)
  assert.deepEqual(await stage.open(), ['silent:w1'])
  await first.stop()
  stage.silence('w2')
  await stage.run(30 * MINUTE) // by the times in the store w2 is long dead, and so is whoever was not looked at

  const second = stage.watchdog()
  await stage.run(SECOND)
  assert.equal((await stage.verdicts()).w1, 'late', 'it gets no work, but is not convicted on old evidence')
  await stage.run(SILENT - 2 * SECOND)
  assert.deepEqual(second.convicted, [])
  assert.equal(second.moved, 0)
  assert.deepEqual(await stage.open(), ['silent:w1'], 'what was open stays open')
  await stage.run(2 * SECOND)
  assert.deepEqual(second.convicted.sort(), ['w1', 'w2'])
  await stage.run(MINUTE)
  assert.deepEqual(await stage.open(), ['silent:w1', 'silent:w2'])
  assert.deepEqual(
    second.said('incident opened').map(({ fields }) => fields.cause),
    ['silent:w2'],
  )
  assert.notEqual((await stage.holders()).t2, 'w2')
})

test('beats from before a restart make nobody a successor', async () => {
  await using stage = await Stage.open(3)
  const first = stage.watchdog()
  await stage.run(20 * SECOND)
  await first.stop()
  stage.silence('w1', 'w2')
  await stage.run(MINUTE)
  stage.watchdog()
  for (const id of ['t1', 't2', 't3']) await stage.addTask(id, null)
  await stage.run(2 * BEAT)
  assert.deepEqual(await stage.holders(), { t1: 'w3', t2: 'w3', t3: 'w3' })
})

test('an agent that came back while no watchdog looked closes its incident with its next beat', async () => {
  await using stage = await Stage.open(3)
  const first = stage.watchdog()
  await stage.run(20 * SECOND)
  stage.silence('w1')
  await stage.run(2 * MINUTE)
  await first.stop()
  stage.heal('w1')
  await stage.run(MINUTE)
  stage.watchdog()
  await stage.run(2 * BEAT)
  assert.deepEqual(await stage.incidents(), ['-silent:w1'])
})

test('stopped for ten minutes, the watchdog convicts nobody for a full silence after it runs again', async () => {
  await using stage = await Stage.open(4)
  const watchdog = stage.watchdog()
  await stage.addTask('t1', 'w1')
  await stage.run(20 * SECOND)
  stage.silence('w1')
  await stage.run(50 * SECOND) // ten seconds short of its conviction
  watchdog.life.stop()
  await stage.run(10 * MINUTE)
  watchdog.life.goOn()
  await stage.run(SILENT - SECOND)
  assert.deepEqual(watchdog.convicted, [])
  assert.equal(watchdog.said('watchdog was paused: no verdicts until the grace ends').length, 1)
  await stage.run(2 * SECOND)
  assert.deepEqual(watchdog.convicted, ['w1'])
  assert.notEqual((await stage.holders()).t1, 'w1')
})

test('a short delay of the watchdog is no reason for grace', async () => {
  await using stage = await Stage.open(4)
  const watchdog = stage.watchdog()
  await stage.run(20 * SECOND)
  stage.silence('w1')
  for (let seconds = 0; seconds < 60; seconds += 10) {
    watchdog.life.stop()
    await stage.run(8 * SECOND)
    watchdog.life.goOn()
    await stage.run(2 * SECOND)
  }
  await stage.run(SECOND)
  assert.deepEqual(watchdog.convicted, ['w1'])
})

for (const shiftMs of [3_600_000, -3_600_000, 10 * 365 * 86_400_000]) {
  test(`a wall clock set by ${shiftMs} ms convicts nobody, and silence is found after a grace`, async () => {
    await using stage = await Stage.open(4)
    const watchdog = stage.watchdog()
    await stage.run(20 * SECOND)
    stage.silence('w1')
    await stage.run(30 * SECOND)
    stage.machine.stepWall(shiftMs)
    await stage.run(SILENT - SECOND)
    assert.deepEqual(watchdog.convicted, [])
    await stage.run(2 * SECOND)
    assert.deepEqual(watchdog.convicted, ['w1'])
    assert.deepEqual(watchdog.errors, [])
  })
}

test('a suspended watchdog, whose own clock stood still, convicts nobody for a full silence', async () => {
  await using stage = await Stage.open(4)
  const watchdog = stage.watchdog()
  await stage.run(20 * SECOND)
  stage.silence('w1')
  await stage.run(50 * SECOND)
  stage.machine.suspend()
  await stage.run(60 * MINUTE)
  stage.machine.resume()
  await stage.run(SILENT - SECOND)
  assert.deepEqual(watchdog.convicted, [])
  assert.equal(watchdog.said('watchdog was paused: no verdicts until the grace ends').length, 1)
  await stage.run(2 * SECOND)
  assert.deepEqual(watchdog.convicted, ['w1'])
})

test('a watchdog that wakes from a suspend moves nothing before it has seen who came back meanwhile', async () => {
  await using stage = await Stage.open(6)
  const sleeper = new Machine('sleeper', stage.machine.timeline)
  let isSlow = false
  const pulses = async (): Promise<void> => {
    if (isSlow) await stage.clock.sleep(14 * SECOND)
  }
  const watchdog = stage.watchdog({ machine: sleeper, store: through(stage.store, { pulses }) })
  await stage.addTask('t1', 'w1')
  await stage.addTask('t2', 'w2')
  await stage.run(20 * SECOND)
  stage.silence('w1', 'w2')
  for (let n = 0; watchdog.moved === 0 && n < 100; n += 1) await stage.run(SECOND)
  const [first, second] = (await stage.holders()).t1 === 'w1' ? ['t2', 't1'] : ['t1', 't2']
  isSlow = true
  sleeper.suspend() // the other one's work has its turn in ten seconds
  stage.heal('w1', 'w2')
  await stage.run(10 * MINUTE)
  sleeper.resume()
  await stage.run(MINUTE)
  isSlow = false
  await stage.run(MINUTE)
  assert.deepEqual([first, watchdog.moved], ['t1', 1])
  assert.equal((await stage.holders())[second], 'w2')
})

test('a watchdog that runs again closes no incident by what it saw before it was stopped', async () => {
  await using stage = await Stage.open(4)
  let isSlow = false
  const pulses = async (): Promise<void> => {
    if (isSlow) await stage.clock.sleep(2 * SECOND)
  }
  stage.watchdog()
  const stopped = stage.watchdog({ store: through(stage.store, { pulses }) })
  await stage.run(20 * SECOND)
  isSlow = true
  stopped.life.stop()
  stage.silence('w1')
  await stage.run(2 * MINUTE)
  assert.deepEqual(await stage.incidents(), ['silent:w1'])
  stopped.life.goOn()
  await stage.run(SECOND)
  isSlow = false
  await stage.run(10 * SECOND)
  assert.deepEqual(await stage.incidents(), ['silent:w1'])
})

test('nor does it open one', async () => {
  await using stage = await Stage.open(1)
  const config = { takeWithinMs: 30 * SECOND }
  let isSlow = false
  const pulses = async (): Promise<void> => {
    if (isSlow) await stage.clock.sleep(2 * SECOND)
  }
  stage.watchdog({ config })
  const stopped = stage.watchdog({ config, store: through(stage.store, { pulses }) })
  const { epoch } = await stage.addTask('t1', 'w1')
  await stage.run(MINUTE)
  assert.deepEqual(await stage.incidents(), ['task_not_taken:w1'])
  isSlow = true
  stopped.life.stop()
  const worker = stage.actor('w1')
  await stage.store.leaseTask(worker.session, worker.incarnation)
  await stage.store.report(worker.session, { task: 't1', epoch, state: 'completed', progress: null, result: null })
  worker.work += 1
  await stage.run(2 * MINUTE)
  await stage.addTask('t2', 'w1')
  stopped.life.goOn()
  await stage.run(SECOND)
  isSlow = false
  await stage.run(10 * SECOND)
  assert.deepEqual(await stage.incidents(), ['-task_not_taken:w1'])
})

test('what another watchdog has just given to an agent that is back is not taken from it on an old verdict', async () => {
  await using stage = await Stage.open(4)
  let isSlow = false
  const pulses = async (): Promise<void> => {
    if (isSlow) await stage.clock.sleep(3 * SECOND)
  }
  const watchdog = stage.watchdog({ store: through(stage.store, { pulses }) })
  await stage.run(20 * SECOND)
  stage.silence('w1')
  await stage.run(SILENT + 10 * SECOND)
  isSlow = true
  await stage.run(SECOND)
  stage.heal('w1')
  await stage.run(BEAT)
  await stage.addTask('t1', 'w1')
  await stage.run(MINUTE)
  isSlow = false
  await stage.run(10 * SECOND)
  assert.deepEqual([watchdog.convicted, watchdog.moved, await stage.holders()], [['w1'], 0, { t1: 'w1' }])
})

test('a task that came to its holder a moment before the verdict is moved with the verdict', async () => {
  await using stage = await Stage.open(4)
  const pulses = (): Promise<void> => stage.clock.sleep(1) // so that the tasks are read later than the beats
  let isGiven = false
  const tasks = async (): Promise<void> => {
    if (isGiven || watchdog.said('verdict passed').length === 0) return
    isGiven = true
    await stage.addTask('t1', 'w1')
  }
  const watchdog = stage.watchdog({ store: through(stage.store, { pulses, tasks }) })
  await stage.run(20 * SECOND)
  stage.silence('w1')
  while (!isGiven) await stage.run(1)
  await stage.run(5)
  const [verdict] = watchdog.changes.filter(({ to }) => to === 'silent')
  assert.equal(verdict?.agent, 'w1')
  assert.notEqual(
    (await stage.holders()).t1,
    'w1',
    `not moved ${stage.clock.now() - (verdict?.passedAt ?? 0)} ms after the verdict`,
  )
})

test('an agent that is back keeps what it was given while tasks were read, as beats read before that prove nothing', async () => {
  await using stage = await Stage.open(4)
  let [isReading, isBack] = [false, false]
  const tasks = async (): Promise<void> => {
    isReading = true
    await stage.clock.sleep(100)
    isReading = false
  }
  const returns = async (): Promise<void> => {
    await stage.clock.sleep(1)
    const { session, host, incarnation } = stage.actor('w1')
    await stage.store.beat([{ session, host, incarnation, seq: 1_000, work: 0 }])
    await stage.addTask('t1', 'w1')
  }
  const pulses = async (): Promise<void> => {
    if (isBack || !isReading || watchdog.convicted.length === 0) return
    isBack = true
    void returns()
  }
  const watchdog = stage.watchdog({ config: { watchMs: 170 }, store: through(stage.store, { pulses, tasks }) })
  await stage.run(20 * SECOND)
  stage.silence('w1')
  while (!isBack) await stage.run(SECOND)
  await stage.run(10 * SECOND)
  assert.deepEqual([watchdog.moved, await stage.holders()], [0, { t1: 'w1' }])
})

const MASSES = [
  { name: 'nine of nine', count: 8, dead: ['boss', 'w1', 'w2', 'w3', 'w4', 'w5', 'w6', 'w7', 'w8'] },
  { name: 'five of nine', count: 8, dead: ['w1', 'w2', 'w3', 'w4', 'w5'] },
  { name: 'two of three', count: 2, dead: ['w1', 'w2'] },
]
for (const { name, count, dead } of MASSES) {
  test(`mass silence, ${name}: nothing is moved, one incident says so, and closes when it is over`, async () => {
    await using stage = await Stage.open(count)
    const watchdog = stage.watchdog()
    await stage.addTask('t1', 'w1')
    await stage.addTask('t2', 'w2')
    await stage.run(20 * SECOND)
    stage.silence(...dead)
    await stage.run(30 * MINUTE)
    assert.equal(watchdog.convicted.length, dead.length, 'they are silent indeed')
    await stage.addTask('t3', null)
    await stage.run(MINUTE)
    assert.equal(watchdog.moved, 0)
    assert.deepEqual(await stage.holders(), { t1: 'w1', t2: 'w2', t3: null })
    assert.deepEqual(await stage.incidents(), ['mass_silence'])
    assert.equal(watchdog.said('incident opened').length, 1)
    stage.heal(...dead)
    await stage.run(MINUTE)
    assert.deepEqual(await stage.incidents(), ['-mass_silence'])
    assert.equal(watchdog.said('incident closed').length, 1)
    const { t3, ...held } = await stage.holders()
    assert.deepEqual(held, { t1: 'w1', t2: 'w2' })
    assert.notEqual(t3, null, 'it was dealt when the brake was off')
  })
}

test('when a mass silence is over, those still silent are single failures again', async () => {
  await using stage = await Stage.open(8)
  const watchdog = stage.watchdog()
  await stage.addTask('t1', 'w1')
  await stage.run(20 * SECOND)
  stage.silence('w1', 'w2', 'w3', 'w4', 'w5')
  await stage.run(5 * MINUTE)
  assert.equal(watchdog.moved, 0)
  stage.heal('w3', 'w4', 'w5')
  await stage.run(MINUTE)
  assert.deepEqual(await stage.incidents(), ['mass_silence'], 'they may come back as the others did')
  await stage.run(10 * SECOND)
  assert.deepEqual(await stage.incidents(), ['-mass_silence', 'silent:w1', 'silent:w2'])
  assert.notEqual((await stage.holders()).t1, 'w1')
})

test('four of nine are no mass silence', async () => {
  await using stage = await Stage.open(8)
  const watchdog = stage.watchdog()
  for (const name of ['w1', 'w2', 'w3', 'w4']) await stage.addTask(`of-${name}`, name)
  await stage.run(20 * SECOND)
  stage.silence('w1', 'w2', 'w3', 'w4')
  await stage.run(2 * MINUTE)
  assert.equal(watchdog.moved, 4)
  assert.deepEqual(await stage.open(), ['silent:w1', 'silent:w2', 'silent:w3', 'silent:w4'])
})

test('nobody collects beats: the watchdog is blind, says so, and convicts nobody for a full silence after', async () => {
  await using stage = await Stage.open(4)
  const watchdog = stage.watchdog()
  await stage.addTask('t1', 'w1')
  await stage.run(20 * SECOND)
  stage.collects = false
  stage.silence('boss', 'w1', 'w2', 'w3', 'w4')
  await stage.run(LATE + 2 * SECOND)
  assert.deepEqual(await stage.open(), ['blind'])
  await stage.run(30 * MINUTE)
  assert.deepEqual(watchdog.convicted, [])
  assert.deepEqual(await stage.incidents(), ['blind'])

  stage.collects = true
  stage.heal('boss', 'w2', 'w3', 'w4') // w1 died meanwhile
  await stage.run(2 * SECOND)
  assert.deepEqual(await stage.incidents(), ['-blind'])
  await stage.run(SILENT - 4 * SECOND)
  assert.deepEqual(watchdog.convicted, [])
  await stage.run(4 * SECOND)
  assert.deepEqual(watchdog.convicted, ['w1'])
  assert.notEqual((await stage.holders()).t1, 'w1')
})

test('a database that is locked is told within 15 s, nobody is silent for it, and no lease lapses', async () => {
  await using stage = await Stage.open(4)
  const ofMemory = stage.store.pulses.bind(stage.store)
  let trouble: StoreTrouble | null = null
  stage.store.pulses = async (after) => ({ ...(await ofMemory(after)), trouble })
  const lock = async (): Promise<void> => {
    if (trouble !== null) throw new S2Error('unavailable', 'the database is locked')
  }
  const store = through(stage.store, { claimAlerts: lock, judge: lock, openIncident: lock, move: lock })
  const watchdog = stage.watchdog({ store })
  await stage.addTask('t1', 'w1')
  await stage.store.leaseTask(stage.actor('w1').session, 'life')
  await stage.run(20 * SECOND)
  const told = (event: string): unknown[] => watchdog.said(event).map(({ fields }) => fields.text)
  assert.deepEqual(told('incident opened'), [])
  trouble = { kind: 'locked', message: 'it is locked by python3 (pid 8)', next: 'kill 8', since: 0 }
  stage.silence('w1', 'w2') // agents of the Python bridge, whose heartbeats wait for the lock
  await stage.run(15 * SECOND)
  const text =
    'S2 incident: it is locked by python3 (pid 8); no message and no task can be written, and no agent is judged; kill 8'
  assert.deepEqual(told('incident opened'), [text])
  await stage.run(10 * MINUTE)
  assert.deepEqual([watchdog.convicted, watchdog.moved, told('incident opened')], [[], 0, [text]])
  assert.ok(watchdog.looks.length > 100, 'its rounds go on')

  trouble = null
  stage.heal('w2')
  await stage.run(SILENT - SECOND)
  assert.deepEqual(told('incident closed'), ['S2 incident over: the database can be written to again, after 10m'])
  assert.deepEqual([watchdog.convicted, await stage.holders()], [[], { t1: 'w1' }])
  await stage.run(10 * SECOND)
  assert.deepEqual(watchdog.convicted, ['w1'])
})

test('a database that is locked and then full is told as that, and as written to again only when it is', async () => {
  await using stage = await Stage.open(2)
  const ofMemory = stage.store.pulses.bind(stage.store)
  let trouble: StoreTrouble | null = null
  stage.store.pulses = async (after) => ({ ...(await ofMemory(after)), trouble })
  const watchdog = stage.watchdog()
  const ends = (): unknown[] => watchdog.said('incident closed').map(({ fields }) => fields.text)
  trouble = { kind: 'locked', message: 'it is locked', next: 'unlock it', since: 0 }
  await stage.run(MINUTE)
  trouble = { kind: 'full', message: 'its disk is full', next: 'make room', since: 0 }
  await stage.run(MINUTE)
  const locked = 'S2 incident over: the database has another trouble, after 60s: its disk is full'
  assert.deepEqual(ends(), [locked])
  trouble = null
  await stage.run(MINUTE)
  assert.deepEqual(ends(), [locked, 'S2 incident over: the database can be written to again, after 60s'])
})

test('a watchdog that begins while nobody collects beats is blind, and one that sees again closes that', async () => {
  await using stage = await Stage.open(4)
  stage.collects = false
  stage.silence('boss', 'w1', 'w2', 'w3', 'w4')
  const first = stage.watchdog()
  await stage.run(5 * MINUTE)
  assert.deepEqual([first.convicted, await stage.open()], [[], ['blind']])
  await first.stop()
  const second = stage.watchdog()
  await stage.run(10 * SECOND)
  assert.deepEqual(await stage.incidents(), ['blind'], 'it knows no better')
  stage.collects = true
  stage.heal('boss', 'w1', 'w2', 'w3', 'w4')
  await stage.run(10 * SECOND)
  assert.deepEqual([second.convicted, await stage.incidents()], [[], ['-blind']])
})

test('two watchdogs on one store: each task is moved once, each incident opened once, each alert told once', async () => {
  await using stage = await Stage.open(8)
  const watchdogs = [stage.watchdog(), stage.watchdog()]
  const tasks = ['w1', 'w2', 'w3'].flatMap((name) => [1, 2, 3].map((n) => ({ id: `${name}-${n}`, name })))
  for (const { id, name } of tasks) await stage.addTask(id, name)
  await stage.run(20 * SECOND)
  stage.silence('w1', 'w2', 'w3')
  await stage.run(SILENT + 5 * SECOND)
  const movedSoon = (await stage.store.tasks({})).filter(({ moves }) => moves > 0)
  assert.equal(movedSoon.length, 3, 'together they move no faster than one')
  await stage.run(MINUTE)
  for (const task of await stage.store.tasks({})) assert.deepEqual([task.epoch, task.moves], [2, 1], task.id)
  assert.equal(
    watchdogs.reduce((sum, { moved }) => sum + moved, 0),
    tasks.length,
  )
  assert.deepEqual(await stage.incidents(), ['silent:w1', 'silent:w2', 'silent:w3'])
  stage.heal('w1', 'w2', 'w3')
  await stage.run(MINUTE)
  assert.deepEqual(await stage.incidents(), ['-silent:w1', '-silent:w2', '-silent:w3'])
  const told = watchdogs.flatMap(({ log }) => log.records).filter(({ event }) => event.startsWith('incident '))
  assert.equal(told.length, 6)
  assert.deepEqual(
    watchdogs.flatMap(({ errors }) => errors),
    [],
  )
})

test('no lease lapses while nobody collects beats, nor in its full time after', async () => {
  await using stage = await Stage.open(2)
  const watchdog = stage.watchdog()
  await stage.addTask('t1', 'w1')
  await stage.store.leaseTask(stage.actor('w1').session, 'life')
  await stage.run(20 * SECOND)
  stage.collects = false
  stage.silence('boss', 'w1', 'w2')
  await stage.run(10 * MINUTE)
  stage.collects = true
  stage.heal('boss', 'w1', 'w2')
  await stage.run(CONFIG.leaseMs - SECOND)
  assert.equal(watchdog.moved, 0)
  await stage.run(3 * SECOND)
  assert.equal(watchdog.moved, 1)
})

test('when the machine of both stood still, the watchdog does not take the bridge for gone at once', async () => {
  await using stage = await Stage.open(3)
  const watchdog = stage.watchdog()
  await stage.run(20 * SECOND)
  watchdog.life.stop()
  stage.collects = false
  await stage.run(10 * MINUTE)
  watchdog.life.goOn()
  await stage.run(3 * SECOND)
  stage.collects = true
  await stage.run(3 * SECOND)
  assert.deepEqual(await stage.incidents(), [])
})

test('a watchdog that did not see for a while does not close what another one opened meanwhile', async () => {
  await using stage = await Stage.open(4)
  const [first] = [stage.watchdog(), stage.watchdog()]
  await stage.run(20 * SECOND)
  stage.silence('w1')
  await stage.run(10 * SECOND)
  first.life.stop() // it thinks that w1 is alive
  await stage.run(2 * MINUTE)
  assert.deepEqual(await stage.incidents(), ['silent:w1'])
  first.life.goOn()
  await stage.run(5 * MINUTE)
  assert.deepEqual(await stage.incidents(), ['silent:w1'])
})

/** A verb of the store that is refused while the outage is on. */
function failingDuring(outage: { readonly isOn: boolean }): () => Promise<void> {
  return async () => {
    if (outage.isOn) throw new S2Error('unavailable', 'not now')
  }
}

test('an incident that could not be opened before its agent came back is not opened', async () => {
  await using stage = await Stage.open(4)
  const outage = { isOn: true }
  const store = through(stage.store, { openIncident: failingDuring(outage) })
  const watchdog = stage.watchdog({ store })
  await stage.run(20 * SECOND)
  stage.silence('w1')
  await stage.run(SILENT + 10 * SECOND)
  stage.heal('w1')
  await stage.run(2 * BEAT)
  outage.isOn = false
  await stage.run(MINUTE)
  assert.deepEqual([watchdog.convicted, await stage.incidents()], [['w1'], []])
})

test('a loss that could not be reported before the watchdog was paused is reported when it is found again', async () => {
  await using stage = await Stage.open(4)
  const outage = { isOn: true }
  const store = through(stage.store, { openIncident: failingDuring(outage) })
  const watchdog = stage.watchdog({ store })
  await stage.run(20 * SECOND)
  stage.silence('w1')
  await stage.run(SILENT + 5 * SECOND)
  watchdog.life.stop()
  outage.isOn = false
  await stage.run(MINUTE)
  watchdog.life.goOn()
  await stage.run(SILENT - SECOND)
  assert.deepEqual(await stage.incidents(), [], 'the grace has not ended')
  await stage.run(10 * SECOND)
  assert.deepEqual([watchdog.convicted, await stage.incidents()], [['w1', 'w1'], ['silent:w1']])
})

test('verdicts that could not be written down are written down soon', async () => {
  await using stage = await Stage.open(4)
  const outage = { isOn: false }
  const store = through(stage.store, { judge: failingDuring(outage) })
  stage.watchdog({ store })
  await stage.run(20 * SECOND)
  stage.silence('w1')
  outage.isOn = true
  await stage.run(SILENT + 5 * SECOND)
  outage.isOn = false
  await stage.run(5 * SECOND)
  assert.equal((await stage.verdicts()).w1, 'silent')
})

test('a disk that stalls once delays no verdict that is told after it', async () => {
  await using stage = await Stage.open(4)
  let stalls = false
  const judge = async (): Promise<void> => {
    if (stalls) await stage.clock.sleep(2 * SECOND)
    stalls = false
  }
  stage.watchdog({ store: through(stage.store, { judge }) })
  await stage.run(2 * MINUTE)
  stalls = true
  stage.silence('w1')
  await stage.run(SILENT + 5 * SECOND)
  assert.deepEqual([stalls, (await stage.verdicts()).w1], [false, 'silent'])
})

test('verdicts that take long to be written down, each time, are written down once a round', async () => {
  await using stage = await Stage.open(4)
  let told = 0
  const judge = async (): Promise<void> => {
    await stage.clock.sleep(2 * SECOND)
    told += 1
  }
  stage.watchdog({ store: through(stage.store, { judge }) })
  await stage.run(10 * MINUTE)
  assert.ok(told >= 9 && told <= 12, String(told))
})

test('verdicts are written down with each round though none changed: readers see that somebody watches', async () => {
  await using stage = await Stage.open(2)
  stage.watchdog()
  await stage.run(10 * MINUTE)
  const { at } = await stage.store.verdicts()
  assert.ok((at ?? 0) >= stage.clock.wall() - CONFIG.roundMs - SECOND)
})

test('in its first moments a watchdog does not call tasks stranded, though nobody is heard yet', async () => {
  await using stage = await Stage.open(2)
  await stage.addTask('t1', null)
  stage.watchdog()
  await stage.run(MINUTE)
  assert.deepEqual([await stage.incidents(), await stage.holders()], [[], { t1: 'w1' }])
})

test('a watchdog that was held up between deciding and doing does not act on it', async () => {
  await using stage = await Stage.open(4)
  let heldFrom = Number.POSITIVE_INFINITY
  const store = through(stage.store, {
    tasks: async () => {
      if (stage.clock.now() >= heldFrom) await stage.clock.sleep(5 * MINUTE)
    },
  })
  const watchdog = stage.watchdog({ store })
  await stage.addTask('t1', 'w1')
  await stage.run(20 * SECOND)
  stage.silence('w1')
  heldFrom = Math.ceil(stage.actor('w1').lastBeatAt / CONFIG.watchMs) * CONFIG.watchMs + SILENT // its deadline
  await stage.run(SILENT + SECOND)
  heldFrom = Number.POSITIVE_INFINITY
  stage.heal('w1')
  await stage.run(20 * MINUTE)
  assert.equal(watchdog.moved, 0)
  assert.deepEqual(watchdog.convicted, ['w1'])
  assert.deepEqual(await stage.holders(), { t1: 'w1' })
  assert.deepEqual(await stage.incidents(), [])
})

test('the store is away for long: people are told without it, nobody is judged, and a full silence passes after', async () => {
  await using stage = await Stage.open(4)
  let away = false
  const fail = async (): Promise<void> => {
    if (away) throw new S2Error('unavailable', 'the store is away')
  }
  const store = through(stage.store, { pulses: fail, tasks: fail, claimAlerts: fail, judge: fail })
  const watchdog = stage.watchdog({ store })
  await stage.run(20 * SECOND)
  away = true
  stage.silence('w1')
  await stage.run(10 * MINUTE)
  const told = (event: string): unknown[] => watchdog.said(event).map(({ fields }) => fields.cause)
  assert.deepEqual(told('incident opened'), ['store_away'])
  assert.ok(watchdog.errors.length > 10 && watchdog.errors.length < 1_000, `${watchdog.errors.length} tries`)
  away = false
  await stage.run(SILENT - SECOND)
  assert.deepEqual(told('incident closed'), ['store_away'])
  assert.deepEqual(watchdog.convicted, [])
  await stage.run(10 * SECOND)
  assert.deepEqual(watchdog.convicted, ['w1'])
})

test('health tells of a store that fails in plain words, with what to do and a time that a person reads', () => {
  const next = 'find the process that holds it (fuser /srv/bridge.db)'
  const locked = new S2Error('unavailable', 'the database /srv/bridge.db stayed locked for 5 s', { next })
  assert.equal(
    storeTrouble(locked, 76_288),
    'the database /srv/bridge.db stayed locked for 5 s, which has gone on for 76s; find the process that holds it (fuser /srv/bridge.db)',
  )
  assert.equal(
    storeTrouble(new RangeError('Invalid time value'), 312),
    'RangeError: Invalid time value, which has gone on for 0.3s',
    'a fault of the program is told by its name',
  )
})

test('a fault of the watchdog itself is told as that, and not as a store that is away', async () => {
  await using stage = await Stage.open(4)
  let isFaulty = false
  const fail = async (): Promise<void> => {
    if (isFaulty) throw new RangeError('Invalid time value')
  }
  const watchdog = stage.watchdog({ store: through(stage.store, { tasks: fail }) })
  await stage.run(20 * SECOND)
  isFaulty = true
  await stage.run(10 * MINUTE)
  const told = (event: string): unknown[] => watchdog.said(event).map(({ fields }) => fields.text)
  assert.deepEqual(told('incident opened'), [
    'S2 incident: the watchdog has failed at "look" for 15s (RangeError: Invalid time value): this is a fault of S2, and what it does there is not done; see its log, and report it',
  ])
  assert.deepEqual(
    [watchdog.said('store does not answer, retrying').length, watchdog.said('step failed, retrying').length],
    [0, 1],
  )
  isFaulty = false
  await stage.run(MINUTE)
  assert.deepEqual(told('incident closed'), ['S2 incident over: the watchdog does all its work again'])
})

test('errors of the store now and then cost no grace, and nothing that was decided is lost', async () => {
  await using stage = await Stage.open(4)
  let dice = 1
  let failures = 0
  const fail = async (): Promise<void> => {
    dice = (dice * 48_271) % 2_147_483_647
    if (dice % 5 !== 0) return
    failures += 1
    throw new S2Error(failures % 2 === 0 ? 'unavailable' : 'unknown_outcome', 'not this time')
  }
  const verbs = [
    'pulses',
    'tasks',
    'conversations',
    'incidents',
    'openIncident',
    'move',
    'judge',
    'claimAlerts',
  ] as const
  const store = through(stage.store, Object.fromEntries(verbs.map((verb) => [verb, fail])))
  const watchdog = stage.watchdog({ store })
  for (const id of ['t1', 't2', 't3', 't4', 't5']) await stage.addTask(id, 'w1')
  await stage.run(20 * SECOND)
  stage.silence('w1')
  await stage.run(SILENT + 5 * SECOND)
  assert.ok(failures > 20, `only ${failures} failures`)
  assert.deepEqual(watchdog.convicted, ['w1'])
  assert.equal(Object.values(await stage.holders()).includes('w1'), false)
  assert.deepEqual(await stage.incidents(), ['silent:w1'])
  for (const { moves } of await stage.store.tasks({})) assert.equal(moves, 1)
  assert.equal((await stage.verdicts()).w1, 'silent')
})

test('an unknown session that beats is welcomed at once, and gets work that waits for its role', async () => {
  await using stage = await Stage.open(2)
  stage.watchdog()
  await stage.run(20 * SECOND)
  const docs = await stage.join('docs', 'docs')
  await stage.addTask('t1', null, 'docs')
  await stage.run(BEAT)
  assert.equal((await stage.store.task('t1')).holder, docs.session)
  assert.equal((await stage.verdicts()).docs, 'alive')
})

test('a task that nobody holds is dealt within a second, keeps its priority, and counts no move', async () => {
  await using stage = await Stage.open(3, { w2: 'docs' })
  stage.watchdog()
  await stage.run(20 * SECOND)
  await stage.addTask('t1', null, 'docs')
  await stage.addTask('t2', null)
  await stage.run(SECOND + CONFIG.watchMs)
  assert.deepEqual(await stage.holders(), { t1: 'w2', t2: 'w1' })
  const { priority, moves } = await stage.store.task('t1')
  assert.deepEqual([priority, moves], ['P2', 0])
})

test('a task for a role that nobody has waits for it, and one incident says so; a role that stands in gets it at once', async () => {
  await using stage = await Stage.open(2)
  const watchdog = stage.watchdog()
  await stage.run(20 * SECOND)
  await stage.addTask('t1', null, 'docs')
  await stage.run(CONFIG.pendingAfterMs - SECOND)
  assert.deepEqual([await stage.holders(), await stage.incidents()], [{ t1: null }, []])
  await stage.run(3 * SECOND)
  assert.deepEqual(await stage.incidents(), ['task_stranded:docs'])
  const [{ summary } = { summary: '' }] = await stage.store.incidents({ open: true })
  assert.match(summary, /^no agent can take t1 for the role docs: no agent has this role; known are any;/)
  await watchdog.stop()
  stage.watchdog({ config: { fallback: new Map([['docs', ['any']]]) } })
  await stage.run(CONFIG.leaseMs + 20 * SECOND)
  assert.deepEqual([await stage.holders(), await stage.incidents()], [{ t1: 'w1' }, ['-task_stranded:docs']])
})

test('a frozen agent under a beating daemon loses its tasks by its lease, and gets none until it shows work', async () => {
  await using stage = await Stage.open(2)
  const watchdog = stage.watchdog()
  const w1 = stage.actor('w1')
  await stage.addTask('t1', 'w1')
  await stage.addTask('t2', 'w1')
  await stage.store.leaseTask(w1.session, 'life')
  await stage.run(CONFIG.leaseMs - SECOND)
  assert.deepEqual(await stage.holders(), { t1: 'w1', t2: 'w2' }, 'nothing waits behind it')
  await stage.run(3 * SECOND)
  assert.deepEqual(await stage.holders(), { t1: 'w2', t2: 'w2' })
  assert.deepEqual([watchdog.convicted, (await stage.verdicts()).w1], [[], 'alive'])
  await stage.addTask('t3', null)
  await stage.run(5 * SECOND)
  assert.equal((await stage.holders()).t3, 'w2', 'though w1 has none')
  w1.work += 1
  await stage.run(2 * BEAT)
  await stage.addTask('t4', null)
  await stage.run(5 * SECOND)
  assert.equal((await stage.holders()).t4, 'w1')
})

test('a lease that is renewed is left in peace', async () => {
  await using stage = await Stage.open(2)
  const watchdog = stage.watchdog()
  const { session } = stage.actor('w1')
  await stage.addTask('t1', 'w1')
  const task = await stage.store.leaseTask(session, 'life')
  for (let minutes = 0; minutes < 10; minutes += 0.5) {
    const report = { task: 't1', epoch: task?.epoch ?? 0, state: 'in_progress', progress: null, result: null } as const
    await stage.store.report(session, report)
    await stage.run(30 * SECOND)
  }
  assert.equal(watchdog.moved, 0)
})

test('a conversation that ends leaves its tasks to others, and its agent’s incident open', async () => {
  await using stage = await Stage.open(3)
  stage.watchdog()
  await stage.addTask('t1', 'w1')
  await stage.run(20 * SECOND)
  stage.silence('w2')
  await stage.run(2 * MINUTE)
  assert.deepEqual(await stage.open(), ['silent:w2'])
  for (const name of ['w1', 'w2']) {
    stage.silence(name)
    await stage.store.endConversation(stage.actor(name).session.slice(0, -2))
  }
  await stage.run(CONFIG.roundMs + SECOND)
  assert.deepEqual(await stage.holders(), { t1: 'w3' })
  assert.deepEqual(await stage.incidents(), ['silent:w2'])
  assert.deepEqual(Object.keys(await stage.verdicts()).sort(), ['boss', 'w3'])
})

test('a task of a conversation that was opened a moment ago is not taken for one of an ended one', async () => {
  await using stage = await Stage.open(2)
  const watchdog = stage.watchdog()
  await stage.run(20 * SECOND)
  await stage.join('w3')
  stage.silence('boss', 'w3') // nobody has beaten for it yet
  await stage.addTask('t1', 'w3')
  await stage.run(10 * SECOND)
  stage.heal('boss')
  await stage.run(20 * SECOND)
  assert.deepEqual([watchdog.moved, await stage.holders()], [0, { t1: 'w3' }])
  await stage.run(SILENT)
  assert.deepEqual([watchdog.moved, await stage.open()], [1, ['silent:w3']])
})

test('with nobody to take tasks one incident says so, and they are moved when somebody comes', async () => {
  await using stage = await Stage.open(1)
  stage.watchdog()
  await stage.addTask('t1', 'w1')
  await stage.addTask('t2', 'w1')
  await stage.run(20 * SECOND)
  stage.silence('w1')
  await stage.run(10 * MINUTE)
  assert.deepEqual(await stage.incidents(), ['silent:w1', 'task_stranded:any'])
  assert.deepEqual(await stage.holders(), { t1: 'w1', t2: 'w1' })
  await stage.join('w2')
  await stage.run(2 * BEAT)
  assert.deepEqual(await stage.holders(), { t1: 'w2', t2: 'w2' })
  assert.deepEqual(await stage.incidents(), ['-task_stranded:any', 'silent:w1'])
})

test('a fleet under loss of every third beat has no silent agents', async () => {
  await using stage = await Stage.open(8)
  let beats = 0
  const { store } = stage
  const beat = store.beat.bind(store)
  store.beat = async (all) => {
    beats += 1
    if (beats % 3 !== 0) await beat(all)
  }
  const watchdog = stage.watchdog()
  await stage.run(2 * 60 * MINUTE)
  assert.deepEqual(watchdog.convicted, [])
  assert.ok(beats > 10_000)
})

test('a stranger that was never heard is a loss when it lets work lie, and not before', () => {
  const strangers = ['conv_1/b', 'conv_2/b'] as const
  const agents = strangers.map((name) => ({ name, role: 'any', sessions: [name] }))
  const observation = new FleetObservation(CONFIG, new ReportedLosses())
  for (const _ of observation.learn([...agents, { name: 'w1', role: 'any', sessions: ['conv_3/b'] }], () => 0));
  for (let now = 0; now <= SILENT + SECOND; now += SECOND) {
    const beat = { session: 'conv_3/b', host: 'h', incarnation: 'one', seq: now, work: 0, version: now } as const
    observation.takeBeats({ pulses: [beat], cursor: now, tick: String(now) }, { now, wall: now }, { now, wall: now })
    observation.judge(now, now)
  }
  const snapshot = { at: SILENT + SECOND, observed: observation, board: { holders: new Set<string>() } }
  assert.deepEqual([[...observation.lost], findSingleLosses(snapshot)], [[...strangers], []])
  const board = { holders: new Set(['conv_2/b']) }
  assert.deepEqual(findSingleLosses({ ...snapshot, board }), ['conv_2/b'])
})

test('a session that turns up while the conversations are read is asked about once more', () => {
  const observation = new FleetObservation(CONFIG, new ReportedLosses())
  let read = 0
  const hear = (session: SessionId): void => {
    read += 1
    const now = { now: read, wall: read }
    const beat = { session, host: 'h', incarnation: 'one', seq: read, work: 0, version: read }
    observation.takeBeats({ pulses: [beat], cursor: read, tick: String(read) }, now, now)
  }
  hear('conv_0/b') // the first read tells what was before
  hear('conv_1/b')
  assert.equal(observation.hasUnknownSessions, true)
  const { unknownReads } = observation // and now the conversations are asked for
  hear('conv_2/b')
  const first = { name: 'w1', role: 'any', sessions: ['conv_1/b'] } as const
  for (const _ of observation.learn([first], () => read, unknownReads));
  assert.equal(observation.hasUnknownSessions, true, 'the second one came after the question')
  for (const _ of observation.learn([first, { name: 'w2', role: 'any', sessions: ['conv_2/b'] }], () => read));
  assert.equal(observation.hasUnknownSessions, false)
})

const BEAT_ONE = { host: 'h', incarnation: 'one', seq: 1, work: 0, version: 1 } as const

test('a fleet that nobody ever heard of raises no alarm, also after a restart, and is shown as new', async () => {
  await using stage = await Stage.open(3)
  stage.silence('boss', 'w1', 'w2', 'w3')
  const first = stage.watchdog()
  await stage.run(30 * MINUTE)
  assert.deepEqual(await stage.verdicts(), { boss: 'new', w1: 'new', w2: 'new', w3: 'new' })
  await first.stop()
  const second = stage.watchdog()
  await stage.run(30 * MINUTE)
  assert.deepEqual(await stage.incidents(), [])
  assert.deepEqual([...first.said('verdict passed'), ...second.said('verdict passed')], [])
  stage.heal('w1')
  await stage.run(2 * BEAT)
  assert.deepEqual((await stage.verdicts()).w1, 'alive', 'shown at once, not with the next round')
})

test('who was heard once is lost with the others, though the watchdog was started only after that', async () => {
  await using stage = await Stage.open(3)
  await stage.run(MINUTE)
  stage.silence('boss', 'w1', 'w2', 'w3')
  stage.watchdog()
  await stage.run(3 * MINUTE)
  assert.deepEqual(await stage.open(), ['mass_silence'])
})

test('who was never heard gets no work, and work that was given to it goes to others and is told of', async () => {
  await using stage = await Stage.open(2)
  stage.silence('w1')
  stage.watchdog()
  await stage.run(BEAT)
  await stage.addTask('free', null)
  await stage.addTask('given', 'w1')
  await stage.run(30 * SECOND)
  assert.deepEqual(await stage.holders(), { free: 'w2', given: 'w1' })
  await stage.run(MINUTE)
  assert.deepEqual(await stage.holders(), { free: 'w2', given: 'w2' })
  const [incident, ...others] = await stage.store.incidents({ open: true })
  assert.match(incident?.summary ?? '', /w1 has tasks and was never heard.*s2 health/)
  assert.deepEqual(others, [])
  assert.equal((await stage.verdicts()).w1, 'new')
  stage.heal('w1')
  await stage.run(2 * BEAT)
  assert.deepEqual(await stage.open(), [])
})

test('the status line says it in words', () => {
  const fleet = new Roster(CONFIG)
  const line = (): string => statusLine({ observed: { fleet, isBlind: false }, openTasks: 0 })
  assert.equal(line(), '0 agents; 0 tasks open')
  const agents = Array.from({ length: 9 }, (_, n) => ({
    name: `w${n}`,
    role: 'any',
    sessions: [`conv_${n}/b`] as const,
  }))
  know(fleet, agents.slice(0, 1), 0)
  know(fleet, agents, 30_000)
  fleet.due(60_000)
  assert.equal(line(), '9 agents: 9 new; 0 tasks open')
  const pulses = agents.slice(1).map(({ sessions: [session] }) => ({ ...BEAT_ONE, session }))
  fleet.hear(pulses, 60_000)
  fleet.due(75_000)
  assert.equal(line(), '9 agents: 1 new, 8 late; 0 tasks open')
})
