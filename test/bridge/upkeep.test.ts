/** Upkeep of a store that is in trouble: whether the bridge goes on, and what it says. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { S2Error } from '#fleet/errors.ts'
import { Health } from '#runtime/health.ts'
import { recordingLog } from '#runtime/log.ts'
import { ProgressMonitor, ROUND_MS } from '#runtime/progress-monitor.ts'
import { openMemoryStore } from '#store/memory/memory.ts'
import { tendStore } from '../../services/bridge/upkeep.ts'
import { Life, Machine, Timeline } from '../simulation/clock.ts'

test('a bridge whose disk is full is not stuck, says so once with what to do, and says when it is over', async () => {
  const timeline = new Timeline()
  const { clock } = new Life('bridge', new Machine('host', timeline))
  const progress = new ProgressMonitor(ROUND_MS, clock)
  const health = new Health(() => progress.isStuck)
  const log = recordingLog()
  const draining = new AbortController()
  const failures: Error[] = []
  const store = openMemoryStore({ clock })
  let trouble: S2Error | null = null
  store.tend = async () => {
    if (trouble !== null) throw trouble
    return 250
  }
  const upkeep = tendStore(
    store,
    { status: () => 'serving' },
    {
      clock,
      chance: () => 1,
      log,
      health,
      draining: draining.signal,
      round: () => progress.beat(),
      fail: (error) => failures.push(error),
    },
  )
  health.enter('ready')
  await new Promise((resolve) => setImmediate(resolve)) // the first round begins
  await timeline.runTo(10_000)
  trouble = new S2Error('unavailable', 'the disk is full', { next: 'free some space' })
  await timeline.runTo(100_000)
  assert.deepEqual([health.state, health.ready, failures], ['ready', false, []], 'to start it again would mend nothing')
  assert.deepEqual(health.report().troubles, { store: 'the disk is full; free some space' })
  assert.equal(log.records.filter(({ level }) => level === 'warn').length, 1)
  trouble = null
  await timeline.runTo(110_000)
  assert.deepEqual([health.ready, log.records.at(-1)?.event], [true, 'trouble is over'])
  trouble = new S2Error('forbidden', 'the file is another user’s')
  await timeline.runTo(120_000)
  assert.equal(failures[0]?.message, 'the file is another user’s', 'what does not pass ends the program')
  draining.abort()
  await upkeep.done
})
