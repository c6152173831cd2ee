import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Clock } from '#runtime/clock.ts'
import { Health } from '#runtime/health.ts'
import { Pulse, ROUND_MS } from '#runtime/pulse.ts'

/** A clock that is moved by hand; whoever sleeps is woken when its time has come. */
class HandClock implements Clock {
  #now = 0
  #sleepers: { readonly at: number; readonly wake: () => void }[] = []

  now(): number {
    return this.#now
  }

  wall(): number {
    return this.#now
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      signal?.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
      this.#sleepers.push({ at: this.#now + ms, wake: resolve })
    })
  }

  /** Moves on second by second, and lets all who are woken speak. */
  async pass(seconds: number): Promise<void> {
    for (let second = 0; second < seconds; second += 1) {
      this.#now += 1_000
      const due = this.#sleepers.filter(({ at }) => at <= this.#now)
      this.#sleepers = this.#sleepers.filter(({ at }) => at > this.#now)
      for (const { wake } of due) wake()
      for (let turn = 0; turn < 10; turn += 1) await Promise.resolve()
    }
  }
}

test('a program whose rounds end is well; one whose rounds ceased is stuck, until one ends', async () => {
  const clock = new HandClock()
  const pulse = new Pulse(ROUND_MS, clock)
  const health = new Health(() => pulse.isStuck)
  await clock.pass(3_600)
  assert.equal(health.state, 'init', 'a start has its own deadline')
  pulse.beat()
  health.enter('ready')
  await clock.pass(30)
  assert.deepEqual([health.state, health.ready], ['ready', true])
  await clock.pass(1)
  assert.deepEqual([health.state, health.ready], ['stuck', false])
  pulse.beat()
  assert.deepEqual([health.state, health.ready], ['ready', true])
  await clock.pass(31)
  health.enter('draining')
  assert.equal(health.state, 'draining', 'what drains has its own deadline')
})

test('a slow program in time is vouched for between its rounds, a stuck one is not', async () => {
  const clock = new HandClock()
  const pulse = new Pulse(300_000, clock)
  const stop = new AbortController()
  let vouched = 0
  pulse.beat()
  const vouching = pulse.vouch(() => {
    vouched += 1
  }, stop.signal)
  await clock.pass(290)
  assert.ok(
    vouched >= 29,
    `vouched for ${vouched} times in 290 s: a service manager that waits 30 s would have ended it`,
  )
  await clock.pass(20)
  const before = vouched
  await clock.pass(600)
  assert.equal(vouched, before, 'a stuck program was vouched for')
  pulse.beat()
  await clock.pass(20)
  assert.ok(vouched > before)
  stop.abort()
  await vouching
})
