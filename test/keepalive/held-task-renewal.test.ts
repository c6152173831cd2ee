/** The leases of tasks that agents took by hand, which keepalive renews while their clients live. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { S2Error } from '#fleet/errors.ts'
import type { Report } from '#fleet/task.ts'
import { recordingLog } from '#runtime/log.ts'
import { pidNamespace } from '#runtime/process-life.ts'
import { processStart } from '#runtime/process-stat.ts'
import { TroubleLog } from '#runtime/trouble-log.ts'
import type { HeldTask } from '#spool/held-tasks.ts'
import type { OutboxOutcome } from '#spool/outbox.ts'
import { HeldTaskRenewal } from '../../services/keepalive/held-task-renewal.ts'
import { READER } from '../core/spool/sample.ts'
import { ManualClock, settle } from '../manual-clock.ts'

const LEASE_MS = 60_000
const OWN = { pid: process.pid, startTicks: processStart(process.pid) ?? '', namespace: pidNamespace() }
const ENDED = '0000000000000001-0123456789abcdef'
const DEAD = { ...OWN, startTicks: '1' }

function heldTask(fields: Partial<HeldTask> = {}): HeldTask {
  const who = { session: READER, incarnation: 'one', by: { client: 'claude', id: 'one' }, process: OWN, place: 'here' }
  return { ...who, task: 't-1', epoch: 2, takenAt: 0, work: 3, lost: null, ended: null, ...fields }
}

/** A host with tasks that are held, and a bridge that answers as the test says. */
class Scene implements AsyncDisposable {
  readonly clock = new ManualClock()
  readonly log = recordingLog()
  readonly troubles = new Map<string, string>()
  files: HeldTask[]
  /** Why the folder cannot be read; null where it can. */
  fault: Error | null = null
  isBridgeThere = true
  answer: Error | null = null
  signs = 0
  outcome: OutboxOutcome = 'waiting'
  readonly left = new Set<string>()
  readonly reports: { readonly at: number; readonly report: Report }[] = []
  readonly renewal: HeldTaskRenewal
  readonly #over = new AbortController()
  readonly #began = this.clock.now()

