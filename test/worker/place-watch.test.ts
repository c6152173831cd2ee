/** A worker whose place cannot work: what it begins, when it tries again, and what it tells the fleet. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { AgentCondition, Condition } from '../../services/core/fleet/agent-condition.ts'
import { S2Error } from '../../services/core/fleet/errors.ts'
import type { SessionId } from '../../services/core/fleet/session-id.ts'
import type { PlaceFault } from '../../services/worker/place-fault.ts'
import { QuickFailures } from '../../services/worker/quick-failures.ts'
import { away, Bench, bench } from './loop-bench.ts'

const MINUTE = 60_000
const SICK: PlaceFault = { state: 'sick', why: 'the disk is read-only', until: null }

async function conditionOf(b: Bench): Promise<Pick<AgentCondition, 'state' | 'why' | 'until'> | null> {
  const [condition] = await b.store.conditions()
  if (condition === undefined) return null
  const { state, why, until } = condition
  return { state, why, until }
}

/** Gives the task back to this worker, as a watchdog does where no other is there. */
async function giveBack(b: Bench, id: string): Promise<void> {
  const { epoch, state } = await b.store.task(id)
  assert.equal(state, 'pending', 'it did not go back')
  assert.equal(await b.store.move({ task: id, epoch, to: b.worker, reason: 'unassigned' }), true)
}

test('a place that is seen to be wrong is sick before any task is tried there, and takes up work when it is mended', async () => {
  const b = await bench()
  b.seen = 'the folder /work does not exist'
  const { done } = b.start('life-1')
  await b.clock.advance(100)
  assert.deepEqual(await conditionOf(b), { state: 'sick', why: b.seen, until: null })
  await b.add('first')
  b.heard()
  await b.clock.advance(30_000)
  assert.deepEqual((await b.store.task('first')).attempts, [])
  b.seen = null
  await b.clock.advance(40_000)
  assert.equal(await conditionOf(b), null)
  b.command.exit(0, 'done')
  await b.clock.advance(100)
  assert.equal((await b.store.task('first')).state, 'completed')

  // It vanishes while nothing is done there.
  b.seen = 'the folder /work does not exist'
  await b.clock.advance(40_000)
  assert.equal((await conditionOf(b))?.why, b.seen)
  assert.equal(b.told('sick').length, 2)
  b.end()
  await b.clock.advance(0)
  await done
})

test('a command that finds its place sick gives the task back, and nothing is begun before the probe', async () => {
  const b = await bench()
  await b.add('first')
  await b.add('second')
  b.judge = ({ end }) => (end.exitCode === 75 ? SICK : null)
  const { done } = b.start('life-1')
  await b.clock.advance(10)
  b.command.exit(75, 'cannot write\n')
  await b.clock.advance(100)
  const { state, holder, attempts } = await b.store.task('first')
  assert.deepEqual([state, holder, attempts[0]?.end, attempts[0]?.note], ['pending', null, 'sick', SICK.why])
  assert.deepEqual(await conditionOf(b), { state: 'sick', why: SICK.why, until: null })
  assert.deepEqual(b.told('returned').length, 1)

  // Neither a message nor an assignment wakes it before its time.
  for (let s = 0; s < 55; s += 1) {
    b.assigned = ['second']
    b.heard()
    await b.clock.advance(1_000)
  }
  assert.equal(b.commands.length, 1)
  await b.clock.advance(10_000)
  assert.equal(b.commands.length, 2, 'it does not probe')
  assert.equal((await conditionOf(b))?.state, 'probing')
  b.command.exit(1, 'the work itself is wrong')
  await b.clock.advance(1_000)
  assert.equal((await b.store.task('second')).state, 'failed')
  assert.equal(await conditionOf(b), null)
  assert.equal(b.told('well').length, 1)
  b.end()
  await b.clock.advance(0)
  await done
})

