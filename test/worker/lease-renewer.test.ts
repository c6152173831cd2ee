/** The holder's end of a lease, by a clock that the test moves. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Code, S2Error } from '#fleet/errors.ts'
import { LeaseRenewer, type LeaseStatus } from '../../services/worker/lease-renewer.ts'
import { LeaseTimer, marginOf } from '../../services/worker/lease-timer.ts'
import { ManualClock, settle } from '../manual-clock.ts'

const LEASE_MS = 60_000

/** A renewer whose store answers as the test says; renewals and troubles with the time since the begin, milliseconds. */
class Scene implements AsyncDisposable {
  readonly clock = new ManualClock()
  readonly #began = this.clock.now()
  readonly renewals: number[] = []
  readonly troubles: string[] = []
  readonly ends: LeaseStatus[] = []
  answer: () => Promise<void> = async () => undefined
  readonly renewer: LeaseRenewer

  constructor(leaseMs = LEASE_MS, chance = 0.5) {
    this.renewer = new LeaseRenewer({
      clock: this.clock,
      chance: () => chance,
      leaseMs,
      asked: LeaseTimer.stamp(this.clock),
      renew: () => {
        this.renewals.push(this.#elapsed)
        return this.answer()
      },
      onTrouble: (error) => void this.troubles.push((error as Error).message),
    })
    void this.renewer.over.then((status) => this.ends.push(status))
  }

  get #elapsed(): number {
    return this.clock.now() - this.#began
  }

