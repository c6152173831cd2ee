import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { systemClock } from '../../services/core/runtime/clock.ts'
import { FleetProcesses } from '../../services/local/fleet-processes.ts'
import {
  type ChildEnd,
  ProcessSupervisor,
  RESTART,
  type RunningChild,
  STABLE_MS,
  type SupervisorEvent,
} from '../../services/local/keep-process-running.ts'
import type { Fleet } from '../../services/local/parse-fleet-description.ts'
import { ManualClock, settle } from '../manual-clock.ts'

class FakeChild implements RunningChild {
  static pids = 100
  readonly pid = FakeChild.pids++
  readonly signals: NodeJS.Signals[] = []
  readonly #ended = Promise.withResolvers<ChildEnd>()
  /** Whether it ends on TERM. */
  polite = true

  get ended(): Promise<ChildEnd> {
    return this.#ended.promise
  }

  end(code: number | null, signal: NodeJS.Signals | null = null): void {
    this.#ended.resolve({ code, signal })
  }

  signal(signal: NodeJS.Signals): void {
    this.signals.push(signal)
    if (signal === 'SIGKILL' || (signal === 'SIGTERM' && this.polite)) this.end(null, signal)
  }
}

function supervise({ chance, fails }: { chance?: () => number; fails?: () => boolean } = {}) {
  const clock = new ManualClock()
  const children: FakeChild[] = []
  const events: SupervisorEvent[] = []
  const supervisor = new ProcessSupervisor({
    clock,
    chance: chance ?? (() => 0.999),
    start: () => {
      if (fails?.() === true) throw new Error('no such file')
      const child = new FakeChild()
      children.push(child)
      return child
    },
    say: (event) => events.push(event),
  })
  const waits = (): number[] =>
    events.flatMap((event) => ('againInMs' in event && event.againInMs !== null ? [event.againInMs] : []))
  return { clock, children, events, supervisor, waits, last: () => children.at(-1) as FakeChild }
}

test('a program that ends is started again, later each time, never later than the bound', async () => {
  const { clock, children, supervisor, waits, last } = supervise()
  for (let death = 0; death < 12; death += 1) {
    await settle()
    last().end(1)
    await settle()
    assert.equal(supervisor.state, 'waiting')
    await clock.advance(RESTART.mostMs)
    assert.equal(children.length, death + 2)
  }
  const seen = waits()
  assert.ok(
    seen.every((wait, index) => index === 0 || wait >= (seen[index - 1] ?? 0)),
    seen.join(),
  )
  assert.ok((seen[0] ?? 0) <= RESTART.firstMs)
  assert.ok((seen.at(-1) ?? 0) > RESTART.mostMs * 0.9 && (seen.at(-1) ?? 0) <= RESTART.mostMs)
  assert.equal(supervisor.restarts, 12)
  await supervisor.stop(1_000)
})

test('waits have full jitter', async () => {
  let turn = 0
  const draws = [0, 0.25, 0.5, 0.75]
  const { clock, supervisor, waits, last } = supervise({ chance: () => draws[turn++ % 4] ?? 0 })
  for (let death = 0; death < 4; death += 1) {
    await settle()
    last().end(1)
    await clock.advance(RESTART.mostMs)
  }
  assert.deepEqual(waits(), [0, 0.25 * 1_000, 0.5 * 2_000, 0.75 * 4_000])
  await supervisor.stop(1_000)
})

test('a stable minute forgives what was before', async () => {
  const { clock, supervisor, waits, last } = supervise()
  for (let death = 0; death < 6; death += 1) {
    await settle()
    last().end(1)
    await clock.advance(RESTART.mostMs)
  }
  await clock.advance(STABLE_MS)
  last().end(1)
  await settle()
  assert.ok((waits().at(-1) ?? 0) <= RESTART.firstMs, waits().join())
  await supervisor.stop(1_000)
})

test('one that cannot even be started is tried again, not for ever at once', async () => {
  let broken = true
  const { clock, children, supervisor, events } = supervise({ fails: () => broken })
  await clock.advance(10_000)
  assert.equal(children.length, 0)
  const tries = events.filter(({ event }) => event === 'not_started').length
  assert.ok(tries >= 2 && tries < 12, `${tries} tries in 10 s`)
  broken = false
  await clock.advance(RESTART.mostMs)
  assert.equal(supervisor.state, 'running')
  await supervisor.stop(1_000)
})

test('what is held is not started again until it is released', async () => {
  const { clock, children, supervisor, last } = supervise()
  await settle()
  supervisor.hold()
  assert.equal(supervisor.state, 'running', 'holding alone ends nothing')
  last().end(null, 'SIGKILL')
  await clock.advance(300_000)
  assert.equal(supervisor.state, 'held')
  assert.equal(children.length, 1)
  supervisor.release()
  await settle()
  assert.equal(supervisor.state, 'running')
  assert.equal(children.length, 2)
  await supervisor.stop(1_000)
})

test('stopping is TERM, and CONT for one that stands still, and KILL when its time is over', async () => {
  const polite = supervise()
  await settle()
  await polite.supervisor.stop(5_000)
  assert.deepEqual(polite.last().signals.slice(0, 2), ['SIGTERM', 'SIGCONT'])
  assert.ok(!polite.last().signals.includes('SIGKILL'))
  assert.equal(polite.supervisor.state, 'stopped')

  const stubborn = supervise()
  await settle()
  stubborn.last().polite = false
  const stopped = stubborn.supervisor.stop(5_000)
  await stubborn.clock.advance(4_999)
  assert.ok(!stubborn.last().signals.includes('SIGKILL'))
  await stubborn.clock.advance(1)
  await stopped
  assert.ok(stubborn.last().signals.includes('SIGKILL'))
})

test('stopping while it waits, or is held, ends the wait', async () => {
  for (const prepare of [() => undefined, (each: ProcessSupervisor) => each.hold()]) {
    const { children, supervisor, last } = supervise()
    await settle()
    prepare(supervisor)
    last().end(1)
    await settle()
    await supervisor.stop(1_000)
    assert.equal(children.length, 1)
  }
})

test('why a program refuses its settings is told in its words to people, without its events', async () => {
  const state = mkdtempSync(join(tmpdir(), 's2-refused-'))
  try {
    const why = Promise.withResolvers<string>()
    const runner = new FleetProcesses(
      { orchestrator: { agent: 'orchestrator', role: 'orchestrator' }, workers: [] } as unknown as Fleet,
      {
        clock: systemClock,
        chance: () => 1,
        state,
        say: () => undefined,
        onMisconfigured: (_, text) => why.resolve(text),
      },
    )
    const script =
      'echo \'{"level":"info","event":"draining"}\'; echo "wrong settings:"; echo "  the port is taken"; exit 78'
    const argv = ['/bin/sh', '-c', script] as const
    runner.start([{ agent: 'orchestrator', program: 'bridge', stage: 0, argv: [...argv], env: {}, folder: state }])
    assert.equal(await why.promise, 'wrong settings:\n  the port is taken')
    await runner.stop(new AbortController().signal)
  } finally {
    rmSync(state, { recursive: true })
  }
})