test('the pauses between probes double up to half an hour, and start small again after a task', async () => {
  const b = await bench()
  await b.add('only')
  b.judge = ({ end }) => (end.exitCode === 75 ? SICK : null)
  const { done } = b.start('life-1')
  await b.clock.advance(10)
  const pauses: number[] = []
  for (let probe = 0; probe < 8; probe += 1) {
    const begun = b.commands.length
    const failedAt = b.clock.now()
    b.command.exit(75)
    await b.clock.advance(100)
    await giveBack(b, 'only')
    while (b.commands.length === begun) await b.clock.advance(5_000)
    pauses.push(Math.round((b.clock.now() - failedAt) / MINUTE))
  }
  assert.deepEqual(pauses, [1, 2, 4, 8, 16, 30, 30, 30])
  b.command.exit(0)
  await b.clock.advance(1_000)
  await b.add('next')
  b.assigned = ['next']
  b.heard()
  await b.clock.advance(100)
  b.command.exit(75)
  await b.clock.advance(100)
  const [last] = b.told('sick').slice(-1)
  assert.equal(last?.event === 'sick' && last.probeInMs, MINUTE)
  b.end()
  await b.clock.advance(0)
  await done
})

test('where something is missing it is looked for without a task, and work goes on as soon as it is there', async () => {
  const b = await bench()
  await b.add('first')
  await b.add('second')
  let missing: string | null = 'the folder /work does not exist'
  let looks = 0
  const look = (): string | null => {
    looks += 1
    return missing
  }
  b.judge = ({ error }) =>
    error === null ? null : { state: 'sick', why: 'the folder /work does not exist', until: null, look }
  const { done } = b.start('life-1')
  await b.clock.advance(10)
  b.command.refuse(new Error('spawn ENOENT'))
  await b.clock.advance(10 * MINUTE)
  assert.equal(b.commands.length, 1, 'a task was spent on it')
  assert.equal(looks, 3, 'after 1, 3 and 7 minutes')
  missing = 'the folder /work may not be entered'
  await b.clock.advance(6 * MINUTE)
  assert.equal((await conditionOf(b))?.why, missing, 'it is something else now')
  missing = null
  await b.clock.advance(17 * MINUTE)
  assert.equal(b.commands.length, 2)
  b.command.exit(0)
  await b.clock.advance(1_000)
  assert.equal((await b.store.task('second')).state, 'completed')
  assert.equal(await conditionOf(b), null)
  b.end()
  await b.clock.advance(0)
  await done
})

/** How long a worker waits that is parked until a time, by how its clocks run meanwhile. */
async function waitOfParked(endsInMs: number, stepMs = 0): Promise<number> {
  const b = await bench()
  await b.add('first')
  await b.add('second')
  b.judge = () => ({ state: 'parked', why: 'usage limit', until: b.clock.wall() + endsInMs })
  const { done } = b.start('life-1')
  await b.clock.advance(10)
  const parkedAt = b.clock.now()
  b.command.exit(1)
  await b.clock.advance(100)
  assert.equal((await conditionOf(b))?.state, 'parked')
  b.clock.step(stepMs)
  const lookMs = endsInMs > 24 * 3_600_000 ? MINUTE : endsInMs > 0 ? 5_000 : 1_000
  while (b.commands.length === 1) await b.clock.advance(lookMs)
  b.end()
  await b.clock.advance(0)
  await done
  return Math.round((b.clock.now() - parkedAt) / 1_000)
}

test('a parked worker waits until the end that is said, some seconds more, and no longer than a day', async () => {
  assert.equal(await waitOfParked(3 * 3_600_000), 3 * 3_600 + 10)
  assert.equal(await waitOfParked(5 * 24 * 3_600_000), 24 * 3_600)
  assert.equal(await waitOfParked(-1_000), 9)
  for (const absurd of [1e300, Number.POSITIVE_INFINITY, 9e15]) assert.equal(await waitOfParked(absurd), 24 * 3_600)
})

test('a parked worker whose machine slept is back by the clock on the wall, and one whose clock was put back by the other', async () => {
  const slept = await waitOfParked(3 * 3_600_000, 4 * 3_600_000)
  assert.ok(slept <= 65, `${slept} s`)
  assert.equal(await waitOfParked(3 * 3_600_000, -4 * 3_600_000), 3 * 3_600 + 10)
})