  fails(code: Code): void {
    this.answer = async () => {
      throw new S2Error(code, code)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.renewer[Symbol.asyncDispose]()
  }
}

test('a lease is renewed each third of it, from the request on, for as long as it is held', async () => {
  await using scene = new Scene()
  await scene.clock.advance(19_999)
  assert.deepEqual(scene.renewals, [])
  await scene.clock.advance(40_001)
  assert.deepEqual(scene.renewals, [20_000, 40_000, 60_000])
  assert.equal(await scene.renewer.status(), 'held')
  assert.ok(scene.renewer.isInTime)
  assert.deepEqual([scene.ends, scene.troubles], [[], []])
})

test('a slow answer counts from its request: the next renewal is not put off by it', async () => {
  await using scene = new Scene()
  scene.answer = () => scene.clock.sleep(9_000)
  await scene.clock.advance(45_000)
  assert.deepEqual(scene.renewals, [20_000, 40_000])
})

test('each code that says a task is another one’s ends the lease at once, and no renewal follows', async () => {
  for (const code of ['stale_epoch', 'conflict', 'not_found'] as const) {
    await using scene = new Scene()
    scene.fails(code)
    await scene.clock.advance(20_000)
    assert.deepEqual([scene.ends, scene.troubles], [['lost'], [code]])
    assert.equal(await scene.renewer.status(), 'lost')
    await scene.clock.advance(200_000)
    assert.equal(scene.renewals.length, 1, code)
  }
})

test('other refusals are tried again, with pauses that grow to a sixth of the lease, until it has run out', async () => {
  await using scene = new Scene(LEASE_MS, 1)
  scene.fails('unavailable')
  await scene.clock.advance(49_999)
  assert.deepEqual(scene.ends, [])
  assert.ok(scene.renewer.isInTime)
  const pauses = scene.renewals.map((at, index) => at - (scene.renewals[index - 1] ?? at)).slice(1)
  assert.deepEqual(pauses, [2_600, 4_600, 8_600, 10_600], 'under a ceiling, and each with a hundredth of the lease')
  await scene.clock.advance(1)
  assert.deepEqual(scene.ends, ['unsure'])
  assert.ok(!scene.renewer.isInTime, 'a lease that has no time left is not in time')
  const count = scene.renewals.length
  await scene.clock.advance(100_000)
  assert.equal(scene.renewals.length, count, 'nothing is asked for an end')
})

test('after a success the pauses begin anew', async () => {
  await using scene = new Scene()
  scene.fails('unavailable')
  await scene.clock.advance(30_000)
  const failed = scene.renewals.length
  scene.answer = async () => undefined
  await scene.clock.advance(10_000)
  assert.equal(scene.renewals.length, failed + 1)
  const renewed = scene.renewals.at(-1) ?? 0
  await scene.clock.advance(renewed + 20_000 - 40_000)
  assert.equal(scene.renewals.at(-1), renewed + 20_000)
})

test('no answer within 10 s, or a third of a short lease, is a failure of its own', async () => {
  for (const [leaseMs, boundMs] of [
    [60_000, 10_000],
    [600_000, 10_000],
    [3_000, 1_000],
  ] as const) {
    await using scene = new Scene(leaseMs)
    scene.answer = () => new Promise(() => undefined)
    await scene.clock.advance(leaseMs / 3 + boundMs - 1)
    assert.deepEqual(scene.troubles, [], String(leaseMs))
    await scene.clock.advance(1)
    await settle()
    assert.deepEqual(scene.troubles, [`no answer within ${boundMs} ms`])
  }
})

test('near its end a lease waits for no answer longer than it has, but for a third of what is kept for stopping', async () => {
  await using scene = new Scene()
  scene.answer = () => new Promise(() => undefined)
  await scene.clock.advance(50_000)
  assert.deepEqual(scene.ends, ['unsure'], 'the last request ends with the lease')
  await using late = new Scene()
  late.fails('unavailable')
  late.clock.pause(49_000)
  late.answer = () => new Promise(() => undefined)
  const status = late.renewer.status()
  await late.clock.advance(0)
  await late.clock.advance(marginOf(LEASE_MS) / 3 - 1)
  assert.deepEqual(late.troubles, [])
  await late.clock.advance(1)
  assert.equal(late.troubles.length, 1)
  await status
})

test('progress asks for a renewal at once, also while one is under way: then one more follows', async () => {
  await using scene = new Scene()
  await settle()
  scene.renewer.nudge()
  await settle()
  assert.deepEqual(scene.renewals, [0])
  const answers = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  scene.answer = () => answers[scene.renewals.length - 2]?.promise ?? Promise.resolve()
  scene.renewer.nudge()
  await settle()
  scene.renewer.nudge()
  await settle()
  assert.equal(scene.renewals.length, 2, 'one request at a time')
  answers[0]?.resolve()
  await settle()
  assert.equal(scene.renewals.length, 3)
  answers[1]?.resolve()
  await settle()
  await scene.clock.advance(19_000)
  assert.equal(scene.renewals.length, 3, 'a nudge counts once')
})

test('whether a lease is held is asked of the store only where it has run out during a pause', async () => {
  await using scene = new Scene()
  assert.equal(await scene.renewer.status(), 'held')
  assert.deepEqual(scene.renewals, [], 'there is time left')
  scene.clock.pause(50_000)
  const answer = Promise.withResolvers<void>()
  scene.answer = () => answer.promise
  const both = [scene.renewer.status(), scene.renewer.status()]
  await settle()
  assert.equal(scene.renewals.length, 1, 'both wait for one answer')
  answer.resolve()
  assert.deepEqual(await Promise.all(both), ['held', 'held'])
})

test('a lease that was lost stays lost, and the store is not asked again', async () => {
  await using scene = new Scene()
  scene.fails('stale_epoch')
  scene.clock.pause(50_000)
  assert.equal(await scene.renewer.status(), 'lost')
  const { length } = scene.renewals
  scene.clock.pause(50_000)
  assert.equal(await scene.renewer.status(), 'lost')
  assert.equal(scene.renewals.length, length)
})

test('a lease that is released asks for nothing, and is neither lost nor told of', async () => {
  const scene = new Scene()
  await settle()
  await scene.renewer[Symbol.asyncDispose]()
  await scene.clock.advance(100_000)
  assert.deepEqual([scene.renewals, scene.ends, scene.troubles], [[], [], []])
  const asked = new Scene()
  asked.answer = () => new Promise(() => undefined)
  await asked.clock.advance(20_000)
  await asked.renewer[Symbol.asyncDispose]()
  await settle()
  assert.deepEqual([asked.renewals.length, asked.ends, asked.troubles], [1, [], []], 'whose answer nobody waits for')
})

test('a timer counts from its request, with a sixth kept for stopping, by whichever clock went further', () => {
  const clock = new ManualClock()
  const timer = new LeaseTimer(LEASE_MS, clock, LeaseTimer.stamp(clock))
  assert.equal(marginOf(LEASE_MS), 10_000)
  assert.deepEqual([timer.leftMs(), timer.renewInMs()], [50_000, 20_000])
  clock.pause(15_000)
  assert.deepEqual([timer.leftMs(), timer.renewInMs()], [35_000, 5_000])
  clock.pause(15_000)
  assert.deepEqual([timer.leftMs(), timer.renewInMs()], [20_000, 0], 'a renewal that is late is due now')
  const asked = LeaseTimer.stamp(clock)
  clock.pause(5_000)
  timer.renewed(asked)
  assert.equal(timer.leftMs(), 45_000, 'from its request')
  clock.step(10_000)
  assert.equal(timer.leftMs(), 35_000, 'a wall clock that was set forward counts')
  clock.step(-30_000)
  assert.equal(timer.leftMs(), 45_000, 'one that was set back does not')
})
