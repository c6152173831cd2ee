import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Health } from '#runtime/health.ts'
import { ProgressMonitor, ROUND_MS } from '#runtime/progress-monitor.ts'
import { ManualClock } from '../../manual-clock.ts'

test('a program whose rounds end is well; one whose rounds ceased is stuck, until one ends', async () => {
  const clock = new ManualClock()
  const pulse = new ProgressMonitor(ROUND_MS, clock)
  const health = new Health(() => pulse.isStuck)
  await clock.advance(3_600_000)
  assert.equal(health.state, 'init', 'a start has its own deadline')
  pulse.beat()
  health.enter('ready')
  await clock.advance(30_000)
  assert.deepEqual([health.state, health.ready], ['ready', true])
  await clock.advance(1_000)
  assert.deepEqual([health.state, health.ready], ['stuck', false])
  pulse.beat()
  assert.deepEqual([health.state, health.ready], ['ready', true])
  await clock.advance(31_000)
  health.enter('draining')
  assert.equal(health.state, 'draining', 'what drains has its own deadline')
})

test('a slow program in time is vouched for between its rounds, a stuck one is not', async () => {
  const clock = new ManualClock()
  const pulse = new ProgressMonitor(300_000, clock)
  const stop = new AbortController()
  let vouched = 0
  pulse.beat()
  const vouching = pulse.vouch(() => {
    vouched += 1
  }, stop.signal)
  await clock.advance(290_000)
  assert.ok(
    vouched >= 29,
    `vouched for ${vouched} times in 290 s: a service manager that waits 30 s would have ended it`,
  )
  await clock.advance(20_000)
  const before = vouched
  await clock.advance(600_000)
  assert.equal(vouched, before, 'a stuck program was vouched for')
  pulse.beat()
  await clock.advance(20_000)
  assert.ok(vouched > before)
  stop.abort()
  await vouching
})