test('an end that is said again and again is not believed the second time', async () => {
  const b = await bench()
  await b.add('only')
  b.judge = () => ({ state: 'parked', why: 'usage limit', until: b.clock.wall() + 1_000 })
  const { done } = b.start('life-1')
  for (let tries = 0; tries < 700; tries += 1) {
    await b.clock.advance(5_000)
    b.command.exit(1)
    await b.clock.advance(100)
    if ((await b.store.task('only')).state === 'pending') await giveBack(b, 'only')
    const condition = await conditionOf(b)
    const isPast = condition?.state === 'parked' && (condition.until ?? 0) < b.clock.wall()
    assert.ok(!isPast || b.commands.length === 1, 'a time that has passed is shown')
  }
  assert.ok(b.commands.length >= 5 && b.commands.length <= 7, `${b.commands.length} tries in an hour`)
  b.end()
  await b.clock.advance(0)
  await done
})

test('a worker clears what its last life said of each session, once', async () => {
  const b = await bench()
  const said: (Condition | null)[] = []
  const note = b.store.noteCondition.bind(b.store)
  b.store.noteCondition = async (session, condition) => {
    said.push(condition)
    await note(session, condition)
  }
  await note(b.worker, SICK)
  const { done } = b.start('life-1')
  await b.clock.advance(10 * MINUTE)
  assert.deepEqual(said, [null])
  assert.equal(await conditionOf(b), null)
  b.end()
  await b.clock.advance(0)
  await done
})

test('a fleet that cannot be told of the place is told later, and does not hold the work up', async () => {
  const b = await bench()
  await b.add('first')
  await b.add('second')
  let refused = 0
  const note = b.store.noteCondition.bind(b.store)
  b.store.noteCondition = async (session, condition) => {
    refused += 1
    if (refused < 6) throw new S2Error('unavailable', 'the network is away')
    await note(session, condition)
  }
  b.judge = ({ end }) => (end.exitCode === 75 ? SICK : null)
  const { done } = b.start('life-1')
  await b.clock.advance(10)
  b.command.exit(75)
  await b.clock.advance(100)
  assert.equal((await b.store.task('first')).state, 'pending', 'the report waits for it')
  await b.clock.advance(2 * MINUTE)
  assert.equal(b.commands.length, 2)
  b.command.exit(0)
  await b.clock.advance(MINUTE)
  assert.equal((await b.store.task('second')).state, 'completed')
  assert.equal(await conditionOf(b), null)
  assert.ok(refused >= 6 && refused <= 11, `told ${refused} times`) // and twice more: a try without an answer may come last
  b.end()
  await b.clock.advance(0)
  await done
})

test('--once ends with a sick place instead of waiting, and tells the fleet before', async () => {
  const b = await bench()
  await b.add('first')
  await b.add('second')
  b.judge = () => SICK
  const { done, loop } = b.start('life-1', true)
  await b.clock.advance(10)
  b.command.exit(75)
  await b.clock.advance(100)
  await done
  assert.equal(loop.fault?.why, SICK.why)
  assert.equal(b.commands.length, 1)
  assert.equal((await conditionOf(b))?.state, 'sick')
})

test('the last word to the fleet is waited for when --once ends, but not for long', async () => {
  for (const [tookMs, isTold] of [
    [500, true],
    [60_000, false],
  ] as const) {
    const b = await bench()
    await b.add('first')
    b.judge = () => SICK
    const note = b.store.noteCondition.bind(b.store)
    b.store.noteCondition = async (session, condition) => {
      await b.clock.sleep(tookMs)
      await note(session, condition)
    }
    let isDone = false
    const { done } = b.start('life-1', true)
    void done.then(() => {
      isDone = true
    })
    await b.clock.advance(10)
    b.command.exit(75)
    for (let ms = 0; ms < 3_000 && !isDone; ms += 50) await b.clock.advance(50)
    assert.ok(isDone)
    assert.equal((await conditionOf(b))?.state === 'sick', isTold)
  }
})

