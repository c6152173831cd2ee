/** The observer's end of a lease: when it lapses by the observer's clock, and whom a lapse says is stuck. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { LeaseObserver } from '#fleet/lease-observer.ts'
import type { SessionId } from '#fleet/session-id.ts'
import type { Task } from '#fleet/task.ts'
import { beginTask } from '#fleet/task-ownership.ts'

const LEASE_MS = 60_000
const [W2, UNKNOWN]: readonly SessionId[] = ['conv_2/b', 'conv_9/b']

/** A task that its holder has not taken. */
function untaken(id: string, holder: SessionId = 'conv_1/b'): Task {
  const wanted = { id, description: 'x', priority: 'P2', role: null, deadline: null, createdBy: null } as const
  return beginTask({ ...wanted, holder }, 0).task
}

/** A task that a life of its holder works on. */
function taken(id: string, holder: SessionId = 'conv_1/b'): Task {
  return { ...untaken(id, holder), state: 'in_progress', incarnation: 'x', leaseSeq: 1 }
}

function renewed(task: Task): Task {
  return { ...task, leaseSeq: task.leaseSeq + 1 }
}

/** An observer of agents that have shown some work, by the name of each. */
class Scene {
  readonly leases = new LeaseObserver(LEASE_MS)
  readonly signs = new Map<string, number>([
    ['w1', 5],
    ['w2', 5],
  ])

  observe(now: number, tasks: readonly Task[], answeredAt = now): string[] {
    const roster = {
      agentOf: (holder: SessionId) => ({ 'conv_1/b': 'w1', 'conv_2/b': 'w2' })[holder as string],
      standing: (agent: string) => {
        const signs = this.signs.get(agent)
        return signs === undefined ? undefined : ({ signs } as never)
      },
    }
    return [...this.leases.observe(tasks, roster, now, answeredAt)]
  }

  /** A scene in which the first agent is stuck since 60,000 ms, with this task. */
  static stuck(task: Task = taken('t')): Scene {
    const scene = new Scene()
    scene.observe(0, [task])
    scene.observe(LEASE_MS, [task])
    assert.ok(scene.leases.isStuck('w1'))
    return scene
  }
}

test('a lease lapses once its sequence has stood still for as long as it lasts', () => {
  const scene = new Scene()
  const { leases } = scene
  const task = taken('t')
  assert.deepEqual([leases.nextLapse, leases.stillSince(task), leases.heldSince(task)], [Infinity, null, null])
  assert.deepEqual([leases.lapsedAt(task), leases.isRenewedAfter(task, 0)], [null, false], 'nobody has seen it')
  scene.observe(0, [task], 100)
  assert.deepEqual([leases.nextLapse, leases.stillSince(task)], [60_100, 100], 'it may be as young as the answer')
  scene.observe(60_099, [task])
  assert.deepEqual([leases.lapsedAt(task), leases.nextLapse, leases.isStuck('w1')], [null, 60_100, false])
  scene.observe(60_100, [task])
  assert.deepEqual([leases.lapsedAt(task), leases.nextLapse, leases.isStuck('w1')], [60_100, Infinity, true])
  scene.observe(90_000, [task])
  assert.deepEqual([leases.lapsedAt(task), leases.stillSince(task)], [60_100, 100])
  scene.observe(95_000, [renewed(task)])
  assert.deepEqual([leases.lapsedAt(task), leases.nextLapse, leases.isStuck('w1')], [null, 155_000, false])
})

test('the next lapse is that of the lease that stood still longest, of those that have not lapsed', () => {
  const scene = new Scene()
  const [old, middle, young] = [taken('t1'), taken('t2'), taken('t3')]
  scene.observe(0, [old])
  scene.observe(10_000, [old, middle])
  scene.observe(20_000, [young, middle, old])
  assert.equal(scene.leases.nextLapse, 60_000)
  scene.observe(60_000, [old, middle, young])
  assert.equal(scene.leases.nextLapse, 70_000)
  scene.observe(61_000, [untaken('t4')])
  assert.equal(scene.leases.nextLapse, Infinity)
})

test('each change of epoch, state, sequence, holder or life is a sign, and nothing else is one', () => {
  const task = taken('t')
  const changes: readonly (readonly [Partial<Task>, number])[] = [
    [{ epoch: 2 }, 10_100],
    [{ state: 'accepted' }, 10_100],
    [{ leaseSeq: 2 }, 10_100],
    [{ holder: 'conv_2/b' }, 10_100],
    [{ incarnation: 'y' }, 10_100],
    [{ progress: 'half', updatedAt: 7, work: 9 }, 0],
  ]
  for (const [change, since] of changes) {
    const scene = new Scene()
    scene.observe(0, [task])
    scene.observe(10_000, [{ ...task, ...change }], 10_100)
    assert.equal(scene.leases.stillSince(task), since, JSON.stringify(change))
  }
})

test('a task is its holder’s since it got this epoch or this holder, whatever became of the lease', () => {
  const task = taken('t')
  const changes: readonly (readonly [Partial<Task>, number])[] = [
    [{ epoch: 2 }, 10_100],
    [{ holder: 'conv_2/b' }, 10_100],
    [{ leaseSeq: 2, incarnation: 'y', state: 'accepted' }, 0],
  ]
  for (const [change, since] of changes) {
    const scene = new Scene()
    scene.observe(0, [task])
    scene.observe(10_000, [{ ...task, ...change }], 10_100)
    assert.equal(scene.leases.heldSince(task), since, JSON.stringify(change))
  }
})