  constructor(...files: readonly HeldTask[]) {
    this.files = [...files]
    const health = {
      trouble: (topic: string, why: string | null): void =>
        void (why === null ? this.troubles.delete(topic) : this.troubles.set(topic, why)),
    }
    this.renewal = new HeldTaskRenewal({
      clock: this.clock,
      chance: () => 0.5,
      log: this.log,
      troubles: new TroubleLog({ log: this.log, health }),
      signal: this.#over.signal,
      place: 'here',
      leaseMs: LEASE_MS,
      signsOf: async () => this.signs,
      outcomeOf: async () => this.outcome,
      hasLeft: async ({ task }) => this.left.has(task),
      storeOf: () => (this.isBridgeThere ? { report: async (_holder, report) => this.#report(report) } : null),
      files: {
        list: async () => {
          if (this.fault !== null) throw this.fault
          return this.files
        },
        put: async (held) => {
          this.files = this.files.map((each) => (each.task === held.task ? held : each))
        },
        remove: async (held) => {
          this.files = this.files.filter((each) => each.task !== held.task)
        },
      },
    })
  }

  /** Seconds after the start at which leases were renewed. */
  get seconds(): number[] {
    return this.reports.map(({ at }) => Math.round((at - this.#began) / 1_000))
  }

  /** Lets so much time pass, a second at a time. */
  async pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 1_000) {
      await this.clock.advance(Math.min(1_000, left))
      await settle()
    }
  }

  #report(report: Report): never {
    this.reports.push({ at: this.clock.now(), report })
    if (this.answer !== null) throw this.answer
    return undefined as never
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort()
    await this.renewal.done
  }
}

test('a lease is renewed at once, and well before it lapses, with the signs of work that were seen', async () => {
  await using scene = new Scene(heldTask())
  scene.signs = 4
  await scene.pass(LEASE_MS)
  const [first] = scene.reports
  assert.deepEqual(first?.report, {
    task: 't-1',
    epoch: 2,
    state: 'in_progress',
    progress: null,
    result: null,
    work: 7,
  })
  assert.deepEqual(scene.seconds, [0, 20, 40, 60])
})

test('a task that was just taken is renewed when it is told, and none more often than is due', async () => {
  await using scene = new Scene()
  await scene.pass(2_000)
  scene.files = [heldTask()]
  scene.renewal.nudge()
  await scene.pass(1_000)
  assert.deepEqual(scene.seconds, [2])
  for (let nudge = 0; nudge < 5; nudge += 1) {
    scene.renewal.nudge()
    await scene.pass(2_000)
  }
  assert.deepEqual(scene.seconds, [2])
  await scene.pass(10_000)
  assert.equal(scene.seconds.length, 2)
})

test('each task has a lease of its own, and a later epoch is another', async () => {
  await using scene = new Scene(heldTask(), heldTask({ task: 't-2' }))
  await scene.pass(1_000)
  assert.deepEqual(scene.seconds, [0, 0])
  scene.files = [heldTask(), heldTask({ task: 't-2', epoch: 3 })]
  scene.renewal.nudge()
  await scene.pass(1_000)
  assert.deepEqual(
    scene.reports.slice(2).map(({ report: { task, epoch } }) => [task, epoch]),
    [['t-2', 3]],
  )
})

test('what a dead client or one that has left held is let go, and told', async () => {
  await using scene = new Scene(heldTask({ process: DEAD }), heldTask({ task: 't-2' }), heldTask({ task: 't-3' }))
  scene.left.add('t-2')
  await scene.pass(1_000)
  assert.deepEqual(
    scene.files.map(({ task }) => task),
    ['t-3'],
  )
  assert.deepEqual(
    scene.reports.map(({ report }) => report.task),
    ['t-3'],
  )
  assert.equal(scene.log.records.filter(({ event }) => event === 'held task let lapse').length, 2)
})

test('a task that was ended is renewed until the bridge has the report, also when its client is dead, and let go then', async () => {
  await using scene = new Scene(heldTask({ ended: ENDED, process: DEAD }))
  await scene.pass(LEASE_MS)
  assert.deepEqual(scene.seconds, [0, 20, 40, 60])
  scene.outcome = 'carried'
  await scene.pass(LEASE_MS / 6)
  assert.deepEqual(scene.files, [])
  assert.ok(!scene.log.records.some(({ event }) => event === 'held task let lapse'))
})

test('nobody is told that a task is lost that was ended meanwhile', async () => {
  await using scene = new Scene(heldTask({ ended: ENDED }))
  scene.answer = new S2Error('conflict', 'it is completed')
  await scene.pass(1_000)
  assert.deepEqual(scene.files, [heldTask({ ended: ENDED })])
})

test('a task whose report the outbox does not know is let go', async () => {
  await using scene = new Scene(heldTask({ ended: ENDED }))
  scene.outcome = 'unknown'
  await scene.pass(1_000)
  assert.deepEqual(scene.files, [])
})

test('a task whose end was refused is held as before, and one that was lost meanwhile is let go', async () => {
  await using scene = new Scene(heldTask({ ended: ENDED }), heldTask({ task: 't-2', ended: ENDED, lost: 'moved' }))
  scene.outcome = { code: 'too_large', message: 'it is too long', next: null, id: null }
  await scene.pass(LEASE_MS / 4)
  assert.deepEqual(scene.files, [heldTask()])
  assert.equal(scene.log.records.filter(({ event }) => event === 'end of a held task refused').length, 1)
  assert.ok(scene.seconds.length > 0, 'its lease is renewed')
})

test('what was lost before is let go without a word when its client is dead, and never renewed', async () => {
  await using scene = new Scene(heldTask({ lost: 'moved' }), heldTask({ task: 't-2', lost: 'moved', process: DEAD }))
  await scene.pass(LEASE_MS)
  assert.deepEqual(scene.reports, [])
  assert.deepEqual(
    scene.files.map(({ task }) => task),
    ['t-1'],
  )
  assert.ok(!scene.log.records.some(({ event }) => event === 'held task let lapse'))
})

for (const code of ['stale_epoch', 'conflict', 'not_found'] as const) {
  test(`a task that the bridge answers ${code} for is noted as lost, for its holder to be told`, async () => {
    await using scene = new Scene(heldTask())
    scene.answer = new S2Error(code, 's2-worker-2 has it')
    await scene.pass(LEASE_MS)
    assert.equal(scene.files[0]?.lost, 's2-worker-2 has it')
    assert.equal(scene.reports.length, 1)
  })
}

for (const [what, answer] of [
  ['is away', new S2Error('unavailable', 'the bridge is away')],
  ['fails in a way of its own', new Error('conflict')],
] as const) {
  test(`a bridge that ${what} is asked again soon, and no task is lost by that`, async () => {
    await using scene = new Scene(heldTask())
    scene.answer = answer
    await scene.pass(9_000)
    assert.equal(scene.files[0]?.lost, null)
    assert.deepEqual(scene.seconds.slice(0, 4), [0, 3, 5, 8])
    scene.answer = null
    await scene.pass(LEASE_MS / 4)
    const renewed = scene.seconds.length
    await scene.pass(5_000)
    assert.equal(scene.seconds.length, renewed, 'it rests again')
  })
}

test('a session that this host does not speak for now is asked for again soon', async () => {
  await using scene = new Scene(heldTask())
  scene.isBridgeThere = false
  await scene.pass(2_000)
  scene.isBridgeThere = true
  await scene.pass(1_000)
  assert.deepEqual(scene.seconds, [3])
})

test('a folder that cannot be read is told once, and once more when it can', async () => {
  await using scene = new Scene(heldTask())
  scene.fault = new S2Error('unavailable', 'the disk is gone')
  scene.renewal.nudge()
  await scene.pass(5_000)
  assert.match(scene.troubles.get('held tasks') ?? '', /the disk is gone/)
  scene.fault = null
  await scene.pass(LEASE_MS)
  assert.ok(!scene.troubles.has('held tasks'))
})