test('while it probes, another fault makes it sick again, and a quick failure by itself shows nothing', async () => {
  const b = await bench()
  b.quickFailureMs = 5_000
  for (const id of ['a', 'b', 'c', 'd', 'e']) await b.add(id)
  const { done } = b.start('life-1')
  await b.clock.advance(10)
  for (let failure = 0; failure < 3; failure += 1) {
    b.command.exit(1, 'no licence')
    await b.clock.advance(100)
  }
  assert.equal(b.commands.length, 3)
  assert.equal((await conditionOf(b))?.why, 'its command failed within seconds 3 times in a row: no licence')
  assert.deepEqual(await Promise.all(['a', 'b', 'c'].map(async (id) => (await b.store.task(id)).attempts[0]?.end)), [
    'quick_failure',
    'quick_failure',
    'quick_failure',
  ])
  while (b.commands.length === 3) await b.clock.advance(1_000)
  b.command.exit(1, 'no licence')
  await b.clock.advance(100)
  assert.equal((await conditionOf(b))?.state, 'sick')
  await b.clock.advance(150_000)
  assert.equal(b.commands.length, 5)
  b.command.exit(1, 'three tests fail')
  await b.clock.advance(100)
  assert.equal((await b.store.task('e')).state, 'failed', 'a failure after some time is the task’s own')
  assert.equal(await conditionOf(b), null)
  b.end()
  await b.clock.advance(0)
  await done
})

/** Deals as a watchdog does: to whoever can work, the oldest first, and no more than one to somebody who probes. */
async function deal(b: Bench): Promise<void> {
  const conditions = new Map((await b.store.conditions()).map(({ session, state }) => [session, state]))
  for (const { id, epoch, state, holder, attempts } of await b.store.tasks({ open: true })) {
    const isStranded = state === 'assigned' && holder !== null && conditions.has(holder)
    if (state !== 'pending' && !isStranded) continue
    const open = await b.store.tasks({ open: true })
    const load = (session: string): number => open.filter((each) => each.holder === session).length
    const isFree = (session: SessionId): boolean =>
      !conditions.has(session) || (conditions.get(session) === 'probing' && load(session) === 0)
    const [to] = [b.worker, b.other]
      .filter((each) => isFree(each) && each !== holder)
      .sort(
        (x, y) => Number(x === attempts.at(-1)?.holder) - Number(y === attempts.at(-1)?.holder) || load(x) - load(y),
      )
    if (to !== undefined) await b.store.move({ task: id, epoch, to, reason: isStranded ? 'holder_sick' : 'unassigned' })
  }
}

test('many bad tasks at once come to their end within minutes, and do not keep the good ones from being done', async () => {
  const b = await bench()
  const other = new Bench()
  Object.assign(other, { clock: b.clock, store: b.store, worker: b.other, other: b.worker })
  const rest = { priority: 'P2', role: null, holder: null, deadline: null, createdBy: null } as const
  const [bad, good] = [Array.from('012345', (n) => `b${n}`), Array.from('0123456789', (n) => `t${n}`)]
  for (const id of [...bad, ...good]) await b.store.addTask({ id, description: 'x', ...rest })
  const dones = [b, other].map((each) => {
    each.quickFailureMs = 5_000
    return each.start(`life-of-${each.worker}`).done
  })
  const began = b.clock.now()
  while ((await b.store.tasks({ open: true })).length > 0 && b.clock.now() - began < 3_600_000) {
    await deal(b)
    for (const each of [b, other]) {
      each.assigned = ['some']
      each.heard()
    }
    await b.clock.advance(500)
    for (const { commands } of [b, other]) for (const each of commands) each.exit(each.task.startsWith('b') ? 1 : 0, '')
  }
  const ends = new Map((await b.store.tasks({})).map(({ id, state }) => [id, state]))
  for (const id of good) assert.equal(ends.get(id), 'completed', id)
  for (const id of bad) assert.equal(ends.get(id), 'failed', id)
  assert.ok(b.clock.now() - began < 5 * MINUTE, `${(b.clock.now() - began) / MINUTE} min`)
  for (const each of [b, other]) each.end()
  await b.clock.advance(0)
  await Promise.all(dones)
})