test('an agent loses a task when another holder has it, or none; what nobody knows loses nothing', () => {
  const scene = new Scene()
  const [mine, other, foreign] = [taken('t1'), taken('t2', W2), taken('t3', UNKNOWN)]
  assert.deepEqual(scene.observe(0, [mine, other, foreign]), [])
  assert.deepEqual(scene.observe(1, [renewed(mine), other, foreign]), [])
  assert.deepEqual(scene.observe(2, [mine, { ...other, holder: 'conv_1/b' }, { ...foreign, holder: 'conv_1/b' }]), [
    'w2',
  ])
  assert.deepEqual(scene.observe(3, [{ ...mine, holder: null, state: 'pending' }]), ['w1'])
  assert.deepEqual(scene.observe(4, [mine]), [], 'it was nobody’s')
})

test('nobody renews what an agent of the Python bridge took, or what nobody took: it does not lapse', () => {
  for (const task of [{ ...taken('t'), incarnation: null }, untaken('t')]) {
    const scene = new Scene()
    scene.observe(0, [task])
    scene.observe(200_000, [task])
    const { leases } = scene
    const seen = [leases.lapsedAt(task), leases.nextLapse, leases.isStuck('w1'), leases.isRenewedAfter(task, -100_000)]
    assert.deepEqual(seen, [null, Infinity, false, false], task.state)
  }
})

test('a lease whose holder is no agent that is known is nobody’s to lose', () => {
  const scene = new Scene()
  const task = taken('t', UNKNOWN)
  scene.observe(0, [task])
  scene.observe(100_000, [task])
  assert.equal(scene.leases.lapsedAt(task), null)
})

test('an agent that renews one lease is not stuck: only what it lets lie has lapsed', () => {
  const scene = new Scene()
  const [lies, renews, waits] = [taken('t1'), taken('t2'), untaken('t3')]
  scene.observe(0, [lies, renews, waits])
  scene.observe(30_000, [lies, renewed(renews), waits])
  scene.observe(60_000, [lies, renewed(renews), waits])
  const { leases } = scene
  assert.deepEqual(
    [leases.isStuck('w1'), leases.lapsedAt(lies), leases.lapsedAt(renews), leases.lapsedAt(waits)],
    [false, 60_000, null, null],
  )
})

test('what a stuck agent had been given by then has lapsed with its lease; later work gets a time of its own', () => {
  const lies = taken('t1')
  const [before, then, after] = [untaken('t2'), untaken('t3'), untaken('t4')]
  const scene = new Scene()
  scene.observe(0, [lies])
  scene.observe(30_000, [lies, before])
  scene.observe(60_000, [lies, before, then])
  const { leases } = scene
  assert.deepEqual([leases.lapsedAt(before), leases.lapsedAt(then)], [60_000, 60_000])
  scene.observe(70_000, [lies, before, then, after])
  assert.deepEqual([leases.lapsedAt(then), leases.lapsedAt(after)], [60_000, null], 'stuck since it was found so')
  scene.observe(130_000, [lies, before, then, after])
  assert.deepEqual([leases.lapsedAt(before), leases.lapsedAt(after)], [90_000, 130_000])
})

test('a stuck agent stays so without its task, until it shows work', () => {
  const scene = Scene.stuck()
  scene.observe(70_000, [untaken('t2')])
  assert.ok(scene.leases.isStuck('w1'), 'work that it is given is no sign of it')
  scene.signs.set('w1', 6)
  scene.observe(80_000, [untaken('t2')])
  assert.ok(!scene.leases.isStuck('w1'))
})

test('a stuck agent that takes or renews any lease is stuck no more; another’s lease says nothing of it', () => {
  const scene = Scene.stuck()
  scene.observe(70_000, [taken('t2', W2), taken('t3', UNKNOWN)])
  assert.ok(scene.leases.isStuck('w1'))
  scene.observe(80_000, [taken('t4')])
  assert.ok(!scene.leases.isStuck('w1'))
})

test('an agent that nobody has heard of yet has shown no work', () => {
  const scene = new Scene()
  scene.signs.delete('w1')
  const task = taken('t')
  scene.observe(0, [task])
  scene.observe(60_000, [task])
  scene.signs.set('w1', 0)
  scene.observe(70_000, [])
  assert.ok(scene.leases.isStuck('w1'))
})

test('a holder cannot have died when it renewed more than half a lease later, and still does', () => {
  const scene = new Scene()
  const task = taken('t')
  scene.observe(0, [task])
  scene.observe(100_000, [renewed(task)])
  assert.ok(scene.leases.isRenewedAfter(task, 69_999))
  assert.ok(!scene.leases.isRenewedAfter(task, 70_000), 'a request of before may have come so late')
  scene.observe(159_999, [renewed(task)])
  assert.ok(scene.leases.isRenewedAfter(task, 0))
  scene.observe(160_000, [renewed(task)])
  assert.ok(!scene.leases.isRenewedAfter(task, 0), 'it has lapsed')
})

test('after a pause of the observer every lease counts as renewed at its end', () => {
  const scene = new Scene()
  const task = taken('t')
  scene.observe(0, [task])
  scene.leases.grace(500_000)
  const { leases } = scene
  assert.deepEqual([leases.stillSince(task), leases.nextLapse, leases.lapsedAt(task)], [500_000, 560_000, null])
  scene.observe(559_999, [task])
  assert.deepEqual([leases.lapsedAt(task), leases.isStuck('w1')], [null, false])
  scene.observe(560_000, [task])
  assert.equal(leases.lapsedAt(task), 560_000)
})