test('a quick failure in a probe does not make the place well', async () => {
  const b = await bench()
  b.quickFailureMs = 5_000
  for (const id of ['a', 'b', 'c']) await b.add(id)
  b.judge = ({ end }) => (end.exitCode === 75 ? SICK : null)
  const { done } = b.start('life-1')
  await b.clock.advance(10)
  b.command.exit(75)
  while (b.commands.length === 1) await b.clock.advance(1_000)
  b.command.exit(1)
  await b.clock.advance(100)
  assert.equal((await conditionOf(b))?.state, 'probing')
  assert.equal(b.commands.length, 3, 'the next task shows it')
  b.command.exit(0)
  await b.clock.advance(100)
  assert.equal(await conditionOf(b), null)
  b.end()
  await b.clock.advance(0)
  await done
})

test('a worker prefers other tasks to one that has just failed here within moments, and takes it where there is no other', async () => {
  const b = await bench()
  b.quickFailureMs = 5_000
  await b.add('a')
  await b.add('b')
  const { done } = b.start('life-1')
  await b.clock.advance(10)
  // It comes back before anything else is asked for.
  const report = b.store.report.bind(b.store)
  b.store.report = async (holder, said) => {
    const task = await report(holder, said)
    if (said.state === 'returned') await giveBack(b, said.task)
    return task
  }
  b.command.exit(1)
  await b.clock.advance(100)
  assert.deepEqual(
    b.commands.map(({ task }) => task),
    ['a', 'b'],
  )
  await b.clock.advance(10_000)
  b.command.exit(0)
  await b.clock.advance(100)
  assert.equal(b.command.task, 'a')
  b.command.exit(1, 'again')
  await b.clock.advance(100)
  assert.equal((await b.store.task('a')).state, 'failed')
  b.end()
  await b.clock.advance(0)
  await done
})

test('a command that is ended from outside says nothing of its place', async () => {
  const b = await bench()
  await b.add('moved')
  b.judge = () => SICK
  const { done } = b.start('life-1')
  await b.clock.advance(10)
  b.command.onTerm = { exitCode: 75, signal: null, tail: '' }
  await b.move('moved')
  b.revoked = [{ task: 'moved', epoch: null, reason: 'it showed no sign of work for too long' }]
  b.heard()
  await b.clock.advance(1_000)
  const [stopping] = b.told('stopping')
  assert.equal(stopping?.event === 'stopping' && stopping.reason, 'it showed no sign of work for too long')
  assert.equal(b.told('sick').length, 0)
  b.end()
  await b.clock.advance(0)
  await done
})

test('a renewal that finds its task ended stops the command and says what the store said, where no message came', async () => {
  const b = await bench()
  await b.add('late')
  const { done } = b.start('life-1')
  await b.clock.advance(10)
  const { epoch } = await b.store.task('late')
  await b.store.endTask({ task: 'late', epoch, reason: 'deadline', words: 'its deadline has passed' })
  await b.clock.advance(30_000)
  const [stopping] = b.told('stopping')
  assert.equal(stopping?.event === 'stopping' && stopping.reason, 'task late is failed already')
  assert.equal((await b.store.task('late')).state, 'failed')
  b.end()
  await b.clock.advance(0)
  await done
})

test('a task whose grant was lost on the way is begun by the next answer, once, and with the lease of the first', async () => {
  const b = await bench()
  await b.add('lost')
  const lease = b.store.leaseTask.bind(b.store)
  let asked = 0
  b.store.leaseTask = async (...args) => {
    asked += 1
    const task = await lease(...args)
    if (asked === 1) throw new S2Error('unknown_outcome', 'the answer was lost')
    return task
  }
  const { done } = b.start('life-1')
  await b.clock.advance(10)
  assert.equal(b.commands.length, 0)
  await b.clock.advance(1_000)
  const { epoch, state } = await b.store.task('lost')
  assert.deepEqual([b.commands.length, epoch, state], [1, 1, 'in_progress'])
  b.command.exit(0)
  await b.clock.advance(1_000)
  assert.deepEqual(
    [b.commands.length, (await b.store.task('lost')).state, (await b.store.task('lost')).epoch],
    [1, 'completed', 1],
  )
  b.end()
  await b.clock.advance(0)
  await done
})

test('a grant that was lost for longer than a lease is asked about before anything begins', async () => {
  const b = await bench()
  await b.add('old')
  const lease = b.store.leaseTask.bind(b.store)
  let asked = 0
  b.store.leaseTask = async (...args) => {
    asked += 1
    const task = await lease(...args)
    if (asked === 1) throw new S2Error('unknown_outcome', 'the answer was lost')
    return task
  }
  const { done } = b.start('life-1')
  await b.clock.advance(10)
  b.fault = away
  await b.clock.advance(5 * MINUTE)
  b.fault = null
  // The answer comes, and with the next question the bridge is away again.
  b.store.leaseTask = async (...args) => {
    const task = await lease(...args)
    b.fault = away
    return task
  }
  await b.clock.advance(MINUTE)
  assert.equal(b.commands.length, 0, 'it begins what may be another’s')
  b.store.leaseTask = lease
  b.fault = null
  await b.clock.advance(MINUTE)
  assert.equal(b.commands.length, 1)
  b.end()
  await b.clock.advance(0)
  await done
})

test('the same epoch of a task is never begun twice, whatever became of its report', async () => {
  const b = await bench()
  await b.add('once')
  const report = b.store.report.bind(b.store)
  b.store.report = async (holder, said) => {
    if (said.state !== 'in_progress') throw new S2Error('forbidden', 'not now')
    return await report(holder, said)
  }
  const { done } = b.start('life-1')
  await b.clock.advance(10)
  b.command.exit(0)
  await b.clock.advance(1_000)
  b.store.report = report
  await b.clock.advance(60_000)
  const epochs = b.told('started').map((event) => 'epoch' in event && event.epoch)
  assert.deepEqual(epochs, [1, 2])
  b.command.exit(0)
  await b.clock.advance(1_000)
  assert.equal((await b.store.task('once')).state, 'completed')
  b.end()
  await b.clock.advance(0)
  await done
})

test('each renewal says whether the command showed a sign of work, from 1 on', async () => {
  const b = await bench()
  await b.add('counted')
  const { done } = b.start('life-1')
  await b.clock.advance(10)
  const work = async (): Promise<number> => (await b.store.task('counted')).work
  assert.equal(await work(), 1)
  await b.clock.advance(2 * MINUTE)
  assert.equal(await work(), 1, 'renewals are no signs')
  b.command.works = true
  await b.clock.advance(25_000)
  b.command.works = false
  assert.equal(await work(), 2)
  await b.clock.advance(2 * MINUTE)
  assert.equal(await work(), 2)
  b.end()
  await b.clock.advance(0)
  await done
})

test('three quick failures in a row are the place’s only where they are of more than one task', () => {
  const quick = new QuickFailures(5_000)
  const task = (id: string) => ({ id, holder: 'conv_x/b', attempts: [] }) as const
  const fails = (id: string, ms = 100): boolean => quick.note(task(id), true, ms)
  for (const id of ['a', 'a', 'a']) assert.equal(fails(id), true)
  assert.equal(quick.fault('x'), null)
  fails('b')
  assert.equal(quick.fault('x')?.why, 'its command failed within seconds 4 times in a row: x')
  assert.equal(fails('c', 5_000), false, 'a failure after some time ends the row')
  assert.equal(quick.fault('x'), null)
  for (const id of ['a', 'b']) fails(id)
  quick.note(task('c'), false, 100)
  fails('d')
  assert.equal(quick.fault('x'), null, 'and so does a success')
  const off = new QuickFailures(0)
  for (const id of ['a', 'b', 'c', 'd']) assert.equal(off.note(task(id), true, 0), false)
  assert.equal(off.fault('x'), null)
})
